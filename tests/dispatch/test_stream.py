"""Events stay whole, the commit point waits for content, and an end without `[DONE]` is an error."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dispatch.stream import checked, until_content, whole_events
from pointsman.errors import UpstreamError
from pointsman.types import Kind

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def content(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + text.encode() + b'"}}]}\n\n'


STREAM = ROLE + content("Hel") + content("lo [DONE]") + b": keep-alive\n\n" + content("!") + DONE


async def feed(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in pairwise(points)]


async def collect(chunks: list[bytes], kind: Kind = Kind.CHAT) -> list[bytes]:
    return [chunk async for chunk in whole_events(feed(*chunks), kind, "m")]


@given(st.lists(st.integers(0, 10_000), max_size=30), st.booleans())
def test_any_fragmentation_gives_the_same_whole_events(cuts: list[int], carriage: bool) -> None:
    stream = STREAM.replace(b"\n", b"\r\n") if carriage else STREAM
    out = asyncio.run(collect(pieces(stream, cuts)))
    assert b"".join(out) == STREAM
    assert all(chunk.endswith(b"\n\n") for chunk in out)


@given(st.integers(0, len(STREAM) - len(DONE) - 1))
def test_a_stream_cut_anywhere_raises_and_yields_only_whole_events(cut: int) -> None:
    got = b""

    async def run() -> None:
        nonlocal got
        async for chunk in whole_events(feed(STREAM[:cut]), Kind.CHAT, "m"):
            got += chunk

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(run())
    assert caught.value.code == "upstream_cut"
    assert STREAM.startswith(got)
    assert got == b"" or got.endswith(b"\n\n")


def test_done_without_its_empty_line_still_ends_the_stream() -> None:
    assert asyncio.run(collect([content("a"), b"data: [DONE]"]))[-1] == DONE
    assert asyncio.run(collect([content("a"), b"data:[DONE]"]))[-1] == DONE


def test_nothing_follows_done() -> None:
    assert b"".join(asyncio.run(collect([content("a") + DONE, content("late")]))) == content("a") + DONE


def test_audio_streams_end_on_their_done_event() -> None:
    done = b'data: {"type":"transcript.text.done","text":"hello"}\n\n'
    assert asyncio.run(collect([done, b"never read"], Kind.TRANSCRIPTION)) == [done]


def test_the_commit_point_is_the_first_content() -> None:
    async def run() -> tuple[bytes, list[bytes]]:
        events = whole_events(feed(ROLE, ROLE, content("a"), content("b"), DONE), Kind.CHAT, "m")
        held = await until_content(events, "m")
        return held, [chunk async for chunk in checked(held, events, "m")]

    held, out = asyncio.run(run())
    assert held == ROLE + ROLE + content("a")
    assert b"".join(out) == ROLE + ROLE + content("a") + content("b") + DONE


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (ROLE, "upstream_cut"),
        (b"", "upstream_cut"),
        (DONE, "upstream_cut"),
        (ROLE + DONE, "upstream_cut"),
        (content("a") + b'data: {"error":{"message":"in the same breath"}}\n\n', "upstream_error"),
        (b"data: {not json}\n\n", "upstream_protocol"),
        (b'data: {"error":{"message":"out of memory"}}\n\n', "upstream_error"),
    ],
)
def test_a_stream_without_an_answer_fails_before_the_commit_point(stream: bytes, code: str) -> None:
    async def run() -> None:
        await until_content(whole_events(feed(stream), Kind.CHAT, "m"), "m")

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(run())
    assert caught.value.code == code


def test_an_error_event_after_the_commit_point_raises_but_the_word_error_does_not() -> None:
    async def run(*chunks: bytes) -> list[bytes]:
        events = whole_events(feed(*chunks), Kind.CHAT, "m")
        return [chunk async for chunk in checked(await until_content(events, "m"), events, "m")]

    quoted = content('say \\"error\\": 1')
    assert quoted in asyncio.run(run(content("a"), quoted, DONE))
    with pytest.raises(UpstreamError, match="malformed"):
        asyncio.run(run(content("a"), b"data: {oops\n\n", DONE))
    with pytest.raises(UpstreamError, match="GPU fell off"):
        asyncio.run(run(content("a"), b'data: {"error":{"message":"GPU fell off"}}\n\n', DONE))
