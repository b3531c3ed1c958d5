"""What a child holds, and waiting until it has given it back: the effect is measured, nobody's word is taken for it.

Knows: hardware, how long to be patient. Does not know: phases, why anything is stopped or put to sleep.
A figure that the machine cannot give is 0 or absent; then there is nothing to wait for.
"""

from pointsman.clock import Clock
from pointsman.fleet.hardware import Hardware
from pointsman.fleet.memory import Sizes, in_words
from pointsman.types import Value

BACK_SHARE = 0.75
"""So much of what should come back must be back."""
ASLEEP_SHARE = 0.25
"""Who gave back less than this share of what it held does not sleep."""
LIMIT_S = 5.0
PAUSE_S = 0.05


class Holding(Value, frozen=True):
    """What one child holds, on the host and on each GPU."""

    host_bytes: int = 0
    gpu_bytes: Sizes = ()

    @property
    def deciding_bytes(self) -> int:
        """On GPUs where it holds any there, for a sleeping engine may park its weights in the host's memory."""
        return sum(size for _, size in self.gpu_bytes) or self.host_bytes


class Scales:
    """Weighs children."""

    def __init__(self, hardware: Hardware, clock: Clock) -> None:
        self._hardware = hardware
        self._clock = clock

    async def weigh(self, pid: int | None) -> Holding:
        """As of now."""
        if pid is None:
            return Holding()
        host_bytes = await self._hardware.process_bytes(pid)
        return Holding(host_bytes=host_bytes, gpu_bytes=await self._hardware.process_gpu_bytes(pid))

    def taken(self) -> dict[int, int]:
        """GPU → bytes that anybody holds there."""
        return {gpu.index: gpu.used_bytes for gpu in self._hardware.gpus()}

    async def until_back(self, pid: int, held: Holding, taken: dict[int, int]) -> str:
        """Once a child that has ended, and whatever it had started, holds next to nothing; what was `taken` of its GPUs
        before must have fallen too, for a driver gives memory back after the process is gone.

        Empty, or in words what did not come back within `LIMIT_S`.
        """
        limit_s = self._clock.now() + LIMIT_S
        while True:
            left = await self.weigh(pid)
            missing = _missing(held, left, taken, self.taken() if held.gpu_bytes else {})
            if not missing or self._clock.now() >= limit_s:
                return missing
            await self._clock.sleep(PAUSE_S)

    async def until_freed(self, pid: int | None, held: Holding, asleep_bytes: int) -> Holding:
        """What it still holds once most of what it should give back is free, after `LIMIT_S` at the latest."""
        limit_s = self._clock.now() + LIMIT_S
        should_free = held.deciding_bytes - (0 if held.gpu_bytes else asleep_bytes)
        while True:
            left = await self.weigh(pid)
            freed = held.deciding_bytes - _deciding_bytes(held, left)
            if freed >= BACK_SHARE * should_free or self._clock.now() >= limit_s:
                return left
            await self._clock.sleep(PAUSE_S)


def is_asleep(held: Holding, left: Holding) -> bool:
    """Whether enough came back; where nothing could be measured, the engine's word counts."""
    before_bytes = held.deciding_bytes
    return not before_bytes or before_bytes - _deciding_bytes(held, left) >= ASLEEP_SHARE * before_bytes


def _deciding_bytes(held: Holding, left: Holding) -> int:
    """What is left where it held its memory before."""
    return sum(size for _, size in left.gpu_bytes) if held.gpu_bytes else left.host_bytes


def _missing(held: Holding, left: Holding, before: dict[int, int], now: dict[int, int]) -> str:
    if left.host_bytes > (1 - BACK_SHARE) * held.host_bytes:
        return f"{in_words(left.host_bytes)} of its memory are still held by what it started"
    still = dict(left.gpu_bytes)
    for gpu, size in held.gpu_bytes:
        fallen_bytes = before.get(gpu, 0) - now.get(gpu, 0)
        if still.get(gpu, 0) > (1 - BACK_SHARE) * size or fallen_bytes < BACK_SHARE * size:
            return f"of its {in_words(size)} on GPU {gpu}, {in_words(max(0, fallen_bytes))} are back"
    return ""
