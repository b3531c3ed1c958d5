"""A time limit on the fleet's own clock: `asyncio.timeout` reads the event loop's, which a test cannot own."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pointsman.clock import Clock

T = TypeVar("T")


async def passed(clock: Clock, limit_s: float, future: asyncio.Future[T]) -> None:
    """Return when it is done or the time is over; it stays as it is."""
    alarm = asyncio.ensure_future(clock.sleep(limit_s))
    either: set[asyncio.Future[Any]] = {future, alarm}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        alarm.cancel()


async def within(clock: Clock, limit_s: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises TimeoutError, and whatever `work` raises; then nothing of it is left running."""
    task, alarm = asyncio.ensure_future(work), asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
        alarm.cancel()
        await asyncio.gather(task, alarm, return_exceptions=True)
