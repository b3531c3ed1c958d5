"""Heads without end, by size and by time; and those that are large and honest."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
import uvicorn

from pointsman.wire import MAX_HEAD_BYTES, Wire

START = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
Message = MutableMapping[str, Any]
Scene = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Hasty(Wire):
    head_timeout_s = 0.2


async def hello(scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


def play(scene: Scene, wire: type[Wire] = Wire) -> None:
    async def run() -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        options: dict[str, Any] = {"loop": "none", "ws": "none", "lifespan": "off", "log_config": None}
        server = uvicorn.Server(uvicorn.Config(hello, http=wire, **options))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        try:
            async with asyncio.timeout(10):
                await scene(reader, writer)
        finally:
            writer.transport.abort()
            server.should_exit = True
            await task
            listener.close()

    asyncio.run(run())


async def greeted(reader: asyncio.StreamReader) -> None:
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(2) == b"hi"


async def is_refused(reader: asyncio.StreamReader, words: str) -> bool:
    """Told why, and hung up on; of the words nothing may be left where something was still being sent."""
    try:
        answer = await reader.read()
    except ConnectionError:
        return True
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return answer.startswith(b"HTTP/1.1 413") and error["code"] == "request_too_large" and words in error["message"]


@pytest.mark.parametrize("piece", [b"x: y\r\n", b"x"], ids=["many headers", "one header"])
def test_a_head_without_end_is_refused(piece: bytes) -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(START + (b"" if len(piece) > 1 else b"x: "))
        for _ in range(3 * MAX_HEAD_BYTES // 1000):  # slowly enough that nothing is under way when it hangs up
            writer.write(piece * (1000 // len(piece)))
            await asyncio.sleep(0.001)
            if reader._buffer:  # type: ignore[attr-defined]  # it has answered
                break
        assert await is_refused(reader, "bytes")

    play(scene)


def test_a_large_head_passes_again_and_again() -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(5):
            writer.write(START + b"x: " + b"y" * (MAX_HEAD_BYTES * 3 // 4) + b"\r\n\r\n")
            await greeted(reader)

    play(scene)


def test_a_connection_that_says_nothing_is_given_up() -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await is_refused(reader, "did not arrive")

    play(scene, Hasty)


def test_a_head_that_comes_byte_by_byte_is_given_up_though_the_first_one_was_quick() -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(START + b"\r\n")
        await greeted(reader)
        await asyncio.sleep(0.4)  # between two requests it may rest
        assert not reader.at_eof()
        for byte in START[:-1]:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.02)
            if reader.at_eof() or reader._buffer:  # type: ignore[attr-defined]  # it has answered
                break
        assert await is_refused(reader, "did not arrive")

    play(scene, Hasty)
