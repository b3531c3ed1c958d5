"""A second opinion: what the encoder's vector says on the questions that stage 1 left open. Pure.

Knows: which words the encoder should read (`words_for`), the heads on its vector, how two opinions become one. Does not
know: how a vector is made, how long it took.

Method. The cosines of e5 are no confidence (right and wrong answers lie within .01 of each other), so heads are trained
on the vector: kernel ridge regression with Gaussian kernels on landmarks, which are support vectors of the corpus
(`train/encoder_head.py` says what it gains over a linear head). Its probabilities and those of stage 1 meet in a
log-linear pool, `p ∝ p₁^a · p₂^b`, with `a` and `b` fitted on requests that neither had been trained on, which also
calibrates it. (Log-linear pool: Genest & Zidek 1986; combining on held-out predictions: Wolpert 1992.)

Invariants: a question that is not in `unsure` keeps its answer, so hints, gates and overriding rules win; probabilities
sum to at most 1; the evidence names the encoder and keeps what stage 1 had found.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.signals import tokens
from pointsman.signals.evidence import or_abstain, ranked
from pointsman.signals.language import Told
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
VECTOR_SCALE, ATTACHED_SCALE = 8.0, 3.0  # a vector of unit length beside flags, as the kernel weighs them
GAMMA = 0.01  # of the Gaussian kernel
HEAT = 8.0  # from regression scores, which lie in [0, 1], to logits

NOT_AGENT = tuple(str(label) for label in UseCase if label is not UseCase.AGENT)
INTENTS = tuple(map(str, Intent))
TASKS = (*NOT_AGENT, *INTENTS)  # an agent's request is known by its intent
USE_CASE, INTENT, COMPLEXITY, TOOLS = QUESTIONS = ("use_case", "intent", "complexity", "tool_need")
LABELS: Mapping[str, tuple[str, ...]] = {
    USE_CASE: (*NOT_AGENT, str(UseCase.AGENT)),
    INTENT: INTENTS,
    COMPLEXITY: tuple(map(str, Complexity)),
    TOOLS: ("no", "yes"),
}
SAFE: Mapping[str, str] = {USE_CASE: UseCase.AGENT, INTENT: Intent.GENERAL, COMPLEXITY: Complexity.MEDIUM}
# Columns of the scores.
TASK, HARD, NEED = slice(0, 8), slice(8, 11), slice(11, 13)
COLUMNS = 13


class VectorError(ValueError):
    """What the encoder gave is no vector that these heads were made for: another length, or not all numbers."""


class Trust(NamedTuple):
    """The exponents of the pool."""

    first: float
    encoder: float


class Heads(NamedTuple):
    """Features = `axes` · centred vector at length VECTOR_SCALE, then flags; scores = kernels to the `landmarks` ·
    `weights`. Shapes: (n,) · (axes, n) · (landmarks, axes + flags) · (landmarks, COLUMNS)."""

    centre: Floats
    axes: Floats
    landmarks: Floats
    weights: Floats
    trust: Mapping[str, Trust]

    def tell(self, vector: Floats, media: Iterable[Media]) -> dict[str, Floats]:
        """Each question's probabilities, in the order of `LABELS`."""
        found = features_of(vector, self.centre, self.axes, media)
        return answers_of(kernels_of(found[None], self.landmarks)[0] @ self.weights)


