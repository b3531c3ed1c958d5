"""How hard a request is: votes from its rules, its length, its parts and the caller's hints.

Knows: shapes and counts. Does not know: words (the rules do), models.
"""

from collections.abc import Iterator

from pointsman.signals.evidence import Vote
from pointsman.signals.reading import Reading
from pointsman.signals.shape import Shape
from pointsman.types import Complexity, Hints

LOW, HIGH = Complexity.LOW, Complexity.HIGH
SHORT_WORDS, LONG_WORDS, VERY_LONG_WORDS = 6, 60, 140
LOOK_UPS = frozenset({"lookup", "look-up", "look_up", "fact", "factual", "simple", "single_fact"})
COMPARISONS = frozenset({"comparison", "compare", "multi_entity", "multi-entity", "complex", "analysis"})


def votes_of(reading: Reading, shape: Shape, hints: Hints) -> Iterator[Vote]:
    """Votes for low and high; medium is what remains."""
    words = len(reading.words)
    if 0 < words <= SHORT_WORDS and shape.maths < 0.7 and not reading.code:
        yield Vote(LOW, 0.55, f"{words} words")
    if words > VERY_LONG_WORDS:
        yield Vote(HIGH, 0.75, f"{words} words")
    elif words > LONG_WORDS:
        yield Vote(HIGH, 0.5, f"{words} words")
    if shape.items >= 4 or shape.questions >= 3:
        yield Vote(HIGH, 0.5, f"{shape.items} list items, {shape.questions} questions")
    if len(reading.code) > 1500:
        yield Vote(HIGH, 0.5, "a long block of code")
    yield from _hinted(words, hints)


def _hinted(words: int, hints: Hints) -> Iterator[Vote]:
    asked = (hints.query_type or "").lower()
    if asked in COMPARISONS or len(hints.entities) >= 2:
        yield Vote(HIGH, 0.9, "the caller's hint: a comparison, or several entities")
    elif asked in LOOK_UPS or (len(hints.entities) == 1 and words <= 15):
        yield Vote(LOW, 0.85, "the caller's hint: one fact")
    if len(hints.context_docs) >= 4:
        yield Vote(HIGH, 0.6, f"{len(hints.context_docs)} documents of context")
