"""What an encoder is. Values and a protocol only."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pointsman.types import Value

Vector = NDArray[np.float32]


class Encoder(Protocol):
    """Text → a vector of unit length, float32, whose size never changes. `languages` it was trained on.

    `encode` may be called from any thread, one call at a time, and may raise anything.
    """

    name: str
    languages: tuple[str, ...]

    def encode(self, text: str) -> Vector: ...


class Watcher(Protocol):
    """Hears what stage 2 did, on the event loop. None of it may block or raise."""

    def answered(self, waited_s: float, *, cached: bool) -> None: ...
    def degraded(self, reason: str) -> None: ...


class EncoderStatistics(Value, frozen=True):
    """Counts since the start: `asked` = `answered` + `degraded` + those under way; `cached` of the answered."""

    name: str
    asked: int
    answered: int
    cached: int
    degraded: tuple[tuple[str, int], ...]
    pending: int
    kept: int
    last_error: str
