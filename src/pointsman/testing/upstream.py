"""An OpenAI-compatible upstream that fails on request: for tests, benchmarks and rehearsals. Ships with the package.

The model's name is the script, so that it works through any gateway: `mock-t50-i5-n100-e0.1-s503-a0.2-A10` waits 50 ms,
sends 100 tokens 5 ms apart, answers 10 % with 503 and resets 20 % after 10 tokens. Further words are in
`upstream_script.FAULTS`; `mock-hang` never answers. A port that refuses: `await upstream.down()`, then `up()`.

Knows: HTTP/1.1, how to hang up. Does not know: what an answer says (`upstream_script`), any gateway.
Invariants: under 60 µs a request without pauses; what was asked is kept in `seen`, with how it ended and when.
"""

import argparse
import asyncio
import re
import socket
import struct
import sys
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self, cast

import msgspec
import uvloop

from pointsman.clock import Clock, SystemClock
from pointsman.testing.upstream_script import (
    Call,
    Cut,
    Script,
    Step,
    error_response,
    plain_answer,
    script_of,
    steps_of,
    whole,
)
from pointsman.types import Kind, Value

ENDPOINTS = {
    b"/chat/completions": Kind.CHAT,
    b"/completions": Kind.COMPLETION,
    b"/embeddings": Kind.EMBEDDING,
    b"/audio/transcriptions": Kind.TRANSCRIPTION,
    b"/audio/speech": Kind.SPEECH,
}
MODEL = re.compile(rb'"model"\s*:\s*"([^"]*)"|name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)')
STREAM = re.compile(rb'"stream"\s*:\s*true')
BEGUN = re.compile(rb'\{"role":"assistant","content":"([^"]*)"\}\]')
INCLUDE_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
LENGTH = re.compile(rb"(?i)\r\ncontent-length:\s*(\d+)")
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Seen:
    """One request as it came, and how it ended: `answered`, `cut` by the script, `left` by the client, "" so far."""

    __slots__ = ("at_s", "body", "end", "ended", "ended_s", "head", "method", "model", "path")

    def __init__(self, head: bytes, body: bytes, model: str, at_s: float) -> None:
        self.method, self.path = head.split(b" ", 2)[0].decode(), head.split(b" ", 2)[1].decode()
        self.head = head
        self.body = body
        self.model = model
        self.at_s = at_s
        self.end = ""
        self.ended_s: float | None = None
        self.ended = asyncio.Event()

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names in lower case, as many as came, in their order."""
        pairs = (line.partition(":") for line in self.head.decode("latin-1").split("\r\n")[1:])
        return tuple((name.lower(), value.strip()) for name, _, value in pairs)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def __repr__(self) -> str:
        return f"Seen({self.method} {self.path} {self.model}, {self.end or 'open'})"


class UpstreamStatistics(Value, frozen=True):
    """Counts since the start."""

    requests: int = 0
    answered: int = 0
    errors: int = 0
    cut: int = 0
    left: int = 0
    connections: int = 0
    open_connections: int = 0


class _Connection(asyncio.Protocol):
    """One client: reads requests, plays the steps of one answer at a time."""

    def __init__(self, upstream: "FaultUpstream") -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._steps: Iterator[Step] | None = None
        self._says_bye = False
        self._timer: asyncio.TimerHandle | None = None
        self._seen: Seen | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases
        self._upstream.connected(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        if self._timer is not None:
            self._timer.cancel()
        if self._steps is not None:
            self._end("left")
        self._transport = None
        self._upstream.disconnected(self)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while self._steps is None and self._buffer and self._take_request():
            pass

    def _take_request(self) -> bool:
        """Answer the first whole request in the buffer; False where there is none yet."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._buffer[:end]
        length = LENGTH.search(head)
        total = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < total:
            return False
        body, self._buffer = self._buffer[end + 4 : total], self._buffer[total:]
        self._says_bye = b"\r\nconnection: close" in head.lower()
        self._steps, self._seen, bye = self._upstream.answer(head, body)
        self._says_bye = self._says_bye or bye
        self._play()
        return True

    def _play(self) -> None:
        """Send what may be sent now; come back after a pause."""
        self._timer = None
        ready: list[bytes] = []
        for step in self._steps or ():
            if isinstance(step, bytes):
                ready.append(step)
                continue
            self._send(ready)
            if isinstance(step, float):
                self._timer = self._loop.call_later(step, self._play)
            elif step is not Cut.HANG:
                self._timer = self._loop.call_later(0.001, self.cut, step)  # after what was written has left
            return
        self._send(ready)
        self._end("answered")
        if self._says_bye and self._transport is not None:
            self._transport.close()
        elif self._buffer:
            self.data_received(b"")

    def _send(self, ready: list[bytes]) -> None:
        if self._transport is not None and ready:
            self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))

    def cut(self, how: Cut) -> None:
        """Close now; with RESET so that the client reads ECONNRESET."""
        if self._steps is not None:
            self._end("cut")
        if self._transport is None:
            return
        if how is Cut.RESET:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()

    def _end(self, how: str) -> None:
        self._steps = None
        self._upstream.ended(self._seen, how)
        self._seen = None


