"""A stream seen in passing: counts its events, times them, keeps the one that reports usage. Changes no byte.

Invariants: about one microsecond a chunk; at most two chunks are kept; the iterator adds no task and no buffer.
Nothing is decoded before the stream has ended.
"""

from collections.abc import AsyncIterator, Callable

from pointsman.ledger.usage import estimate_of_events, fault_in_events, usage_in_events
from pointsman.types import Usage

DONE = (b"[DONE]\n\n", b"[DONE]\r\n\r\n")
NULL_WITHIN = 14
"""`"usage": null` ends within this many bytes of its beginning."""


class WatchedEvents:
    """An iterator over what it is given. `wait_s` is time spent waiting for the source, not for the reader."""

    __slots__ = (
        "_error_chunk",
        "_is_sse",
        "_next",
        "_now",
        "_usage_chunk",
        "ended",
        "events",
        "failure",
        "first_s",
        "size_bytes",
        "wait_s",
    )

    def __init__(self, events: AsyncIterator[bytes], now: Callable[[], float], is_sse: bool = True) -> None:
        self._next = aiter(events).__anext__
        self._now = now
        self._is_sse = is_sse
        self._usage_chunk = b""
        self._error_chunk = b""
        self.events = 0
        self.size_bytes = 0
        self.wait_s = 0.0
        self.first_s: float | None = None
        self.ended = False
        self.failure: BaseException | None = None

    def __aiter__(self) -> "WatchedEvents":
        return self

    async def __anext__(self) -> bytes:
        """The next chunk as it came: one whole event or several. What the source raises passes through, remembered."""
        now = self._now
        asked_s = now()
        try:
            chunk = await self._next()
        except BaseException as error:
            self.wait_s += now() - asked_s
            self._over(error)
            raise
        came_s = now()
        self.wait_s += came_s - asked_s
        if self.first_s is None:
            self.first_s = came_s
        self.size_bytes += len(chunk)
        if self._is_sse:
            self._look(chunk)
        else:
            self.events += 1
        return chunk

    def _look(self, chunk: bytes) -> None:
        self.events += chunk.count(b"\n\n") or chunk.count(b"\r\n\r\n") or 1
        if b'"usage"' in chunk:
            at = chunk.rfind(b'"usage"')
            if b"null" not in chunk[at : at + NULL_WITHIN]:
                self._usage_chunk = chunk
        if b'"error"' in chunk:
            self._error_chunk = chunk
        if chunk.endswith(DONE):
            self.ended = True

    def _over(self, error: BaseException) -> None:
        if isinstance(error, StopAsyncIteration):
            self.ended = True
        else:
            self.failure = error

    def usage(self, prompt_tokens: int) -> Usage:
        """What the stream reported at its end, else an estimate; a stream of plain bytes has no tokens to count."""
        reported = usage_in_events(self._usage_chunk) if self._usage_chunk else None
        return reported or estimate_of_events(self.events if self._is_sse else 0, prompt_tokens)

    def fault(self) -> str | None:
        """The code of a terminal error event ("" where it names none), or None."""
        return fault_in_events(self._error_chunk) if self._error_chunk else None

    def __repr__(self) -> str:
        state = "failed" if self.failure else "ended" if self.ended else "open"
        return f"WatchedEvents({state}, {self.events} events, {self.size_bytes} bytes, {self.wait_s:.3f} s waited)"
