"""Comments that keep an event stream's connection alive while nothing else is to be said.

Knows: when something was last sent. Does not know: for whom or what is waited: a model that loads, one that thinks.
Proxies and clients give up on a silent connection after a minute or so; an SSE comment (`: keep-alive`) is no event, so
nobody reads it. A comment before the first event starts the response: from then on an error is an event, not a status.
"""

import asyncio
from types import TracebackType
from typing import Protocol

COMMENT = b": keep-alive\n\n"


class Talking(Protocol):
    """A response as the one who keeps it alive sees it. `last_sent_s`: on the loop's clock."""

    last_sent_s: float

    async def comment(self, text: bytes) -> None: ...


class KeepAlive:
    """While this is open, a comment is sent after every `interval_s` of silence. A timer; a task only for a comment."""

    __slots__ = ("_interval_s", "_loop", "_response", "_task", "_timer")

    def __init__(self, response: Talking, interval_s: float) -> None:
        self._response = response
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._response.last_sent_s = self._loop.time()
        self._timer = self._loop.call_later(self._interval_s, self._look)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def _look(self) -> None:
        silent_s = self._loop.time() - self._response.last_sent_s
        if silent_s >= self._interval_s and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._response.comment(COMMENT), name="keep-alive")
            silent_s = 0.0
        self._timer = self._loop.call_later(max(0.001, self._interval_s - silent_s), self._look)

    def __repr__(self) -> str:
        return f"KeepAlive({self._interval_s:g} s)"
