"""A worker child's HTTP server: one engine, a few OpenAI-shaped routes, on a free port of 127.0.0.1.

Knows: HTTP, the key, bounds, threads. Does not know: what an engine does with a request.
Invariants: an engine's blocking work runs in one of `slots` threads, never on the event loop, so `/health` answers
while it computes; work of a client that left is dropped if it has not begun and asked to stop if it has; a status is
sent only when the first bytes of the answer exist, so that an error before them is an HTTP error.
A streamed answer is held in memory until it is sent: it is bounded by what a request may ask for.
"""

import asyncio
import ctypes
import hmac
import logging
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager
from typing import Any, Protocol

import msgspec
import uvicorn

from pointsman.backends.worker import lifeline
from pointsman.backends.worker.config import MEBIBYTE, WorkerConfig
from pointsman.backends.worker.wire import Body, ErrorBody, event
from pointsman.errors import PointsmanError, RequestError
from pointsman.types import Value

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EVENTS = "text/event-stream"
JSON = "application/json"

KEEP_ALIVE_S = 75
"""Longer than a gateway keeps an idle connection, so that it never sends on one that is just being closed."""

log = logging.getLogger(__name__)


class Stopped(Exception):  # noqa: N818  # a request to end, not an error of anybody
    """Nobody waits for this work any more."""


