"""Equal requests at once, whoever arrives, fails or leaves when: everyone ends, no one loses by another going."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cache.asking_twice import OneTree, answer, asked, cached, replied

from pointsman import doors
from pointsman.errors import UpstreamError
from pointsman.testing.decisions import measured

Caller = tuple[int, int | None]  # arrives after so many turns of the loop, leaves so many later
CALLERS = st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 12)), min_size=1, max_size=9)
ENDS = st.lists(st.sampled_from(["whole", "fails", "filtered"]), max_size=9)


class Upstream:
    """Each call takes five turns and ends as the list says, whole once the list is over."""

    def __init__(self, ends: list[str]) -> None:
        self.ends = list(ends)
        self.calls = self.now = self.most = 0

    async def reply(self) -> bytes:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        end = self.ends.pop(0) if self.ends else "whole"
        try:
            await turns(5)
        finally:
            self.now -= 1
        if end == "fails":
            raise UpstreamError("it fell over")
        return answer(end="content_filter") if end == "filtered" else answer()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def call(cache: doors.Cache, upstream: Upstream, after: int) -> str:
    await turns(after)
    async with cache.seat(asked()) as seat:
        if seat.found.reply is None:
            seat.keep(replied(await upstream.reply()), measured())
        return seat.found.how


async def play(callers: list[Caller], ends: list[str]) -> tuple[Upstream, OneTree, list[str | BaseException]]:
    cache, upstream = cached(), Upstream(ends)
    tasks = [asyncio.create_task(call(cache, upstream, after)) for after, _ in callers]

    async def leave(task: "asyncio.Task[str]", after: int, stays: int) -> None:
        await turns(after + stays)
        task.cancel()

    who = zip(tasks, callers, strict=True)
    leaving = [leave(task, after, stays) for task, (after, stays) in who if stays is not None]
    async with asyncio.timeout(10):
        await asyncio.gather(*leaving)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    return upstream, cache, results


@settings(max_examples=150)
@given(callers=CALLERS, ends=ENDS)
def test_everyone_ends_and_nothing_is_left(callers: list[Caller], ends: list[str]) -> None:
    upstream, cache, results = asyncio.run(play(callers, ends))
    assert len(cache.flights) == upstream.now == 0
    for (_, stays), result in zip(callers, results, strict=True):
        assert result in {"hit", "miss"} or isinstance(result, UpstreamError | asyncio.CancelledError)
        assert not isinstance(result, asyncio.CancelledError) or stays is not None
    failed = sum(isinstance(result, UpstreamError) for result in results)
    assert failed <= ends.count("fails")  # a failure is heard by the one who asked


@settings(max_examples=100)
@given(callers=CALLERS)
def test_where_nothing_fails_one_call_at_a_time_is_enough(callers: list[Caller]) -> None:
    upstream, _, results = asyncio.run(play(callers, []))
    left = sum(isinstance(result, asyncio.CancelledError) for result in results)
    assert upstream.most <= 1 or left > 1
    assert upstream.calls <= 1 + left
