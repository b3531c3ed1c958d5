"""A stream that crawls is as good as dead: the guard of its pace.

Knows: when a chunk was asked for and when it came. Does not know: what is in it; whoever reads slowly is not blamed.
"""

from collections.abc import AsyncIterator

from pointsman.clock import Clock
from pointsman.errors import UpstreamError
from pointsman.settings import RetrySettings

EVENT_END = b"\n\n"


class Pace:
    """An iterator over whole events that ends one which sent fewer than `min_events_per_s` while it was waited for
    `pace_window_s` in all. Raises UpstreamError `upstream_timeout`. Silence is not its business: the idle limit is."""

    __slots__ = ("_clock", "_events", "_least", "_model_id", "_next", "_waited_s", "_window_s")

    def __init__(self, events: AsyncIterator[bytes], retry: RetrySettings, clock: Clock, model_id: str) -> None:
        self._next = aiter(events).__anext__
        self._clock = clock
        self._least = retry.min_events_per_s
        self._window_s = retry.pace_window_s
        self._model_id = model_id
        self._events = 0
        self._waited_s = 0.0

    def __aiter__(self) -> "Pace":
        return self

    async def __anext__(self) -> bytes:
        if not self._least:
            return await self._next()
        asked_s = self._clock.now()
        chunk = await self._next()
        self._waited_s += self._clock.now() - asked_s
        self._events += chunk.count(EVENT_END)
        if self._waited_s >= self._window_s:
            if self._events < self._least * self._waited_s:
                raise UpstreamError(
                    f"`{self._model_id}` sent {self._events} events in {self._waited_s:.1f} s, less than "
                    f"retry.min_events_per_s: {self._least:g}",
                    code="upstream_timeout",
                )
            self._events, self._waited_s = 0, 0.0
        return chunk

    def __repr__(self) -> str:
        return f"Pace({self._model_id}, {self._events} events in {self._waited_s:.1f} s)"
