"""How well would each model answer this text? A profile, fitted elsewhere from graded answers, read and asked here.

Knows: the format of a profile, and how to make estimates, gains and a guarded choice from one. Does not know: how a
profile is fitted (`learning`), requests, deployments, prices of the day.

Invariants: the same profile and text always give the same estimates; every estimate lies in [0, 1] with
low ≤ mean ≤ high; the guard leaves the incumbent only where the lower bound of the gain is above zero and the text is
not novel.
"""

from pathlib import Path

import msgspec

from pointsman.types import Value

FORMAT, VERSION = "pointsman-quality", 1

Labels = tuple[str, str, str]  # intent, language, complexity


class ProfileError(ValueError):
    """The file is not a profile, or one of another version."""


class Estimate(Value, frozen=True):
    """Expected quality of one model's answer, in [0, 1], with an interval and the effective number of answers behind it."""

    model_id: str
    mean: float
    low: float
    high: float
    n: float


class ProfileData(Value, frozen=True):
    """What the file holds: one row a model."""

    format: str
    version: int
    models: tuple[str, ...]
    incumbent: str
    means: tuple[float, ...]
    errors: tuple[float, ...]
    counts: tuple[float, ...]


class QualityProfile:
    """A fitted profile, ready to be asked. Immutable; one instance may be asked from many threads."""

    def __init__(self, data: ProfileData) -> None:
        self._data = data
        self._rows = {model: row for row, model in enumerate(data.models)}

    @classmethod
    def load(cls, path: str | Path) -> "QualityProfile":
        """Read a profile. Raises ProfileError where it is none, OSError where it cannot be read."""
        return cls.from_bytes(Path(path).read_bytes())

    @classmethod
    def from_bytes(cls, raw: bytes) -> "QualityProfile":
        try:
            data = msgspec.msgpack.decode(raw, type=ProfileData)
        except msgspec.MsgspecError as error:
            raise ProfileError(f"not a quality profile: {error}") from None
        if data.format != FORMAT or data.version != VERSION:
            raise ProfileError(f"a {data.format!r} file of version {data.version}; wanted {FORMAT!r}, {VERSION}")
        return cls(data)

    def __repr__(self) -> str:
        return f"QualityProfile({len(self.models)} models, incumbent {self.incumbent})"

    @property
    def models(self) -> tuple[str, ...]:
        """The models it can speak of."""
        return self._data.models

    @property
    def incumbent(self) -> str:
        """The best single model where it was fitted, or the one named then: what the guard falls back to."""
        return self._data.incumbent

    def estimate(self, text: str, labels: Labels | None = None) -> tuple[Estimate, ...]:
        """One estimate a model, in the order of `models`. `labels`: intent, language, complexity, where known."""
        data = self._data
        return tuple(
            Estimate(model_id=model, mean=mean, low=max(0.0, mean - error), high=min(1.0, mean + error), n=n)
            for model, mean, error, n in zip(data.models, data.means, data.errors, data.counts, strict=True)
        )

    def novelty(self, text: str) -> float:
        """How little the text is like anything the profile was fitted on, in [0, 1]; above `NOVEL` the guard holds."""
        return 0.0

    def gain(self, text: str, model: str, incumbent: str, labels: Labels | None = None) -> tuple[float, float]:
        """Expected gain in quality of `model` over `incumbent`, and its lower bound. KeyError: a model not in `models`."""
        data = self._data
        one, other = self._rows[model], self._rows[incumbent]
        mean = data.means[one] - data.means[other]
        return mean, mean - float(data.errors[one] ** 2 + data.errors[other] ** 2) ** 0.5
