"""`Request → Signals`: reads the words once, collects votes, settles each question.

Who is heard, in this order: 1 the endpoint is certain of its use case; 2 the caller's hints are certain; 3 a rule of
the settings marked `override` wins; 4 all else is votes: the settings' rules and the built-in ones, what code and
mathematics look like, what is attached; 5 a label less sure than `abstain_below` gives way to its safe default, and
says so.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pointsman.settings import RoutingSettings
from pointsman.signals import complexity, modality, tokens
from pointsman.signals.evidence import Vote, certain, or_abstain, settle
from pointsman.signals.language import LanguageTeller, Told, hinted
from pointsman.signals.lexis import folded, words_of
from pointsman.signals.reading import Reading, read
from pointsman.signals.rulebook import Held, Rulebook, builtin_rules
from pointsman.signals.shape import Shape, shape_of
from pointsman.types import Complexity, Intent, Kind, Request, Scored, Signals, UseCase

USE_CASE_PRIORS = {str(label): 0.02 for label in UseCase if label is not UseCase.AGENT}
INTENT_PRIORS: dict[str, float] = {Intent.CODE: 0.12, Intent.REASONING: 0.12}
COMPLEXITY_PRIORS: dict[str, float] = {Complexity.LOW: 0.25, Complexity.HIGH: 0.2}
BESIDE = 0.35  # what a rule is worth in quoted, pasted or earlier words …
FOLLOWED_UP = 0.8  # … and in the words before a short follow-up that says nothing itself
FOLLOW_UP_WORDS, FEWEST_FOR_LANGUAGE = 8, 3
NUMBERS_TO_RECKON, DOUBT_LEFT = 2, 0.4
SPOKEN_FOR = "the caller's hint"


class Heard(NamedTuple):
    """A rule that holds, and what it is worth where it was found: 1 in the user's present words."""

    held: Held
    weight: float


