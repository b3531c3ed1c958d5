"""What one gateway says of an experiment to the others, and which of two has gone further. Pure.

Knows: in which order things can have happened. Does not know: how a word travels, what an experiment does about it.
Invariant: whatever the order in which words arrive, everybody ends where the foremost stands: an operator's later ratio
before an earlier one, a rollback before any step, a later step before an earlier one; of two ratios that operators set
at once, the smaller.
"""

from collections.abc import Iterable, Sequence

import msgspec

from pointsman.experiments.verdict import Arm
from pointsman.types import Value


class Word(Value, frozen=True):
    """`orders`: so many ratios were set by operators, `pauses`: so often it was paused or resumed, `rollbacks`: rolled
    back; `replaced`: so many verdicts took the place of others. `event`, `by`, `why`: of the last change of the ratio.
    `control`, `treatment`: what was counted by the gateway itself since that."""

    orders: int
    is_rolled_back: bool
    step: int
    ratio: float
    pauses: int
    is_paused: bool
    rollbacks: int
    replaced: int
    event: str
    by: str
    why: str
    control: Arm
    treatment: Arm

    @property
    def rank(self) -> tuple[int, bool, int, float]:
        return self.orders, self.is_rolled_back, self.step, -self.ratio

    def is_of(self, orders: int, step: int) -> bool:
        """Whether what it counts was counted during that step."""
        return (self.orders, self.step) == (orders, step)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Word).decode


def encode(word: Word) -> bytes:
    return _encode(word)


def decode(raw: Iterable[bytes]) -> Sequence[Word]:
    """Those that can be read: a gateway of another version may say it otherwise."""
    words = []
    for one in raw:
        try:
            words.append(_decode(one))
        except (msgspec.MsgspecError, UnicodeError):
            continue
    return words
