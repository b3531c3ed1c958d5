"""How hard a request is: votes from its rules, its length, its parts and the caller's hints.

Knows: shapes and counts. Does not know: words (the rules do), models.

Comparisons, proofs, designs, many parts and many constraints are high; a look-up, a greeting, a short question is low;
what neither speaks for is medium. A rule for low counts less the longer the request is: "what is …" may open an essay.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter

from pointsman.signals.evidence import Vote
from pointsman.signals.reading import Reading
from pointsman.signals.shape import Shape
from pointsman.types import Complexity, Hints

LOW, MEDIUM, HIGH = Complexity.LOW, Complexity.MEDIUM, Complexity.HIGH
SHORT_CHARS, PLAIN_CHARS = 60, 240  # up to the first a rule for low counts in full, from the second on not at all
BY_LENGTH = (
    (0, LOW, 0.65),
    (30, LOW, 0.55),
    (60, LOW, 0.3),
    (80, MEDIUM, 0.3),
    (150, HIGH, 0.45),
    (200, HIGH, 0.6),
    (600, HIGH, 0.65),
)
ASIDE = 0.25  # what a character of quoted or pasted text is worth
CODE_CHARS = 1500
MANY_ITEMS, MANY_QUESTIONS, MANY_NUMBERS = 4, 3, 4
MANY_DOCUMENTS, SHORT_LOOKUP_CHARS = 5, 120
LOOK_UPS = frozenset("lookup fact factual simple single_fact faq definition greeting single_hop navigational".split())
COMPARISONS = frozenset(
    "comparison compare comparative multi_entity complex analysis analytical reasoning multi_hop aggregation synthesis "
    "planning design proof".split()
)
PLAIN = frozenset("summary summarization summarisation explanation how_to howto descriptive medium".split())


def votes_of(worded: Sequence[Vote], reading: Reading, shape: Shape) -> Iterator[Vote]:
    """Votes for low and high; medium is what remains. `worded` are the rules' votes."""
    chars = _chars(reading)
    short = _shortness(chars)
    for vote in worded:
        if vote.label != LOW:
            yield vote
        elif short > 0:
            yield Vote(LOW, vote.strength * short, vote.why)
    yield from _by_size(chars, reading, shape)


def _chars(reading: Reading) -> int:
    return int(len(reading.ask) + ASIDE * len(reading.beside))


def _shortness(chars: int) -> float:
    return min(1.0, max(0.0, (PLAIN_CHARS - chars) / (PLAIN_CHARS - SHORT_CHARS)))


def _by_size(chars: int, reading: Reading, shape: Shape) -> Iterator[Vote]:
    _, label, strength = BY_LENGTH[bisect_right(BY_LENGTH, chars, key=itemgetter(0)) - 1]
    if chars and not (reading.code and label == LOW):
        yield Vote(label, strength, f"{chars} characters")
    if shape.items >= MANY_ITEMS:
        yield Vote(HIGH, 0.5, f"{shape.items} listed items")
    if shape.questions >= MANY_QUESTIONS:
        yield Vote(HIGH, 0.5, f"{shape.questions} questions")
    if shape.numbers >= MANY_NUMBERS and chars > SHORT_LOOKUP_CHARS:
        yield Vote(HIGH, 0.35, f"{shape.numbers} numbers")
    if len(reading.code) > CODE_CHARS:
        yield Vote(HIGH, 0.5, f"{len(reading.code)} characters of code")


def votes_of_hints(reading: Reading, hints: Hints) -> Iterator[Vote]:
    """The caller's `query_type`, `entities`, `context_docs`."""
    chars = _chars(reading)
    asked = (hints.query_type or "").strip().lower().replace("-", "_").replace(" ", "_")
    entities = len(hints.entities)
    if asked in COMPARISONS:
        yield Vote(HIGH, 0.9, f"hint: query_type {asked}")
    elif asked in LOOK_UPS:
        yield Vote(LOW, 0.9, f"hint: query_type {asked}")
    elif asked in PLAIN:
        yield Vote(MEDIUM, 0.8, f"hint: query_type {asked}")
    if entities >= 2:
        yield Vote(HIGH, 0.6 if entities == 2 else 0.8, f"hint: {entities} entities")
    elif entities == 1 and chars <= SHORT_LOOKUP_CHARS and asked not in COMPARISONS:
        yield Vote(LOW, 0.6, "hint: one entity, short")
    if len(hints.context_docs) >= MANY_DOCUMENTS:
        yield Vote(HIGH, 0.65, f"hint: {len(hints.context_docs)} documents of context")
