"""A stream seen in passing, and one that is played again.

Knows: when a stream has ended, how much of it may be held. Does not know: keys, stores.
Invariant: no chunk is changed, delayed or lost; what is too large is let go at once.
"""

from collections.abc import AsyncIterator
from typing import Protocol, Self

from pointsman.cache import shapes
from pointsman.types import Kind, Reply

EVENTS = "text/event-stream"


class Holder(Protocol):
    """Hears how a stream ended, once; not at all where it broke off or its reader left."""

    def whole(self, reply: Reply, chunks: tuple[bytes, ...]) -> None: ...
    def too_large(self) -> None: ...


class Collecting:
    """A stream seen in passing: its chunks are held until it has ended, or has become too large to keep."""

    __slots__ = ("_chunks", "_holder", "_max_bytes", "_next", "_reply", "_size_bytes")

    def __init__(self, reply: Reply, max_bytes: int, holder: Holder) -> None:
        assert reply.events is not None  # noqa: S101  # the holder looked; this is for the type checker
        self._next = aiter(reply.events).__anext__
        self._reply = reply
        self._holder = holder
        self._max_bytes = max_bytes
        self._chunks: list[bytes] | None = []
        self._size_bytes = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._next()
        except StopAsyncIteration:
            if self._chunks:
                self._holder.whole(self._reply, tuple(self._chunks))
            raise
        if self._chunks is not None:
            self._chunks.append(chunk)
            self._size_bytes += len(chunk)
            if self._size_bytes > self._max_bytes:
                self._chunks = None
                self._holder.too_large()
        return chunk


def summary_of(kind: Kind, reply: Reply, chunks: tuple[bytes, ...]) -> shapes.Summary:
    """What a whole answer shows. One that another model took up half-way is nobody's; audio is whole where it ended."""
    if reply.content_type.startswith(EVENTS):
        if any(shapes.RESUMED in chunk for chunk in chunks):
            return shapes.NOT_WHOLE
        return shapes.summary_of_events(kind, chunks)
    if "json" in reply.content_type:
        return shapes.summary_of_body(kind, reply.body)
    return shapes.Summary(is_whole=True, has_usage=False)


async def replay(chunks: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    """The chunks as they once came, as fast as they are taken."""
    for chunk in chunks:
        yield chunk
