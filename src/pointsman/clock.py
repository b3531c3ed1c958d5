"""Time and chance. Nobody else imports `time` or `random`, so a test can own both (`testing.clock.FakeClock`)."""

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, wall-clock seconds since 1970, sleep, and a seeded source of chance."""

    def now(self) -> float: ...
    def unix(self) -> float: ...
    async def sleep(self, duration_s: float) -> None: ...
    def rng(self, seed: int | None = None) -> random.Random: ...


class SystemClock:
    """The machine's clock. `now` is the event loop's own clock, so deadlines compare with asyncio's."""

    now = staticmethod(time.monotonic)
    unix = staticmethod(time.time)

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)

    def rng(self, seed: int | None = None) -> random.Random:
        """Seeded where replay matters; from the system's entropy where it does not (jitter)."""
        return random.Random(seed)  # noqa: S311  # jitter and tie-breaks, not secrets

    def __repr__(self) -> str:
        return "SystemClock()"
