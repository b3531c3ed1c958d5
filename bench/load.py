"""A load generator in one process of its own: keep-alive connections, each asking again when it has its answer.

Reads jobs as JSON lines on standard input, writes a result line for each, ends when the input does. Knows just enough
HTTP to see where a response ends. Invariant: a window ends only when every answer it began has arrived, so that the
server's CPU time belongs to the requests counted.
"""

import asyncio
import sys
import time
from typing import cast

import msgspec
import uvloop

PATIENCE_S = 15.0


class Job(msgspec.Struct, frozen=True):
    """POST `body` to `path` on 127.0.0.1:`port` over `connections` for `seconds`."""

    port: int
    path: str
    body: str
    connections: int
    seconds: float


class Result(msgspec.Struct, frozen=True):
    """What came back. `failed` counts other statuses, broken and silent connections; `sample` is an answer's end."""

    requests: int
    failed: int
    elapsed_s: float
    p50_ms: float
    p99_ms: float
    bytes_read: int
    sample: str


class Connection(asyncio.Protocol):
    """One connection; `stop_s` is when it asks no more."""

    def __init__(self, payload: bytes, stop_s: float) -> None:
        self._payload = payload
        self._stop_s = stop_s
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._missing = -1
        self._tail = b""
        self._asked_s = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies_s: list[float] = []
        self.failed = 0
        self.bytes_read = 0
        self.sample = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._head, self._missing, self._tail = b"", -1, b""
        self._asked_s = time.perf_counter()
        self._transport.write(self._payload)

    def data_received(self, data: bytes) -> None:
        self.bytes_read += len(data)
        if self._missing == -1:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            self._missing = int(length) if length else -2
            self.failed += not head.startswith(b"http/1.1 200")
        self._body(data)

    def _body(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-200:]
        if self._missing >= 0:
            self._missing -= len(data)
            if self._missing > 0:
                return
        elif not self._tail.endswith(b"0\r\n\r\n"):
            return
        self._answered()

    def _answered(self) -> None:
        now_s = time.perf_counter()
        self.latencies_s.append(now_s - self._asked_s)
        self.sample = self._tail
        if now_s < self._stop_s:
            self._ask()
        else:
            assert self._transport is not None
            self._end()
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        if not self.over.done():
            self.failed += 1
            self._end()

    def give_up(self) -> None:
        """Close, and count an answer that never came."""
        if not self.over.done() and self._transport is not None:
            self._transport.abort()
            self.failed += 1
            self._end()

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


async def run(job: Job) -> Result:
    """One window."""
    body = job.body.encode()
    head = f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    payload = f"{head}Authorization: Bearer sk-bench\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    loop = asyncio.get_running_loop()
    began_s = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(payload, began_s + job.seconds), "127.0.0.1", job.port)
        for _ in range(job.connections)
    ]
    connections = [connection for _, connection in made]
    await asyncio.wait([connection.over for connection in connections], timeout=job.seconds + PATIENCE_S)
    for connection in connections:
        connection.give_up()
    latencies_s = sorted(latency for connection in connections for latency in connection.latencies_s)
    return Result(
        requests=len(latencies_s),
        failed=sum(connection.failed for connection in connections),
        elapsed_s=time.perf_counter() - began_s,
        p50_ms=_quantile_ms(latencies_s, 0.5),
        p99_ms=_quantile_ms(latencies_s, 0.99),
        bytes_read=sum(connection.bytes_read for connection in connections),
        sample=connections[0].sample.decode("utf-8", "replace"),
    )


def _quantile_ms(ordered_s: list[float], share: float) -> float:
    return 1000 * ordered_s[min(len(ordered_s) - 1, int(share * len(ordered_s)))] if ordered_s else 0.0


def main() -> None:
    for line in sys.stdin.buffer:
        result = uvloop.run(run(msgspec.json.decode(line, type=Job)))
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