def _words_begun(body: bytes) -> int:
    """How many words of its answer the request brings along as the assistant's last message."""
    begun = BEGUN.search(body)
    return begun[1].count(b" ") if begun else 0


class FaultUpstream:
    """`async with FaultUpstream() as upstream:` listens on 127.0.0.1. `seen` holds the last `keep` requests.

    `health_status` is what GET /health answers; `url` ends in /v1; `rng` is seeded, so that rates repeat.
    """

    def __init__(self, port: int = 0, clock: Clock | None = None, seed: int = 0, keep: int = 1000) -> None:
        self.port = port
        self.seen: deque[Seen] = deque(maxlen=keep)
        self.health_status = 200
        self._clock = clock or SystemClock()
        self._rng = self._clock.rng(seed)
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._counts = dict.fromkeys(("requests", "answered", "errors", "cut", "left", "connections"), 0)
        self._all_gone = asyncio.Event()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen, on the same port as before where there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections and reset those that are open."""
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._open):
                connection.cut(Cut.RESET)
            while self._open:
                self._all_gone.clear()
                await self._all_gone.wait()
            self._server = None

    def statistics(self) -> UpstreamStatistics:
        return UpstreamStatistics(**self._counts, open_connections=len(self._open))

    def __repr__(self) -> str:
        return f"FaultUpstream({self.origin}, {self._counts['requests']} requests, {len(self._open)} connections)"

    # what a connection tells

    def connected(self, connection: _Connection) -> None:
        self._counts["connections"] += 1
        self._open.add(connection)

    def disconnected(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._all_gone.set()

    def ended(self, seen: Seen | None, how: str) -> None:
        self._counts[how] += 1
        if seen is not None:
            seen.end, seen.ended_s = how, self._clock.now()
            seen.ended.set()

    def answer(self, head: bytes, body: bytes) -> tuple[Iterator[Step], Seen | None, bool]:
        """The steps for a request, its record where records are kept, and whether to close afterwards."""
        self._counts["requests"] += 1
        found = MODEL.search(body)
        model = (found[1] or found[2] or b"").decode("utf-8", "replace") if found else ""
        seen = Seen(head, body, model, self._clock.now()) if self.seen.maxlen else None
        if seen is not None:
            self.seen.append(seen)
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            return iter((error_response(411, "send the body with a Content-Length"),)), seen, True
        method, path = head.split(b" ", 2)[:2]
        kind = self._endpoint(path) if method == b"POST" else None
        if kind is None:
            return iter((self._document(path),)), seen, False
        script = script_of(model)
        with_usage = INCLUDE_USAGE.search(body) is not None
        call = Call(
            kind=kind,
            model=model,
            is_stream=STREAM.search(body) is not None,
            with_usage=with_usage,
            begun=_words_begun(body),
        )
        return self._scripted(call, script), seen, "bye" in script.faults

    def _endpoint(self, path: bytes) -> Kind | None:
        return next((kind for suffix, kind in ENDPOINTS.items() if path.endswith(suffix)), None)

    def _scripted(self, call: Call, script: Script) -> Iterator[Step]:
        """Chance is asked here, once a request."""
        fails = script.error_rate > 0 and self._rng.random() < script.error_rate
        breaks = script.cut_rate > 0 and self._rng.random() < script.cut_rate
        self._counts["errors"] += fails
        if not fails and not breaks and (plain := plain_answer(call, script)):
            return iter((plain,))
        return steps_of(call, script, fails, breaks)

    def _document(self, path: bytes) -> bytes:
        if path.endswith(b"/models"):
            models = {"object": "list", "data": [{"id": "mock", "object": "model", "created": 0, "owned_by": "mock"}]}
            return whole(200, msgspec.json.encode(models))
        if path.endswith(b"/health"):
            return whole(self.health_status, b'{"status":"ok"}' if self.health_status == 200 else b"{}")
        if path == b"/__stats":
            return whole(200, msgspec.json.encode(self.statistics()))
        return error_response(404, f"there is no route {path.decode('latin-1')} here")


async def serve(port: int) -> None:
    """Serve until cancelled, keeping no record of requests."""
    async with FaultUpstream(port, keep=0) as upstream:
        sys.stdout.write(f"upstream ready on {upstream.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="An OpenAI-compatible upstream that fails on request.")
    parser.add_argument("--port", type=int, default=9100, help="on 127.0.0.1; 0 takes a free one")
    try:
        uvloop.run(serve(parser.parse_args().port))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
