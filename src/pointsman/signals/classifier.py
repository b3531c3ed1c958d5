"""`Request → Signals`: reads the words once, hears rules and heads, settles each question.

Who is heard, in this order: 1 the endpoint is certain of its use case; 2 the caller's hints are certain; 3 a rule of
the settings marked `override` wins; 4 the learned heads weigh the words, the built-in rules, what code and mathematics
look like and what is attached; the settings' rules and the built-in ones that promise (a comparison is hard) then sway
them, and what those have spoken to is not asked of the encoder; 5 a label less sure than `abstain_below` gives way
to its safe default, and says so. Without the built-in rules there are no heads: shapes, attachments and the settings'
rules are votes, settled by odds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pointsman.settings import RoutingSettings
from pointsman.signals import complexity, modality, tokens
from pointsman.signals.evidence import NOTHING, Vote, certain, or_abstain, pooled, ranked, settle
from pointsman.signals.heads import Heads, Said, load_weights, spoke
from pointsman.signals.language import LanguageTeller, Told, hinted
from pointsman.signals.lexis import folded, words_of
from pointsman.signals.look import Heard, Looked, Looker, Votes, votes_of
from pointsman.signals.reading import Reading
from pointsman.signals.rulebook import Rulebook, builtin_rules
from pointsman.types import Complexity, Intent, Kind, Request, Scored, Signals, UseCase


class Question(NamedTuple):
    """A field of `Signals` and of hints; its safe default, the odds of the others before any vote."""

    name: str
    default: str
    priors: Mapping[str, float]


USE_CASE = Question("use_case", UseCase.AGENT, {str(one): 0.02 for one in UseCase if one is not UseCase.AGENT})
INTENT = Question("intent", Intent.GENERAL, {Intent.CODE: 0.12, Intent.REASONING: 0.12})
COMPLEXITY = Question("complexity", Complexity.MEDIUM, {Complexity.LOW: 0.25, Complexity.HIGH: 0.2})
FEWEST_FOR_LANGUAGE = 3
SPOKEN_FOR = "the caller's hint"
MOST_WHYS = 3


class Evidence(NamedTuple):
    """All that is heard of one request. `own`: votes of the settings' rules, of hints that are no labels and of the
    built-in rules that promise."""

    looked: Looked
    heard: list[Heard]
    own: Votes
    said: Said | None


class Classifier:
    """Compiled once from the settings; `measure` is pure, total and bounded in time whatever it is given."""

    def __init__(self, routing: RoutingSettings) -> None:
        self._own = Rulebook(routing.rules)
        self._looker = Looker(Rulebook(builtin_rules() if routing.builtin_rules else ()))
        self._heads = Heads(load_weights(), self._looker.rules) if routing.builtin_rules else None
        self._languages = LanguageTeller(abstain_below=routing.abstain_below)
        self._abstain_below = routing.abstain_below

    def __repr__(self) -> str:
        return f"Classifier(own={self._own!r}, builtin={self._looker!r}, {self._heads!r}, {self._languages!r})"

    def measure(self, request: Request) -> Signals:
        """What the request is."""
        evidence = self._evidence(request)
        use_case, intent, hardness = (self._answer(one, evidence) for one in (USE_CASE, INTENT, COMPLEXITY))
        reading, said = evidence.looked.reading, evidence.said
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
            output_tokens=tokens.output_tokens(
                request, reading, hardness.label, intent.label, told, said.answer if said else ()
            ),
            needs_tools=request.has_tools or request.limits.needs_tools,
            tool_need=round(said.tools, 4) if said else 0.0,
            novelty=self._novelty(evidence.looked, told),
            unsure=self._unsure(evidence),
        )

    # ------------------------------------------------------------ evidence

    def _evidence(self, request: Request) -> Evidence:
        looked = self._looker.look(request)
        heard = self._hear_own(looked.reading)
        hardness = [*votes_of(heard, "complexity"), *complexity.votes_of_hints(looked.reading, request.hints)]
        if looked.promised:
            hardness += votes_of([Heard(looked.promised[0], 1.0)], "complexity")
        own = Votes(list(votes_of(heard, "use_case")), list(votes_of(heard, "intent")), hardness)
        said = self._heads.tell(looked.words, looked.weights, looked.numbers) if self._heads else None
        return Evidence(looked, heard, own, said)

    def _hear_own(self, reading: Reading) -> list[Heard]:
        """The settings' rules read all of the last turn, quotes and code included."""
        if not self._own.rules:
            return []
        text = folded(reading.last)
        return [Heard(held, 1.0) for held in self._own.hold(words_of(text), text)]

    # ------------------------------------------------------------ the questions

    def _answer(self, question: Question, evidence: Evidence) -> Scored:
        request = evidence.looked.request
        if question is USE_CASE and (gate := modality.GATES.get(request.kind)):
            return certain(*gate)
        if hint := getattr(request.hints, question.name):
            return certain(hint, SPOKEN_FOR)
        if ruled := _overruled(evidence.heard, question.name):
            return ruled
        own: list[Vote] = getattr(evidence.own, question.name)
        ours: list[Vote] = getattr(evidence.looked.votes, question.name)
        if evidence.said:
            scored = _believed(question, evidence.said, own, ours, evidence.looked.words)
        else:
            scored = settle([*own, *ours], question.default, question.priors)
        return or_abstain(scored, self._abstain_below, question.default)

    def _novelty(self, looked: Looked, told: Told) -> float:
        if self._heads is None or not looked.reading.last.strip():
            return 0.0
        return round(self._heads.novelty(looked.reading.words, looked.oddities(told.language)), 4)

    def _unsure(self, evidence: Evidence) -> tuple[str, ...]:
        """What to ask the encoder where the two best tasks are too close: all that neither caller nor rule said."""
        request, said = evidence.looked.request, evidence.said
        if self._heads is None or said is None or request.kind in modality.GATES or self._heads.is_sure(said):
            return ()
        return tuple(
            question.name
            for question in (USE_CASE, INTENT, COMPLEXITY)
            if getattr(request.hints, question.name) is None and not getattr(evidence.own, question.name)
        )

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


def _believed(question: Question, said: Said, own: list[Vote], ours: list[Vote], words: Sequence[str]) -> Scored:
    """What the heads say, swayed by the settings' rules. Evidence: rules by name, then the words that spoke."""

    def evidence(label: str) -> tuple[str, ...]:
        whys = [vote.why for vote in (*own, *ours) if vote.label == label][:MOST_WHYS]
        spoken = spoke(said, question.name, label, words)
        return (*whys, *([f"words: {', '.join(spoken)}"] if spoken else [])) or (NOTHING,)

    return ranked(pooled(said.answer_to(question.name), own), evidence, is_complete=True)


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