class Opinion:
    """The heads at work. `combine` is pure."""

    def __init__(self, heads: Heads, abstain_below: float) -> None:
        self._heads = heads
        self._abstain_below = abstain_below

    def combine(self, request: Request, signals: Signals, vector: Floats) -> Signals:
        """Stage 2: the open questions answered by both. `vector`: the encoder's, of `words_for(request)`. Raises
        VectorError."""
        if vector.shape != self._heads.centre.shape or not np.isfinite(vector).all():
            raise VectorError(f"a vector of shape {vector.shape}; wanted {self._heads.centre.shape}, all of it finite")
        own = self._heads.tell(vector, request.media)
        answers = {name: self._answer(name, signals, own[name]) for name in signals.unsure if name in SAFE}
        use_case = answers.get(USE_CASE, signals.use_case)
        after = msgspec.structs.replace(signals, **answers)
        need = np.array((1.0 - signals.tool_need, signals.tool_need), np.float32)
        return msgspec.structs.replace(
            after,
            output_tokens=_output_tokens(request, signals, after),
            outputs=_outputs(request, signals, use_case),
            tool_need=round(float(pool(need, own[TOOLS], *self._heads.trust[TOOLS])[1]), 4),
            unsure=(),
            degraded="",
            stage=2,
        )

    def _answer(self, question: str, signals: Signals, own: Floats) -> Scored:
        first: Scored = getattr(signals, question)
        labels = LABELS[question]
        pooled = pool(spread(first, labels), own, *self._heads.trust[question])
        best = int(own.argmax())
        evidence = (f"the encoder: {labels[best]} at {own[best]:.2f}", *first.evidence[: MOST_EVIDENCE - 1])
        odds = {label: float(p) for label, p in zip(labels, pooled, strict=True)}
        return or_abstain(ranked(odds, lambda _: evidence, is_complete=True), self._abstain_below, SAFE[question])

    def __repr__(self) -> str:
        landmarks, size = self._heads.landmarks.shape
        return f"Opinion({landmarks} landmarks of {size} numbers)"


def words_for(request: Request) -> str:
    """What the encoder should read: the user's last turn without boilerplate and orders, folded; before a word or two,
    what was said earlier."""
    reading = read(request.turns)
    text = without_orders(folded(reading.last))
    if len(reading.words) < FOLLOW_UP_WORDS and reading.earlier:
        text = f"{reading.earlier} {text}"
    return " ".join(text.split())


def features_of(vector: Floats, centre: Floats, axes: Floats, media: Iterable[Media]) -> Floats:
    """Where the vector points, along the axes, and a flag for each kind that may be attached."""
    moved = vector - centre
    kinds = {medium.kind for medium in media}
    flags = [ATTACHED_SCALE * (kind in kinds) for kind in ATTACHED]
    length = float(np.linalg.norm(moved)) or 1.0
    return np.concatenate((axes @ (moved * (VECTOR_SCALE / length)), flags)).astype(np.float32)


def kernels_of(features: Floats, landmarks: Floats) -> Floats:
    """Gaussian, rows × landmarks."""
    squares = (features**2).sum(axis=1)[:, None] + (landmarks**2).sum(axis=1) - 2.0 * features @ landmarks.T
    return np.asarray(np.exp(-GAMMA * squares.clip(0.0)), np.float32)


def answers_of(scores: Floats) -> dict[str, Floats]:
    """Scores (COLUMNS) → each question's probabilities."""
    task = probabilities(HEAT * scores[TASK])
    own = task[len(NOT_AGENT) :]
    total = float(own.sum())
    return {
        USE_CASE: np.append(task[: len(NOT_AGENT)], np.float32(total)),
        INTENT: own / max(total, 1e-9),
        COMPLEXITY: probabilities(HEAT * scores[HARD]),
        TOOLS: probabilities(HEAT * scores[NEED]),
    }


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
        trust = {name: Trust(*map(float, kept["trust"][at])) for at, name in enumerate(QUESTIONS)}
        return Opinion(
            Heads(
                centre=kept["centre"].astype(np.float32),
                axes=kept["axes"].astype(np.float32),
                landmarks=kept["landmarks"] * kept["unit"],
                weights=kept["weights"].astype(np.float32),
                trust=trust,
            ),
            abstain_below,
        )


def _outputs(request: Request, signals: Signals, use_case: Scored) -> tuple[Modality, ...]:
    """The kinds asked for, where the words' use case has changed: what the old one would make goes, the new one's
    comes."""
    if use_case.label == signals.use_case.label:
        return signals.outputs
    made = MADE.get(UseCase(use_case.label)) if use_case.p >= SURE_ENOUGH else None
    return tuple(dict.fromkeys((*request.outputs, *((made,) if made else ()))))


def _output_tokens(request: Request, before: Signals, after: Signals) -> int:
    """The expected length moves as the estimate does that goes by difficulty and intent."""
    if (before.complexity.label, before.intent.label) == (after.complexity.label, after.intent.label):
        return before.output_tokens
    reading, told = read(request.turns), Told(before.language, before.script)
    was, will = (
        tokens.output_tokens(request, reading, one.complexity.label, one.intent.label, told) for one in (before, after)
    )
    expected, limit = round(before.output_tokens * will / max(was, 1)), request.limits.max_output_tokens
    return expected if limit is None else min(expected, limit)
