"""The worker's HTTP server, asked directly as an ASGI application, with an engine that does as it is told."""

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

import msgspec
import pytest

from pointsman.backends.worker.config import WorkerConfig
from pointsman.backends.worker.server import EVENTS, Answer, Handler, Stop, Worker
from pointsman.backends.worker.wire import Body, event, invalid

KEY = "a-secret-key"
Chunks = Callable[[Stop], Generator[bytes, None, None]]


class ToldEngine:
    """Answers every request with the chunks it was given."""

    def __init__(self, chunks: Chunks, *, is_stream: bool = False, content_type: str = EVENTS, slots: int = 1) -> None:
        self.config = WorkerConfig(model_id="told", api_key=KEY, slots=slots, max_body_bytes=1000)
        self._answer = Answer(content_type=content_type, chunks=chunks, is_stream=is_stream, headers=(("x-a", "b"),))
        self.asked: list[Body] = []

    def routes(self) -> Mapping[str, Handler]:
        return {"/say": self.say}

    def say(self, body: Body) -> Answer:
        self.asked.append(body)
        return self._answer


class Exchange:
    """One request and what came back."""

    def __init__(self, body: bytes = b"{}", path: str = "/v1/say", method: str = "POST", key: str = KEY) -> None:
        headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
        self.scope = {"type": "http", "path": path, "method": method, "headers": headers}
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.sent: list[Any] = []

    def leave(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def run(self, worker: Worker) -> "Exchange":
        async def send(message: Any) -> None:
            self.sent.append(message)

        await worker(self.scope, self.incoming.get, send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = msgspec.json.decode(self.body)["error"]
        return error


def words(*said: bytes) -> Chunks:
    def chunks(_: Stop) -> Generator[bytes, None, None]:
        yield from said

    return chunks


def failing(error: Exception, *before: bytes) -> Chunks:
    def chunks(_: Stop) -> Generator[bytes, None, None]:
        yield from before
        raise error

    return chunks


def test_health_needs_no_key() -> None:
    async def run() -> Exchange:
        return await Exchange(path="/health", method="GET", key="").run(Worker(ToldEngine(words())))

    assert asyncio.run(run()).status == 200


@pytest.mark.parametrize(
    ("exchange", "status", "code"),
    [
        ({"key": "wrong"}, 401, "invalid_api_key"),
        ({"key": ""}, 401, "invalid_api_key"),
        ({"path": "/v1/sing"}, 404, "not_found"),
        ({"method": "GET"}, 405, "method_not_allowed"),
        ({"body": b"x" * 1001}, 413, "request_too_large"),
    ],
)
def test_what_is_refused_before_the_engine_is_asked(exchange: dict[str, Any], status: int, code: str) -> None:
    async def run() -> tuple[Exchange, ToldEngine]:
        engine = ToldEngine(words(b"never"))
        return await Exchange(**exchange).run(Worker(engine)), engine

    answered, engine = asyncio.run(run())
    assert (answered.status, answered.error["code"]) == (status, code)
    assert engine.asked == []


def test_a_declared_length_is_refused_unread() -> None:
    async def run() -> Exchange:
        exchange = Exchange()
        exchange.scope["headers"].append((b"content-length", b"5000"))  # type: ignore[attr-defined]  # a list in a scope
        return await exchange.run(Worker(ToldEngine(words())))

    assert asyncio.run(run()).status == 413


def test_a_body_in_pieces_is_joined() -> None:
    async def run() -> Body:
        engine = ToldEngine(words(b"ok"))
        exchange = Exchange()
        exchange.incoming = asyncio.Queue()
        for piece, more in ((b"one ", True), (b"two", False)):
            exchange.incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        await exchange.run(Worker(engine))
        return engine.asked[0]

    assert asyncio.run(run()) == Body(content_type="application/json", data=b"one two")


def test_a_whole_answer_has_its_length() -> None:
    answered = asyncio.run(Exchange().run(Worker(ToldEngine(words(b"one ", b"two"), content_type="text/plain"))))
    assert answered.status == 200
    assert answered.headers[b"content-length"] == b"7"
    assert answered.headers[b"x-a"] == b"b"
    assert answered.body == b"one two"


def test_a_stream_is_sent_as_it_is_made() -> None:
    answered = asyncio.run(Exchange().run(Worker(ToldEngine(words(b"1", b"2"), is_stream=True))))
    assert [message["body"] for message in answered.sent[1:]] == [b"1", b"2", b""]
    assert b"content-length" not in answered.headers


@pytest.mark.parametrize("is_stream", [True, False])
def test_an_error_before_the_first_chunk_is_an_http_error(is_stream: bool) -> None:
    engine = ToldEngine(failing(invalid("file", "is odd", "invalid_media")), is_stream=is_stream)
    answered = asyncio.run(Exchange().run(Worker(engine)))
    assert answered.status == 400
    expected = {"message": "file: is odd", "type": "invalid_request_error", "param": "file", "code": "invalid_media"}
    assert answered.error == expected


def test_what_an_engine_raises_is_named_without_its_traceback() -> None:
    answered = asyncio.run(Exchange().run(Worker(ToldEngine(failing(KeyError("lost"))))))
    assert answered.status == 500
    assert "told" in answered.error["message"]
    assert "KeyError" in answered.error["message"]
    assert "Traceback" not in answered.error["message"]


def test_an_error_mid_stream_is_one_event_and_no_done() -> None:
    engine = ToldEngine(failing(RuntimeError("burst"), event({"a": 1})), is_stream=True)
    answered = asyncio.run(Exchange().run(Worker(engine)))
    assert answered.status == 200
    first, second = answered.body.strip().split(b"\n\n")
    assert first == b'data: {"a":1}'
    assert msgspec.json.decode(second.removeprefix(b"data: "))["error"]["code"] == "internal_error"
    assert b"[DONE]" not in answered.body


def test_an_error_mid_sound_tears_the_connection() -> None:
    engine = ToldEngine(failing(RuntimeError("burst"), b"RIFF"), is_stream=True, content_type="audio/wav")
    with pytest.raises(Exception, match="burst"):
        asyncio.run(Exchange().run(Worker(engine)))


class Gate:
    """An engine's work that begins, waits until it may go on, and tells what became of it."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.begins = 0
        self.stopped = threading.Event()

    def chunks(self, stop: Stop) -> Generator[bytes, None, None]:
        self.begins += 1
        self.begun.release()
        try:
            self.go_on.acquire(timeout=5)
            stop.check()
        except Exception:
            self.stopped.set()
            raise
        yield b"done"


async def in_thread(gate: threading.Semaphore) -> None:
    assert await asyncio.to_thread(gate.acquire, timeout=5)


def test_running_work_of_a_client_that_left_is_asked_to_stop() -> None:
    async def run() -> tuple[Exchange, bool]:
        gate = Gate()
        exchange = Exchange()
        asking = asyncio.create_task(exchange.run(Worker(ToldEngine(gate.chunks))))
        await in_thread(gate.begun)
        exchange.leave()
        await asking  # does not wait for the engine
        gate.go_on.release()
        return exchange, await asyncio.to_thread(gate.stopped.wait, 5)

    exchange, stopped = asyncio.run(run())
    assert stopped
    assert exchange.sent == []


def test_waiting_work_of_a_client_that_left_never_begins() -> None:
    async def run() -> Gate:
        gate = Gate()
        worker = Worker(ToldEngine(gate.chunks))
        first, second, third = Exchange(), Exchange(), Exchange()
        tasks = [asyncio.create_task(first.run(worker))]
        await in_thread(gate.begun)
        tasks += [asyncio.create_task(second.run(worker)), asyncio.create_task(third.run(worker))]
        await asyncio.sleep(0.05)
        second.leave()
        await asyncio.wait({tasks[1]})
        gate.go_on.release()
        gate.go_on.release()
        await asyncio.wait(tasks)
        assert first.body == third.body == b"done"
        assert second.sent == []
        return gate

    assert asyncio.run(run()).begins == 2


@pytest.mark.parametrize("slots", [1, 2])
def test_no_more_run_at_once_than_there_are_slots(slots: int) -> None:
    async def run() -> int:
        gate = Gate()
        worker = Worker(ToldEngine(gate.chunks, slots=slots))
        tasks = [asyncio.create_task(Exchange().run(worker)) for _ in range(3)]
        for _ in range(slots):
            await in_thread(gate.begun)
        await asyncio.sleep(0.05)
        begun = gate.begins
        health = await Exchange(path="/health", method="GET").run(worker)
        assert health.status == 200
        for _ in tasks:
            gate.go_on.release()
        await asyncio.wait(tasks)
        return begun

    assert asyncio.run(run()) == slots


def test_repr_tells_the_model_and_its_routes() -> None:
    assert repr(Worker(ToldEngine(words()))) == "Worker(told: /say)"
