"""A seat at the cache: equal requests share one answer, in either shape, and nobody's going disturbs another."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.cache.asking_twice import answer, asked, cached, from_bytes, metadata, replied

from pointsman import doors
from pointsman.cache.exact import NoCache
from pointsman.cache.shapes import DONE
from pointsman.errors import DeadlineExceeded, RequestError, UpstreamError
from pointsman.testing.decisions import measured
from pointsman.types import Reply, Request

CHUNKS = (
    b'data: {"id":"c9","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    (
        b'data: {"id":"c9","choices":[{"index":0,"delta":{"content":"Pa"}}]}\n\n'
        b'data: {"id":"c9","choices":[{"index":0,"delta":{"content":"ris"}}]}\n\n'
    ),
    b'data: {"id":"c9","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c9","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n',
    DONE,
)


class Upstream:
    """Answers when it is let to, and counts. `chunks` make a stream of it."""

    def __init__(self, chunks: tuple[bytes, ...] = (), body: bytes | None = None, fails: int = 0) -> None:
        self.chunks = chunks
        self.body = answer() if body is None else body
        self.fails = fails
        self.asked = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def reply(self) -> Reply:
        self.asked += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails:
            self.fails -= 1
            raise UpstreamError("it fell over")
        if not self.chunks:
            return replied(self.body)
        return Reply(status=200, content_type="text/event-stream", events=self.events(), metadata=metadata())

    async def events(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            if chunk == b"cut":
                raise UpstreamError("it broke off", code="upstream_cut")
            yield chunk


async def through(cache: doors.Cache, request: Request, upstream: Upstream) -> tuple[str, tuple[bytes, ...]]:
    """What the corridor does, less everything but the cache: how it was answered, and all that was read."""
    async with cache.seat(request) as seat:
        reply = seat.found.reply
        how = seat.found.how
        if reply is None:
            reply = seat.keep(await upstream.reply(), measured())
        if reply.events is None:
            return how, (reply.body,)
        return how, tuple([chunk async for chunk in reply.events])


def play(scene: Any) -> None:
    asyncio.run(asyncio.wait_for(scene(), 10))


def opened(upstream: Upstream) -> Upstream:
    upstream.go.set()
    return upstream


def test_the_second_time_nobody_is_asked() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream())
        assert await through(cache, asked(), upstream) == ("miss", (answer(),))
        assert await through(cache, asked(user="other"), upstream) == ("hit", (answer(),))
        assert upstream.asked == 1
        async with cache.seat(asked()) as seat:
            found = seat.found
        assert (found.model_id, found.waited_s < 5) == ("small", True)
        assert found.signals is not None
        assert (found.signals.intent.label, found.signals.language.label) == ("general", "en")

    play(scene)


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_stream_is_played_again_as_it_came(wants_usage: bool) -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream(CHUNKS))
        request = asked(stream=True, stream_options={"include_usage": wants_usage})
        assert await through(cache, request, upstream) == ("miss", CHUNKS)
        assert await through(cache, request, upstream) == ("hit", CHUNKS)
        assert upstream.asked == 1

    play(scene)


def test_either_shape_serves_the_other() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream(CHUNKS))
        await through(cache, asked(stream=True), upstream)
        how, (body,) = await through(cache, asked(), upstream)
        message = msgspec.json.decode(body)["choices"][0]["message"]
        assert (how, message) == ("hit", {"role": "assistant", "content": "Paris"})

        cache, upstream = cached(), opened(Upstream())
        await through(cache, asked(), upstream)
        how, events = await through(cache, asked(stream=True), upstream)
        assert (how, events[-1]) == ("hit", DONE)
        assert b'"content":"Paris."' in b"".join(events)
        assert upstream.asked == 1

    play(scene)


def test_a_caller_who_wants_usage_is_not_served_a_stream_without() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream((*CHUNKS[:3], DONE)))
        assert (await through(cache, asked(stream=True), upstream))[0] == "miss"
        assert (await through(cache, asked(stream=True), upstream))[0] == "hit"
        wanting = asked(stream=True, stream_options={"include_usage": True})
        assert (await through(cache, wanting, upstream))[0] == "miss"

    play(scene)


@pytest.mark.parametrize(
    "chunks",
    [
        (*CHUNKS[:2], b"cut"),
        (CHUNKS[0], b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}\n\n', DONE),
        (CHUNKS[0], b'data: {"x-routing-continuation":{},"choices":[]}\n\n', *CHUNKS[1:]),
    ],
)
def test_a_stream_that_is_not_whole_is_not_kept(chunks: tuple[bytes, ...]) -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream(chunks))
        for _ in range(2):
            try:
                assert (await through(cache, asked(stream=True), upstream))[0] == "miss"
            except UpstreamError:
                assert chunks[-1] == b"cut"
        assert upstream.asked == 2
        assert len(cache.flights) == 0

    play(scene)


def test_a_stream_whose_reader_leaves_is_not_kept() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream(CHUNKS))
        async with cache.seat(asked(stream=True)) as seat:
            reply = seat.keep(await upstream.reply(), measured())
            assert reply.events is not None
            await anext(aiter(reply.events))
        assert (await through(cache, asked(stream=True), upstream))[0] == "miss"

    play(scene)


def test_what_is_too_large_is_not_kept() -> None:
    async def scene() -> None:
        for upstream, stream in ((Upstream(body=answer("x" * 2000)), False), (Upstream(CHUNKS * 20), True)):
            cache = cached(max_entry_mb=0.001)
            for _ in range(2):
                assert (await through(cache, asked(stream=stream), opened(upstream)))[0] == "miss"
            assert cache.statistics().too_large == 2
            assert cache.statistics().entries == 0

    play(scene)


def test_another_tenant_or_configuration_finds_nothing() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream())
        await through(cache, asked(tenant="a"), upstream)
        assert (await through(cache, asked(tenant="b"), upstream))[0] == "miss"
        assert (await through(cache, asked(tenant="a"), upstream))[0] == "hit"
        assert (await through(cache.under("d"), asked(tenant="a"), upstream))[0] == "miss"

    play(scene)


# ---------------------------------------------------------------- the caller's wishes


def test_refresh_asks_anew_and_keeps_the_new_answer() -> None:
    async def scene() -> None:
        cache = cached()
        await through(cache, asked(), opened(Upstream()))
        newer = opened(Upstream(body=answer("Lyon.")))
        assert (await through(cache, asked(control="no-cache"), newer))[0] == "miss"
        assert await through(cache, asked(), newer) == ("hit", (answer("Lyon."),))

    play(scene)


def test_off_neither_looks_nor_keeps() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream())
        await through(cache, asked(), upstream)
        assert (await through(cache, asked(control="no-store"), upstream))[0] == "bypass"
        assert cache.statistics().puts == 1

    play(scene)


def test_only_takes_what_is_kept_or_nothing() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream())
        with pytest.raises(RequestError, match="is kept"):
            await through(cache, asked(control="only-if-cached"), upstream)
        await through(cache, asked(), upstream)
        assert (await through(cache, asked(control="only-if-cached"), upstream))[0] == "hit"
        assert upstream.asked == 1

    play(scene)


def test_an_answer_may_be_too_old_for_one_caller() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream())
        await through(cache, asked(), upstream)
        assert (await through(cache, asked(control="max-age=60"), upstream))[0] == "hit"
        strict = msgspec.structs.replace(asked().limits, max_age_s=-1)
        assert (await through(cache, msgspec.structs.replace(asked(), limits=strict), upstream))[0] == "miss"

    play(scene)


# ---------------------------------------------------------------- several at once


@pytest.mark.parametrize("chunks", [(), CHUNKS])
def test_equal_requests_at_once_are_one(chunks: tuple[bytes, ...]) -> None:
    async def scene() -> None:
        cache, upstream = cached(), Upstream(chunks)
        request = asked(stream=bool(chunks))
        tasks = [asyncio.create_task(through(cache, request, upstream)) for _ in range(20)]
        await asyncio.sleep(0.01)
        assert upstream.asked == 1
        upstream.go.set()
        answers = await asyncio.gather(*tasks)
        assert sorted(how for how, _ in answers) == ["hit"] * 19 + ["miss"]
        assert len({said for _, said in answers}) == 1
        assert (upstream.asked, cache.statistics().followed, len(cache.flights)) == (1, 19, 0)

    play(scene)


def test_other_requests_do_not_wait() -> None:
    async def scene() -> None:
        cache, slow, quick = cached(), Upstream(), opened(Upstream())
        waiting = asyncio.create_task(through(cache, asked(), slow))
        await asyncio.sleep(0)
        assert (await through(cache, asked(tenant="b"), quick))[0] == "miss"
        slow.go.set()
        await waiting

    play(scene)


def test_a_leader_that_leaves_is_followed_by_another() -> None:
    async def scene() -> None:
        cache, upstream = cached(), Upstream()
        tasks = [asyncio.create_task(through(cache, asked(), upstream)) for _ in range(5)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        await asyncio.sleep(0.01)
        assert (upstream.asked, upstream.cancelled) == (2, 1)
        upstream.go.set()
        answers = await asyncio.gather(*tasks[1:])
        assert sorted(how for how, _ in answers) == ["hit"] * 3 + ["miss"]
        assert len(cache.flights) == 0

    play(scene)


def test_a_follower_that_leaves_disturbs_nobody() -> None:
    async def scene() -> None:
        cache, upstream = cached(), Upstream()
        tasks = [asyncio.create_task(through(cache, asked(), upstream)) for _ in range(3)]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        await asyncio.sleep(0.01)
        upstream.go.set()
        assert [(await task)[0] for task in (tasks[0], tasks[2])] == ["miss", "hit"]
        assert (upstream.asked, upstream.cancelled) == (1, 0)

    play(scene)


def test_failures_are_each_ones_own_and_do_not_queue_for_ever() -> None:
    """Two leaders fail one after the other, then everybody asks for himself."""

    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream(fails=100))
        tasks = [through(cache, asked(), upstream) for _ in range(6)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [UpstreamError] * 6
        assert (upstream.asked, len(cache.flights)) == (6, 0)

    play(scene)


def test_what_cannot_be_shared_lets_the_others_go_at_once() -> None:
    async def scene() -> None:
        cache, upstream = cached(), Upstream(body=answer("x", end="content_filter"))
        tasks = [asyncio.create_task(through(cache, asked(), upstream)) for _ in range(4)]
        await asyncio.sleep(0.01)
        upstream.go.set()
        assert [how for how, _ in await asyncio.gather(*tasks)] == ["miss"] * 4
        assert upstream.asked == 4

    play(scene)


def test_a_followers_own_deadline_holds() -> None:
    async def scene() -> None:
        cache, upstream = cached(), Upstream()
        leader = asyncio.create_task(through(cache, asked(), upstream))
        await asyncio.sleep(0.01)
        with pytest.raises(DeadlineExceeded):
            await through(cache, asked(routing={"deadline_s": 0.05}), upstream)
        upstream.go.set()
        assert (await leader)[0] == "miss"

    play(scene)


def test_patience_ends_before_the_deadline() -> None:
    async def scene() -> None:
        cache, slow, quick = cached(wait_s=0.05), Upstream(), opened(Upstream())
        leader = asyncio.create_task(through(cache, asked(), slow))
        await asyncio.sleep(0.01)
        assert (await through(cache, asked(), quick))[0] == "miss"
        assert (slow.asked, quick.asked) == (1, 1)
        slow.go.set()
        await leader

    play(scene)


def test_waiting_is_told_apart_from_work() -> None:
    async def scene() -> None:
        cache, upstream = cached(), Upstream()
        leader = asyncio.create_task(through(cache, asked(), upstream))
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.05, upstream.go.set)
        async with cache.seat(asked()) as seat:
            assert 0.04 < seat.found.waited_s < 5
        await leader

    play(scene)


def test_without_a_cache_a_seat_does_nothing() -> None:
    async def scene() -> None:
        cache = NoCache()
        async with cache.seat(asked()) as seat:
            assert seat.found.how == (await seat.similar(measured())).how == "bypass"
            reply = replied()
            assert seat.keep(reply, measured()) is reply

    play(scene)


def test_damage_in_the_store_is_a_miss() -> None:
    async def scene() -> None:
        cache, upstream = cached(), opened(Upstream())
        await through(cache, asked(), upstream)
        await through(cache, asked(tenant="b"), upstream)
        key, other = tuple(cache.store._entries)  # type: ignore[attr-defined]  # the only way to damage what it holds
        kept = await cache.store.get(key)
        for raw in (b"", b"\xc1", (kept or b"")[:-3], await cache.store.get(other) or b""):
            await cache.store.put(key, raw, 60)
            assert (await through(cache, asked(), upstream))[0] == "miss"

    play(scene)


def test_speech_is_kept_as_the_bytes_it_is() -> None:
    from pointsman.edge.audio import decode_speech
    from pointsman.edge.http import Incoming

    async def scene() -> None:
        body = msgspec.json.encode({"input": "Hello", "response_format": "wav"})
        incoming = Incoming(request_id="r", content_type="application/json", body=body, received_s=from_now())
        cache = cached()
        for expected in ("miss", "hit"):
            async with cache.seat(decode_speech(incoming)) as seat:
                upstream = opened(Upstream((b"RIFF", b"\x00\xff")))
                reply = seat.found.reply or seat.keep(
                    msgspec.structs.replace(await upstream.reply(), content_type="audio/wav"), measured()
                )
                assert reply.events is not None
                assert (seat.found.how, [chunk async for chunk in reply.events]) == (expected, [b"RIFF", b"\x00\xff"])
                assert reply.content_type == "audio/wav"

    def from_now() -> float:
        return from_bytes(b'{"messages":[{"role":"user","content":"x"}]}').received_s

    play(scene)
