"""A request, read once: its words, the votes of the built-in rules, of shapes and attachments, and the row of numbers
that the learned heads weigh. Training sees requests through the same eyes.

Knows: where a rule is heard and what it is worth there. Does not know: weights, hints, the settings' own rules.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pointsman.signals import complexity, features, modality
from pointsman.signals.evidence import Vote
from pointsman.signals.language import ENGLISH, INDIAN
from pointsman.signals.reading import Reading, read
from pointsman.signals.rulebook import Held, Rulebook
from pointsman.signals.shape import SURELY_CODE, Shape, shape_of
from pointsman.types import Intent, Request, Scored

BESIDE = 0.35  # what a rule is worth in quoted, pasted or earlier words …
FOLLOWED_UP = 0.8  # … and in the words before a short follow-up that says nothing itself
FOLLOW_UP_WORDS = 8
FEWEST_PROMISED = 2  # words; one alone ("compare") says no more than that it was said
OURS = INDIAN | {ENGLISH}
NUMBERS_TO_RECKON, DOUBT_LEFT = 2, 0.4


class Heard(NamedTuple):
    """A rule that holds, and what it is worth where it was found: 1 in the user's present words."""

    held: Held
    weight: float


class Votes(NamedTuple):
    """On each question, what speaks for which label."""

    use_case: list[Vote]
    intent: list[Vote]
    complexity: list[Vote]


class Looked(NamedTuple):
    """`words` with their `weights`, and `numbers` (those of `features.names`, then one a built-in rule). `is_ruled`: a
    built-in rule holds; `is_code`: it surely is. `promised`: the built-in rules marked `override` that hold in the
    present words; they are no evidence for the heads to weigh but outweigh them."""

    request: Request
    reading: Reading
    votes: Votes
    promised: list[Held]
    words: list[str]
    weights: list[float]
    numbers: list[float]
    is_ruled: bool
    is_code: bool

    def oddities(self, language: Scored) -> list[float]:
        """Those of `features.ODDITIES`; `language` as told of the same words."""
        return features.oddities(self.reading, language, language.label in OURS, self.is_ruled, self.is_code)


class Looker:
    """The built-in rules, compiled once; `look` is pure. `rules`: what the heads weigh, all that do not promise."""

    def __init__(self, book: Rulebook) -> None:
        self._book = book
        weighed = [rule for rule in book.rules if not rule.override]
        self.rules = tuple(rule.name for rule in weighed)
        self._places = {id(rule): place for place, rule in enumerate(weighed)}

    def __repr__(self) -> str:
        return repr(self._book)

    def look(self, request: Request) -> Looked:
        reading = read(request.turns)
        shape = shape_of(reading.last, reading.ask, reading.code)
        present = self._book.hold(reading.words, reading.ask)
        promised = [one for one in present if one.rule.override]
        heard = self._hear(reading, shape, [one for one in present if not one.rule.override] if promised else present)
        votes = Votes(
            list(modality.votes_of(request, list(votes_of(heard, "use_case")))),
            list(_intent_votes(heard, shape)),
            list(complexity.votes_of(list(votes_of(heard, "complexity")), reading, shape)),
        )
        words, weights = features.weighed(reading)
        numbers = features.numbers(reading, shape, modality.attached(request), votes)
        numbers += self._by_rule(heard)
        if len(reading.words) < FEWEST_PROMISED:
            promised = []
        return Looked(
            request, reading, votes, promised, words, weights, numbers, bool(heard), shape.code >= SURELY_CODE
        )

    def _hear(self, reading: Reading, shape: Shape, present: Sequence[Held]) -> list[Heard]:
        """The rules that hold in what the user says now, beside it and before; those that promise only in the first."""
        heard = [Heard(held, 1.0) for held in present]
        says_something = shape.code or any(one.held.rule.set.intent for one in heard)
        before = BESIDE if says_something or len(reading.words) > FOLLOW_UP_WORDS else FOLLOWED_UP
        if reading.beside_words:
            heard += self._hear_apart(reading.beside_words, reading.beside, BESIDE)
        if reading.earlier_words:
            heard += self._hear_apart(reading.earlier_words, reading.earlier, before)
        return heard

    def _hear_apart(self, words: Sequence[str], text: str, weight: float) -> list[Heard]:
        return [Heard(held, weight) for held in self._book.hold(words, text) if not held.rule.override]

    def _by_rule(self, heard: Sequence[Heard]) -> list[float]:
        """Each rule's weight where it was heard best, in the order of `rules`."""
        row = [0.0] * len(self.rules)
        for held, weight in heard:
            place = self._places[id(held.rule)]
            row[place] = max(row[place], weight)
        return row


def votes_of(heard: Sequence[Heard], question: str) -> Iterator[Vote]:
    """What rules say to one question. A rule is heard once, where it weighs most."""
    seen: set[int] = set()
    for (rule, phrase), weight in heard:
        label = getattr(rule.set, question)
        if label is not None and id(rule) not in seen:
            seen.add(id(rule))
            yield Vote(label, rule.confidence * weight, f"{rule.name}: {phrase}")


def _intent_votes(heard: Sequence[Heard], shape: Shape) -> Iterator[Vote]:
    for vote in votes_of(heard, "intent"):
        yield _reckoned(vote, shape)
    if shape.code:
        yield Vote(Intent.CODE, shape.code, shape.code_why)
    if shape.maths:
        yield Vote(Intent.REASONING, shape.maths, "formulas")


def _reckoned(vote: Vote, shape: Shape) -> Vote:
    """ "How much" is a word problem where there are numbers to reckon with."""
    if vote.label != Intent.REASONING or shape.numbers < NUMBERS_TO_RECKON:
        return vote
    return Vote(vote.label, 1.0 - (1.0 - vote.strength) * DOUBT_LEFT, f"{vote.why}, with {shape.numbers} numbers")
