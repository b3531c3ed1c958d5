"""A stream is counted in passing."""

import asyncio
import time
from collections.abc import AsyncIterator

from pointsman.ledger.watch import WatchedEvents

CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"quick "},"finish_reason":null}]}\n\n'
)


def test_counts_events_not_chunks() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield CHUNK * 3
        yield b": keep-alive\r\n\r\ndata: 1\r\n\r\n"

    async def run() -> WatchedEvents:
        watched = WatchedEvents(chunks(), time.monotonic)
        assert [len(chunk) async for chunk in watched] == [3 * len(CHUNK), 27]
        return watched

    watched = asyncio.run(run())
    assert (watched.events, watched.ended, watched.failure) == (5, True, None)
    assert repr(watched).startswith("WatchedEvents(ended, 5 events")
