"""How well would each model answer this text? A profile, fitted elsewhere from graded answers, read and asked here.

Knows: the format of a profile, how its parts are blended into estimates with intervals, the guarded choice. Does not
know: how a profile is fitted (`learning`), requests, deployments, prices of the day.

Invariants: the same profile and text always give the same estimates; every estimate lies in [0, 1] with
low ≤ mean ≤ high; the guard leaves the incumbent only where the lower bound of the gain is above zero and the text is
not novel.
"""

from typing import Any

import msgspec
import numpy as np

from pointsman.policy.quality_parts import FINE, Basis, Parts, Places, unit
from pointsman.policy.quality_text import Floats, read
from pointsman.types import Value

FORMAT, VERSION = "pointsman-quality", 1
COVERAGE = 0.9  # of the intervals: the mean quality on texts alike lies inside this often

Labels = tuple[str, str, str]  # intent, language, complexity


class ProfileError(ValueError):
    """The file is not a profile, or one of another version."""


class Estimate(Value, frozen=True):
    """Expected quality of one model's answers to texts like this, in [0, 1].

    `low`, `high`: its interval (`COVERAGE`); `n`: the effective number of graded answers behind it.
    """

    model_id: str
    mean: float
    low: float
    high: float
    n: float


class Choice(Value, frozen=True):
    """The model that the guard lets answer. `gain` and `gain_low`: over the incumbent, in utility."""

    model_id: str
    incumbent: str
    gain: float
    gain_low: float
    novelty: float
    why: str


class Blend(Value, frozen=True):
    """How much each part counts, found by inner cross-validation: in the order of `PARTS`.

    `level` weighs what the parts say of all models alike (is the text hard), `contrast` what they say of one model
    against the others (who is better); 0 everywhere leaves the models' overall means. The level is taken over the
    first `base` models, those that were fitted together: one that joins later moves nobody else.
    """

    level: Floats
    contrast: Floats
    base: int


class Spread(Value, frozen=True):
    """What intervals need: residual variances `(M,)`, of paired differences `(M, M)`, and inflations found on data."""

    variance: Floats
    paired: Floats
    inflation: float
    paired_inflation: float


class Guard(Value, frozen=True):
    """`z`: standard errors to take off a gain; `novel`: novelty from which the incumbent stays, whatever the gain.

    `familiarity`: quantiles, ascending, of how near the fitted texts lie to each other.
    """

    z: float
    novel: float
    familiarity: Floats


class Costs(Value, frozen=True):
    """Mean cost of a model, the dearest 1, `(M,)`, and in each of the fine cells, `(k, M)`. `unit`: of the dearest."""

    means: Floats
    cells: Floats
    unit: float


class ProfileData(Value, frozen=True):
    """What the file holds. Arrays have one row or column a model, in the order of `models`."""

    format: str
    version: int
    models: tuple[str, ...]
    incumbent: str
    means: Floats
    counts: Floats
    basis: Basis
    parts: Parts
    blend: Blend
    labelled_blend: Blend
    spread: Spread
    guard: Guard
    costs: Costs | None
    note: str = ""


class View(Value, frozen=True):
    """One text as the profile sees it: per model the deviation-corrected mean and effective answers; its novelty."""

    means: Floats
    n: Floats
    novelty: float
    costs: Floats


