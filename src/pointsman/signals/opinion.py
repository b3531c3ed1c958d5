"""A second opinion: what the encoder's vector says on the questions that stage 1 left open. Pure.

Knows: which words the encoder should read (`words_for`), the heads on its vector, how two opinions become one. Does not
know: how a vector is made, how long it took.

Method. A logistic head for each question on the centred vector and what is attached; the cosines of e5 themselves are
no confidence (right and wrong answers lie within .01 of each other). Its probabilities and those of stage 1 meet in a
log-linear pool, `p ∝ p₁^a · p₂^b`, with `a` and `b` fitted on requests that neither had been trained on; they
calibrate the pool too, and a question where stage 1 knows nothing gets a flat `p₁`. (Log-linear pool: Genest & Zidek,
1986; the fit is the stacked regression of Wolpert, 1992.)

Invariants: a question that is not in `unsure` keeps its answer, so hints, gates and overriding rules win; probabilities
sum to at most 1; the evidence names the encoder and keeps what stage 1 had found.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.signals.evidence import or_abstain, ranked
from pointsman.signals.lexis import folded
from pointsman.signals.modality import MADE, SURE_ENOUGH
from pointsman.signals.orders import without_orders
from pointsman.signals.reading import read
from pointsman.types import Complexity, Intent, Media, Modality, Request, Scored, Signals, UseCase

Floats = NDArray[np.float32]
WEIGHTS = "encoder_head.npz"
FLOOR = 1e-3  # no opinion is so sure that the other could not turn it
MOST_EVIDENCE, FOLLOW_UP_WORDS = 4, 3
ATTACHED = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.TEXT)  # as text counts a document
VECTOR_SCALE, ATTACHED_SCALE = 8.0, 2.0  # a vector of unit length beside flags: what the regularisation sees

USE_CASE, INTENT, COMPLEXITY, TOOLS = QUESTIONS = ("use_case", "intent", "complexity", "needs_tools")
LABELS: Mapping[str, tuple[str, ...]] = {
    USE_CASE: tuple(map(str, UseCase)),
    INTENT: tuple(map(str, Intent)),
    COMPLEXITY: tuple(map(str, Complexity)),
    TOOLS: ("no", "yes"),
}
SAFE: Mapping[str, str] = {USE_CASE: UseCase.AGENT, INTENT: Intent.GENERAL, COMPLEXITY: Complexity.MEDIUM}


class Head(NamedTuple):
    """One question: logits = `weights` · features + `bias`; (a, b) of the pool, in the order of `LABELS`."""

    weights: Floats
    bias: Floats
    trust_first: float
    trust_encoder: float


class Opinion:
    """The heads, loaded once. `heads` by question; `centre` is the mean vector of the training requests."""

    def __init__(self, centre: Floats, heads: Mapping[str, Head], abstain_below: float) -> None:
        self._centre = centre
        self._heads = heads
        self._abstain_below = abstain_below

    def combine(self, request: Request, signals: Signals, vector: Floats) -> Signals:
        """Stage 2: the open questions answered by both. `vector`: the encoder's, of `words_for(request)`."""
        features = features_of(vector, self._centre, request.media)
        answers = {name: self._answer(name, signals, features) for name in signals.unsure if name in SAFE}
        use_case = answers.get(USE_CASE, signals.use_case)
        return msgspec.structs.replace(
            signals,
            **answers,
            outputs=_outputs(request, signals, use_case),
            needs_tools=signals.needs_tools or (TOOLS in signals.unsure and self._needs_tools(features)),
            unsure=(),
            degraded="",
            stage=2,
        )

    def _answer(self, question: str, signals: Signals, features: Floats) -> Scored:
        first: Scored = getattr(signals, question)
        head, labels = self._heads[question], LABELS[question]
        own = probabilities(head.weights @ features + head.bias)
        pooled = pool(spread(first, labels), own, head.trust_first, head.trust_encoder)
        best = int(own.argmax())
        evidence = (f"the encoder: {labels[best]} at {own[best]:.2f}", *first.evidence[: MOST_EVIDENCE - 1])
        odds = {label: float(p) for label, p in zip(labels, pooled, strict=True)}
        return or_abstain(ranked(odds, lambda _: evidence), self._abstain_below, SAFE[question])

    def _needs_tools(self, features: Floats) -> bool:
        head = self._heads[TOOLS]
        logits = head.weights @ features + head.bias
        return bool(logits[1] > logits[0])

    def __repr__(self) -> str:
        return f"Opinion({', '.join(self._heads)}; {self._centre.size} dimensions)"


def words_for(request: Request) -> str:
    """What the encoder should read: the user's last turn without boilerplate and orders, folded; before a word or two,
    what was said earlier."""
    reading = read(request.turns)
    text = without_orders(folded(reading.last))
    if len(reading.words) < FOLLOW_UP_WORDS and reading.earlier:
        text = f"{reading.earlier} {text}"
    return " ".join(text.split())


def features_of(vector: Floats, centre: Floats, media: Iterable[Media]) -> Floats:
    """The centred vector at length `VECTOR_SCALE`, then a flag for each kind that may be attached."""
    moved = vector - centre
    kinds = {medium.kind for medium in media}
    flags = [ATTACHED_SCALE * (kind in kinds) for kind in ATTACHED]
    length = float(np.linalg.norm(moved)) or 1.0
    return np.concatenate((moved * (VECTOR_SCALE / length), flags)).astype(np.float32)


def probabilities(logits: Floats) -> Floats:
    """Softmax."""
    odds = np.exp(logits - logits.max())
    return np.asarray(odds / odds.sum(), dtype=np.float32)


def spread(scored: Scored, labels: Sequence[str]) -> Floats:
    """A Scored as a distribution: what it does not name shares what is left."""
    known = dict(((scored.label, scored.p), *scored.alternatives))
    missing = [label for label in labels if label not in known]
    rest = max(0.0, 1.0 - sum(known.values())) / max(1, len(missing))
    p = np.array([known.get(label, rest) for label in labels], dtype=np.float32).clip(FLOOR, 1.0)
    return np.asarray(p / p.sum(), dtype=np.float32)


def pool(first: Floats, second: Floats, trust_first: float, trust_second: float) -> Floats:
    """The log-linear pool of two distributions."""
    return probabilities(trust_first * np.log(first.clip(FLOOR)) + trust_second * np.log(second.clip(FLOOR)))


def load_opinion(abstain_below: float) -> Opinion:
    """The shipped heads."""
    with files(__package__).joinpath("weights", WEIGHTS).open("rb") as file, np.load(file) as kept:
        heads = {
            name: Head(
                kept[f"{name}_weights"].astype(np.float32), kept[f"{name}_bias"], *map(float, kept[f"{name}_trust"])
            )
            for name in QUESTIONS
        }
        return Opinion(kept["centre"], heads, abstain_below)


def _outputs(request: Request, signals: Signals, use_case: Scored) -> tuple[Modality, ...]:
    """The kinds asked for, where the words' use case has changed: what the old one would make goes, the new one's
    comes."""
    if use_case.label == signals.use_case.label:
        return signals.outputs
    made = MADE.get(UseCase(use_case.label)) if use_case.p >= SURE_ENOUGH else None
    return tuple(dict.fromkeys((*request.outputs, *((made,) if made else ()))))