class Stop:
    """Tells work in a thread that its client left. Engines call `check` between sentences, segments or frames."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        self._asked.set()

    def check(self) -> None:
        """Raises Stopped once asked to."""
        if self._asked.is_set():
            raise Stopped


class Answer(Value, frozen=True):
    """What a handler promises: `chunks` does the work, in a thread, and yields the body.

    Where `is_stream` is false the chunks are sent as one body with its length.
    """

    content_type: str
    chunks: Callable[[Stop], Generator[bytes, None, None]]
    is_stream: bool = False
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Body], Answer]
"""Checks a request and says how it will be answered; quick, on the event loop. Raises RequestError."""


class Engine(Protocol):
    """A loaded model."""

    @property
    def config(self) -> WorkerConfig: ...
    def routes(self) -> Mapping[str, Handler]:
        """POST handlers by path, without `/v1`."""
        ...


class Worker:
    """The ASGI application around one engine."""

    def __init__(self, engine: Engine) -> None:
        self._config = engine.config
        self._routes = dict(engine.routes())
        self._working = 0
        self._pool = ThreadPoolExecutor(max_workers=engine.config.slots, thread_name_prefix="engine")
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not

    def __repr__(self) -> str:
        return f"Worker({self._config.model_id}: {', '.join(self._routes)})"

    def close(self) -> None:
        """Wait for no work; begun work ends when it next looks at its Stop."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _Response(send)
        try:
            await self._exchange(scope, receive, response)
        except Stopped:
            return
        except PointsmanError as error:
            await response.error(error)
        except Exception as error:  # the seam: whatever an engine library raised
            log.exception("%s failed", self._config.model_id)
            cause = f"The engine of `{self._config.model_id}` failed ({type(error).__name__}: {error}); see its log"
            await response.error(PointsmanError(cause))

    async def _exchange(self, scope: Scope, receive: Receive, response: "_Response") -> None:
        path = scope["path"].removeprefix("/v1")
        if path == "/health":
            await response.whole(200, JSON, b'{"status":"ok"}')
            return
        _authorise(scope, self._config.api_key)
        if path == "/slots":
            await response.whole(200, JSON, self._slots())
            return
        handler = self._routes.get(path)
        if handler is None:
            raise RequestError(f"{path}: no such route; this worker has {', '.join(self._routes)}", code="not_found")
        if scope["method"] != "POST":
            raise RequestError(f"{path}: takes POST, not {scope['method']}", code="method_not_allowed")
        body = await _read(scope, receive, self._config.max_body_bytes)
        answer = handler(body)
        await self._watched(answer, receive, response)

    def _slots(self) -> bytes:
        """As llama.cpp lists them, as far as anybody asks: which are at work."""
        slots = [{"id": slot, "is_processing": slot < self._working} for slot in range(self._config.slots)]
        return msgspec.json.encode(slots)

    async def _watched(self, answer: Answer, receive: Receive, response: "_Response") -> None:
        """Answer, unless the client leaves first."""
        answering = asyncio.ensure_future(self._give(answer, response))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
            await asyncio.wait({answering, leaving})
        if answering.cancelled():
            raise Stopped
        answering.result()

    async def _give(self, answer: Answer, response: "_Response") -> None:
        async with aclosing(self._chunks(answer)) as chunks:
            if not answer.is_stream:
                body = b"".join([chunk async for chunk in chunks])
                await response.whole(200, answer.content_type, body, answer.headers)
                return
            async for chunk in chunks:
                await response.part(answer.content_type, answer.headers, chunk)
        await response.end()

    async def _chunks(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """The chunks an engine makes in its thread. Leaving early drops the work, or asks it to stop."""
        loop = asyncio.get_running_loop()
        made: asyncio.Queue[bytes | None] = asyncio.Queue()
        stop = Stop()

        def work() -> None:
            loop.call_soon_threadsafe(self._count, 1)
            try:
                with closing(answer.chunks(stop)) as chunks:
                    for chunk in chunks:
                        stop.check()
                        loop.call_soon_threadsafe(made.put_nowait, chunk)
            finally:
                loop.call_soon_threadsafe(self._count, -1)

        working = loop.run_in_executor(self._pool, work)
        working.add_done_callback(lambda _: made.put_nowait(None))
        try:
            while (chunk := await made.get()) is not None:
                yield chunk
            await working
        finally:
            stop.ask()
            working.cancel()
            self._pool.submit(self._give_back_memory)

    def _count(self, change: int) -> None:
        self._working += change

    def _give_back_memory(self) -> None:
        """Return what the request needed to the system: the allocator would keep it, hundreds of MB after a page."""
        if self._trim is not None:
            self._trim(0)


class _Response:
    """The way back: starts once. After the start an error is one event, or else a torn connection."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._content_type = ""

    async def whole(self, status: int, content_type: str, body: bytes, extra: tuple[tuple[str, str], ...] = ()) -> None:
        await self._start(status, content_type, (("content-length", str(len(body))), *extra))
        await self._send({"type": "http.response.body", "body": body})

    async def part(self, content_type: str, extra: tuple[tuple[str, str], ...], chunk: bytes) -> None:
        if not self._content_type:
            await self._start(200, content_type, extra)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def error(self, error: PointsmanError) -> None:
        body = ErrorBody.of(error)
        if not self._content_type:
            await self.whole(error.http_status, JSON, msgspec.json.encode(body))
        elif self._content_type == EVENTS:
            await self._send({"type": "http.response.body", "body": event(body)})
        else:
            raise error

    async def _start(self, status: int, content_type: str, extra: tuple[tuple[str, str], ...]) -> None:
        self._content_type = content_type
        headers = [(b"content-type", content_type.encode())]
        headers += [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in extra]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def _authorise(scope: Scope, api_key: str) -> None:
    given = _header(scope, b"authorization")
    if not hmac.compare_digest(given, b"Bearer " + api_key.encode()):
        raise PointsmanError("This worker answers its own gateway only: send its key", code="invalid_api_key")


def _header(scope: Scope, name: bytes) -> bytes:
    found: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return found


async def _read(scope: Scope, receive: Receive, max_bytes: int) -> Body:
    """The whole body, bounded. Raises RequestError 413; Stopped where the client left first."""
    declared = _header(scope, b"content-length")
    size = int(declared) if declared.isdigit() else 0
    data = bytearray()
    more = True
    while more and size <= max_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Stopped
        data += message.get("body", b"")
        size = max(size, len(data))
        more = message.get("more_body", False)
    if size > max_bytes:
        limit = f"{max_bytes / MEBIBYTE:g} MiB"
        raise RequestError(f"The body has more than {limit}; send a smaller one", code="request_too_large")
    return Body(content_type=_header(scope, b"content-type").decode("latin-1"), data=bytes(data))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: Ctrl-C is for the gateway, which drains, then lets its children go."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def serve(worker: Worker) -> None:
    """Serve until the process ends. Listens before it announces: early callers wait in the kernel."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        lifeline.announce(listener.getsockname()[1])
        config = uvicorn.Config(
            worker, lifespan="off", ws="none", log_config=None, access_log=False, timeout_keep_alive=KEEP_ALIVE_S
        )
        _Server(config).run(sockets=[listener])