class QualityProfile:
    """A fitted profile, ready to be asked. Immutable; one instance may be asked from many threads."""

    def __init__(self, data: ProfileData) -> None:
        self.data = data
        self._rows = {model: row for row, model in enumerate(data.models)}
        self._parts = data.parts.widened()

    @classmethod
    def from_bytes(cls, raw: bytes) -> "QualityProfile":
        """The profile in these bytes. Raises ProfileError."""
        return cls(decode(raw))

    def __repr__(self) -> str:
        answers = int(self.data.counts.sum())
        return f"QualityProfile({len(self.models)} models, {answers} graded answers, incumbent {self.incumbent})"

    @property
    def models(self) -> tuple[str, ...]:
        """The models it can speak of."""
        return self.data.models

    @property
    def incumbent(self) -> str:
        """The best single model where it was fitted, or the one named then: what the guard falls back to."""
        return self.data.incumbent

    def estimate(self, text: str, labels: Labels | None = None) -> tuple[Estimate, ...]:
        """One estimate a model, in the order of `models`. `labels`: intent, language, complexity, where known."""
        return self.estimates(self.view(text, labels))

    def estimates(self, view: View) -> tuple[Estimate, ...]:
        """The same, of a text that was viewed before."""
        spread = self.data.spread
        reach = Z_TWO_SIDED * spread.inflation * np.sqrt(spread.variance / np.maximum(view.n, 1.0))
        rows = zip(self.models, view.means.tolist(), reach.tolist(), view.n.tolist(), strict=True)
        return tuple(
            Estimate(model_id=model, mean=mean, low=max(0.0, mean - far), high=min(1.0, mean + far), n=n)
            for model, mean, far, n in rows
        )

    def novelty(self, text: str) -> float:
        """How little the text is like anything the profile was fitted on: its rank among those, in [0, 1]."""
        return self.view(text).novelty

    def gain(self, text: str, model: str, incumbent: str, labels: Labels | None = None) -> tuple[float, float]:
        """Expected gain in quality of `model` over `incumbent`, its lower bound. KeyError: a model not in `models`."""
        gains, lows = self._gains(self.view(text, labels), self._rows[incumbent])
        row = self._rows[model]
        return float(gains[row]), float(lows[row])

    def gains(self, view: View, incumbent: str = "") -> tuple[tuple[float, float], ...]:
        """Every model's expected gain over the incumbent (or the one named) and its lower bound, as in `models`."""
        gains, lows = self._gains(view, self._rows[incumbent or self.incumbent])
        return tuple(zip(gains.tolist(), lows.tolist(), strict=True))

    def is_novel(self, view: View) -> bool:
        """Whether nothing like this text was graded, so that the guard lets nobody but the incumbent gain."""
        return view.novelty >= self.data.guard.novel

    def overall(self) -> tuple[tuple[str, float], ...]:
        """Every model's mean over all that was graded."""
        return tuple(zip(self.models, self.data.means.tolist(), strict=True))

    def choose(self, view: View, cost_weight: float = 0.0, incumbent: str = "") -> Choice:
        """Who should answer, by utility = mean quality - cost_weight · cost, the cost of the dearest model being 1.

        1. The incumbent is the one named, else the best single model at this weight.
        2. A novel text stays with it.
        3. The model with the greatest lower bound of the gain takes it, where that is above zero.
        With a cost weight the guard is `PRICED` as strict: who sets a price has agreed to trade quality for it.
        """
        row = self._rows[incumbent] if incumbent else self._best_single(cost_weight)
        strictness = PRICED if cost_weight else 1.0
        gains, lows = self._gains(view, row, strictness)
        dearer = cost_weight * (view.costs - view.costs[row])
        gains, lows = gains - dearer, lows - dearer
        best = int(np.argmax(lows))
        why = "the lower bound of its gain is above zero"
        if 1 - view.novelty <= (1 - self.data.guard.novel) * strictness:
            best, why = row, "nothing like this was graded"
        elif lows[best] <= 0:
            best, why = row, "no other model is surely better"
        return Choice(
            model_id=self.models[best], incumbent=self.models[row], gain=float(gains[best]), gain_low=float(lows[best]),
            novelty=view.novelty, why=why,
        )  # fmt: skip

    def view(self, text: str, labels: Labels | None = None) -> View:
        """Read a text once; everything else is asked of the view."""
        data = self.data
        grams, shape = read(text)
        place = data.basis.place(grams)[None]
        where = Places(places=place, units=unit(place), shapes=shape[None])
        found = self._parts.read(where, () if labels is None else (labels,))
        blend = data.blend if labels is None else data.labelled_blend
        ladder = data.guard.familiarity
        return View(
            means=np.clip(data.means + blended(found.deviations, blend)[0], 0.0, 1.0),
            n=found.n[0],
            novelty=1.0 - float(np.searchsorted(ladder, found.familiarity[0])) / len(ladder),
            costs=self._costs(where.units),
        )

    def _gains(self, view: View, row: int, strictness: float = 1.0) -> tuple[Floats, Floats]:
        """Gains over one model and their lower bounds, `(M,)` both; over itself exactly zero."""
        spread = self.data.spread
        gains = view.means - view.means[row]
        n = np.maximum(np.minimum(view.n, view.n[row]), 1.0)
        reach = strictness * self.data.guard.z * spread.paired_inflation * np.sqrt(spread.paired[row] / n)
        reach[row] = 0.0
        return gains, gains - reach

    def _best_single(self, cost_weight: float) -> int:
        costs = self.data.costs
        if not cost_weight or costs is None:
            return self._rows[self.incumbent]
        return int(np.argmax(self.data.means - cost_weight * costs.means))

    def _costs(self, units: Floats) -> Floats:
        costs = self.data.costs
        if costs is None:
            return np.zeros(len(self.models), np.float32)
        found: Floats = (self.data.parts.cells[FINE].shares(units) @ costs.cells)[0]
        return found


Z_TWO_SIDED = 1.645  # of COVERAGE
PRICED = 0.2


def blended(deviations: Floats, blend: Blend) -> Floats:
    """One deviation a text and model, `(n, M)`, from those of the parts, `(P, n, M)`."""
    levels = deviations[:, :, : blend.base].mean(2, keepdims=True)
    level = np.tensordot(blend.level, levels, 1)
    contrast = np.tensordot(blend.contrast, deviations - levels, 1)
    found: Floats = level + contrast
    return found


def encode(data: ProfileData) -> bytes:
    """The file's bytes: MessagePack, arrays as type, shape and little-endian bytes."""
    return msgspec.msgpack.encode(data, enc_hook=_array_out)


def decode(raw: bytes) -> ProfileData:
    """Raises ProfileError where the bytes are no profile of this version."""
    try:
        head = msgspec.msgpack.decode(raw, type=_Head)
    except msgspec.MsgspecError as error:
        raise ProfileError(f"not a quality profile: {error}") from None
    if head.format != FORMAT or head.version != VERSION:
        raise ProfileError(f"a {head.format!r} file of version {head.version}; wanted {FORMAT!r}, version {VERSION}")
    try:
        data = msgspec.msgpack.decode(raw, type=ProfileData, dec_hook=_array_in)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise ProfileError(f"a damaged quality profile: {error}") from None
    size = (len(data.models),)
    if data.incumbent not in data.models or data.means.shape != size or data.counts.shape != size:
        raise ProfileError("a damaged quality profile: its models and its figures do not match")
    if not len(data.guard.familiarity):
        raise ProfileError("a damaged quality profile: it says nothing of what is familiar")
    return data


class _Head(Value, frozen=True):
    format: str
    version: int


def _array_out(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        return [value.dtype.str.replace(">", "<"), list(value.shape), little.tobytes()]
    raise TypeError(f"a profile holds no {type(value).__name__}")


def _array_in(_: Any, value: Any) -> Any:
    """Arrays by view: nothing is copied, and nothing can be written to."""
    dtype, shape, raw = value
    return np.frombuffer(raw, np.dtype(dtype)).reshape(shape)