class Classifier:
    """Compiled once from the settings; `measure` is pure, total and bounded in time whatever it is given."""

    def __init__(self, routing: RoutingSettings) -> None:
        self._own = Rulebook(routing.rules)
        self._builtin = Rulebook(builtin_rules() if routing.builtin_rules else ())
        self._languages = LanguageTeller()
        self._abstain_below = routing.abstain_below

    def __repr__(self) -> str:
        return f"Classifier(own={self._own!r}, builtin={self._builtin!r}, {self._languages!r})"

    def measure(self, request: Request) -> Signals:
        """What the request is."""
        reading = read(request.turns)
        shape = shape_of(reading.last, reading.ask, reading.code)
        heard = self._hear(reading, shape)
        use_case = self._use_case(request, heard)
        intent = self._intent(request, heard, shape)
        hardness = self._complexity(request, heard, reading, shape)
        told = self._language(request, reading)
        return Signals(
            use_case=use_case,
            intent=intent,
            language=told.language,
            complexity=hardness,
            script=told.script,
            inputs=modality.inputs_of(request),
            outputs=modality.outputs_of(request, use_case.label, use_case.p),
            prompt_tokens=tokens.prompt_tokens(request),
            output_tokens=tokens.output_tokens(request, reading, hardness.label, intent.label, told),
            needs_tools=request.has_tools or request.limits.needs_tools,
        )

    # ------------------------------------------------------------ evidence

    def _hear(self, reading: Reading, shape: Shape) -> list[Heard]:
        """The settings' rules read all of the last turn, quotes and code included; ours only what the user says."""
        heard: list[Heard] = []
        if self._own.rules:
            text = folded(reading.last)
            heard += [Heard(held, 1.0) for held in self._own.hold(words_of(text), text)]
        heard += [Heard(held, 1.0) for held in self._builtin.hold(reading.words, reading.ask)]
        says_something = shape.code or any(one.held.rule.set.intent for one in heard)
        before = BESIDE if says_something or len(reading.words) > FOLLOW_UP_WORDS else FOLLOWED_UP
        if reading.beside_words:
            heard += [Heard(held, BESIDE) for held in self._builtin.hold(reading.beside_words, reading.beside)]
        if reading.earlier_words:
            heard += [Heard(held, before) for held in self._builtin.hold(reading.earlier_words, reading.earlier)]
        return heard

    # ------------------------------------------------------------ the four questions

    def _use_case(self, request: Request, heard: Sequence[Heard]) -> Scored:
        if gate := modality.GATES.get(request.kind):
            return certain(*gate)
        if request.hints.use_case:
            return certain(request.hints.use_case, SPOKEN_FOR)
        if ruled := _overruled(heard, "use_case"):
            return ruled
        votes = modality.votes_of(request, list(_votes(heard, "use_case")))
        return or_abstain(settle(votes, UseCase.AGENT, USE_CASE_PRIORS), self._abstain_below, UseCase.AGENT)

    def _intent(self, request: Request, heard: Sequence[Heard], shape: Shape) -> Scored:
        if request.hints.intent:
            return certain(request.hints.intent, SPOKEN_FOR)
        if ruled := _overruled(heard, "intent"):
            return ruled
        votes = [_reckoned(vote, shape) for vote in _votes(heard, "intent")]
        if shape.code:
            votes.append(Vote(Intent.CODE, shape.code, shape.code_why))
        if shape.maths:
            votes.append(Vote(Intent.REASONING, shape.maths, "formulas"))
        return or_abstain(settle(votes, Intent.GENERAL, INTENT_PRIORS), self._abstain_below, Intent.GENERAL)

    def _complexity(self, request: Request, heard: Sequence[Heard], reading: Reading, shape: Shape) -> Scored:
        if request.hints.complexity:
            return certain(request.hints.complexity, SPOKEN_FOR)
        if ruled := _overruled(heard, "complexity"):
            return ruled
        worded = list(_votes(heard, "complexity"))
        votes = complexity.votes_of(worded, reading, shape, request.hints)
        settled = settle(votes, Complexity.MEDIUM, COMPLEXITY_PRIORS)
        return or_abstain(settled, self._abstain_below, Complexity.MEDIUM)

    def _language(self, request: Request, reading: Reading) -> Told:
        """Of what is asked; of all there is where that is all that is said: a text to be spoken or embedded."""
        if request.kind in (Kind.SPEECH, Kind.EMBEDDING):
            text = folded(reading.last)
            words = words_of(text)
        elif len(reading.words) < FEWEST_FOR_LANGUAGE:
            text = f"{reading.ask} {reading.earlier or reading.beside}"
            words = [*reading.words, *(reading.earlier_words or reading.beside_words)]
        else:
            text, words = reading.ask, reading.words
        told = self._languages.tell(words, text)
        if label := hinted(request.hints.language):
            return Told(certain(label, SPOKEN_FOR), told.script)
        return told


def _reckoned(vote: Vote, shape: Shape) -> Vote:
    """ "How much" is a word problem where there are numbers to reckon with."""
    if vote.label != Intent.REASONING or shape.numbers < NUMBERS_TO_RECKON:
        return vote
    return Vote(vote.label, 1.0 - (1.0 - vote.strength) * DOUBT_LEFT, f"{vote.why}, with {shape.numbers} numbers")


def _votes(heard: Sequence[Heard], question: str) -> Iterator[Vote]:
    """What rules say to one question. A rule is heard once, where it weighs most."""
    seen: set[int] = set()
    for (rule, phrase), weight in heard:
        label = getattr(rule.set, question)
        if label is not None and id(rule) not in seen:
            seen.add(id(rule))
            yield Vote(label, rule.confidence * weight, f"{rule.name}: {phrase}")


def _overruled(heard: Sequence[Heard], question: str) -> Scored | None:
    """What the surest overriding rule says; of equals the first in the file."""
    best: Heard | None = None
    for one in heard:
        rule = one.held.rule
        if rule.override and getattr(rule.set, question) is not None:
            best = one if best is None or rule.confidence > best.held.rule.confidence else best
    if best is None:
        return None
    rule, phrase = best.held
    return Scored(
        label=str(getattr(rule.set, question)), p=rule.confidence, evidence=(f"{rule.name}: {phrase} (override)",)
    )
