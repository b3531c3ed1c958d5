"""Work that may outlive the request that asked for it.

Knows: tasks. Does not know: what they do.
Invariants: every task is of one `Jobs` and ends with it; what a task raised is heard by whoever still waits.
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self


class Jobs:
    """`async with jobs:` ends what is still under way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """It goes on whoever waits for it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    @staticmethod
    async def wait(task: asyncio.Task[None], wait_s: float) -> bool:
        """Whether it is done after so long at most; raises what it raised."""
        await asyncio.wait({task}, timeout=wait_s)
        if task.done():
            task.result()
        return task.done()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told by the work itself; nobody may be waiting any more

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def __repr__(self) -> str:
        return f"Jobs({', '.join(sorted(task.get_name() for task in self._tasks)) or 'none'})"
