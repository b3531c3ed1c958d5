"""Request → Signals: reads the words once, collects votes, settles each question.

Order of authority: the endpoint and the caller's hints are certain; a rule marked `override` comes next; everything
else is votes. A label less sure than `abstain_below` gives way to its safe default, and says so.
"""

from collections.abc import Iterator

from pointsman.settings import RoutingSettings
from pointsman.signals import complexity, modality, tokens
from pointsman.signals.evidence import Vote, certain, or_abstain, settle
from pointsman.signals.language import LanguageTeller
from pointsman.signals.reading import Reading, read
from pointsman.signals.rulebook import Held, Rulebook, builtin_rules
from pointsman.signals.shape import Shape, shape_of
from pointsman.types import Complexity, Intent, Request, Scored, Signals, UseCase

USE_CASE_PRIORS = {str(label): 0.02 for label in UseCase if label is not UseCase.AGENT}
INTENT_PRIORS: dict[str, float] = {Intent.CODE: 0.05, Intent.REASONING: 0.08}
COMPLEXITY_PRIORS: dict[str, float] = {Complexity.LOW: 0.3, Complexity.HIGH: 0.2}
BESIDE = 0.35  # what a rule is worth in quoted, pasted or earlier words


class Classifier:
    """Compiled once from the settings; `measure` is pure."""

    def __init__(self, routing: RoutingSettings) -> None:
        builtin = builtin_rules() if routing.builtin_rules else ()
        self._rulebook = Rulebook((*routing.rules, *builtin))
        self._languages = LanguageTeller()
        self._abstain_below = routing.abstain_below

    def __repr__(self) -> str:
        return f"Classifier({self._rulebook!r}, {self._languages!r})"

    def measure(self, request: Request) -> Signals:
        """What the request is. Total: never raises, whatever the words."""
        reading = read(request.turns)
        shape = shape_of(reading.last, reading.ask, reading.code)
        now = self._rulebook.hold(reading.words, reading.ask)
        held = [(rule, 1.0) for rule in now]
        for words, text in ((reading.beside_words, reading.beside), (reading.earlier_words, reading.earlier)):
            held += [(rule, BESIDE) for rule in self._rulebook.hold(words, text)]
        use_case = self._use_case(request, held)
        intent = self._intent(request, held, shape)
        hard = self._complexity(request, held, reading, shape)
        language, script = self._language(request, reading)
        return Signals(
            use_case=use_case,
            intent=intent,
            language=language,
            complexity=hard,
            script=script,
            inputs=modality.inputs_of(request),
            outputs=request.outputs,
            prompt_tokens=tokens.prompt_tokens(request),
            output_tokens=tokens.output_tokens(request, hard.label, intent.label == Intent.CODE),
            needs_tools=request.has_tools,
        )

    def _use_case(self, request: Request, held: "Rules") -> Scored:
        if request.kind in modality.GATES:
            label, why = modality.GATES[request.kind]
            return certain(label, why)
        if request.hints.use_case:
            return certain(request.hints.use_case, "the caller's hint")
        if ruled := _overridden(held, "use_case"):
            return ruled
        votes = [*_votes(held, "use_case"), *modality.votes_of(request)]
        return or_abstain(settle(votes, UseCase.AGENT, USE_CASE_PRIORS), self._abstain_below, UseCase.AGENT)

    def _intent(self, request: Request, held: "Rules", shape: Shape) -> Scored:
        if request.hints.intent:
            return certain(request.hints.intent, "the caller's hint")
        if ruled := _overridden(held, "intent"):
            return ruled
        votes = list(_votes(held, "intent"))
        if shape.code:
            votes.append(Vote(Intent.CODE, shape.code, shape.code_why))
        if shape.maths:
            votes.append(Vote(Intent.REASONING, shape.maths, "formulas"))
        return or_abstain(settle(votes, Intent.GENERAL, INTENT_PRIORS), self._abstain_below, Intent.GENERAL)

    def _complexity(self, request: Request, held: "Rules", reading: Reading, shape: Shape) -> Scored:
        if request.hints.complexity:
            return certain(request.hints.complexity, "the caller's hint")
        if ruled := _overridden(held, "complexity"):
            return ruled
        votes = [*_votes(held, "complexity"), *complexity.votes_of(reading, shape, request.hints)]
        settled = settle(votes, Complexity.MEDIUM, COMPLEXITY_PRIORS)
        return or_abstain(settled, self._abstain_below, Complexity.MEDIUM)

    def _language(self, request: Request, reading: Reading) -> tuple[Scored, str]:
        told = self._languages.tell(reading.words, reading.ask)
        if request.hints.language:
            return certain(request.hints.language, "the caller's hint"), told.script
        return told.language, told.script


Rules = list[tuple[Held, float]]


def _votes(held: Rules, question: str) -> Iterator[Vote]:
    """What rules say to one question; a rule is heard once."""
    seen: set[str] = set()
    for (rule, phrase), weight in held:
        label = getattr(rule.set, question)
        if label is not None and rule.name not in seen:
            seen.add(rule.name)
            yield Vote(label, rule.confidence * weight, f"{rule.name}: “{phrase}”")


def _overridden(held: Rules, question: str) -> Scored | None:
    """The first overriding rule that speaks in the user's present words."""
    for (rule, phrase), weight in held:
        label = getattr(rule.set, question)
        if rule.override and label is not None and weight == 1.0:
            return Scored(label=label, p=rule.confidence, evidence=(f"{rule.name}: “{phrase}” (override)",))
    return None
