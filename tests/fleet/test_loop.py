"""The fleet at work on a fake clock and scripted backends: real tasks, real cancellation, no real time."""

import asyncio

import pytest
from tests.fleet.yard import GB, NEVER, Yard, load, model, played

from pointsman.errors import DeadlineExceeded, Refused, RequestError
from pointsman.fleet.events import Died, Loaded, LoadFailed, Restarting, Unloading
from pointsman.fleet.loop import Fleet
from pointsman.fleet.values import Why
from pointsman.settings import FleetSettings
from pointsman.testing.backend import ScriptedBackend, ScriptedStart
from pointsman.types import Running, Tier

# ------------------------------------------------------------ leases


def test_a_lease_of_a_cold_model_waits_for_its_load_and_says_so() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        task = asyncio.create_task(yard.use("a"))
        await yard.clock.advance(1.5)
        assert yard.view("a").state == "starting"
        assert yard.view("a").queued == 1
        await yard.clock.advance(0.5)
        assert yard.view("a").in_flight == 1
        await yard.clock.advance(1.0)
        lease = await task
        assert lease.model_id == "model-a"
        assert lease.endpoint.base_url.endswith("/a/1")
        assert (lease.waited_s, lease.was_cold) == (2.0, True)
        assert yard.view("a").in_flight == 0


def test_a_lease_of_a_ready_model_is_granted_without_giving_up_the_turn() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        turns: list[str] = []
        asyncio.get_running_loop().call_soon(turns.append, "somebody else")
        async with yard.fleet.lease("a", NEVER) as lease:
            assert (lease.waited_s, lease.was_cold) == (0.0, False)
            assert yard.view("a").in_flight == 1
        assert not turns


def test_many_callers_share_one_load_and_never_exceed_the_slots() -> None:
    @played(model("a", slots=3))
    async def scene(yard: Yard) -> None:
        at_once = most = 0

        async def call() -> None:
            nonlocal at_once, most
            async with yard.fleet.lease("a", NEVER):
                at_once += 1
                most = max(most, at_once)
                await yard.clock.sleep(0.1)
                at_once -= 1

        calls = [asyncio.create_task(call()) for _ in range(200)]
        await yard.clock.advance(2 + 200 / 3 * 0.1 + 1)
        await asyncio.gather(*calls)
        assert most == 3
        assert yard.backends["a"].start_count == 1
        statistics = yard.fleet.statistics()
        assert (statistics.granted, statistics.in_flight, statistics.queued) == (200, 0, 0)


def test_a_caller_that_leaves_the_queue_leaves_no_trace() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        first = asyncio.create_task(yard.use("a", hold_s=10))
        await yard.clock.advance(3)
        second, third = (asyncio.create_task(yard.use("a")) for _ in range(2))
        await yard.clock.settle()
        assert yard.view("a").queued == 2
        second.cancel()
        await yard.clock.settle()
        assert yard.view("a").queued == 1
        await yard.clock.advance(20)
        await asyncio.gather(first, third)
        assert second.cancelled()
        assert yard.fleet.statistics().cancelled == 1


def test_a_caller_cancelled_in_the_instant_of_its_grant_gives_the_slot_back() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        holder = yard.fleet.lease("a", NEVER)
        await holder.__aenter__()
        waiter = asyncio.create_task(yard.use("a"))
        await yard.clock.settle()
        await holder.__aexit__(None, None, None)  # grants the waiter, whose task has not run yet
        assert yard.view("a").in_flight == 1
        waiter.cancel()
        await yard.clock.settle()
        assert waiter.cancelled()
        assert yard.view("a").in_flight == 0
        await asyncio.wait_for(yard.use("a", hold_s=0), 1)


def test_a_failing_body_releases_its_lease() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        with pytest.raises(ZeroDivisionError):
            async with yard.fleet.lease("a", NEVER):
                raise ZeroDivisionError
        assert yard.view("a").in_flight == 0


def test_the_last_caller_that_leaves_before_the_load_began_causes_none() -> None:
    @played(model("a"), model("b"), model("c"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a", "b")
        users = [asyncio.create_task(yard.use(name, hold_s=5)) for name in ("a", "b")]
        await yard.clock.settle()
        waiting = asyncio.create_task(yard.use("c"))
        await yard.clock.advance(1)
        waiting.cancel()
        await yard.clock.advance(60)
        await asyncio.gather(*users)
        assert yard.backends["c"].start_count == 0


def test_a_deadline_ends_the_wait() -> None:
    @played(model("a"), load_s=60)
    async def scene(yard: Yard) -> None:
        waiting = asyncio.create_task(yard.use("a", patience_s=3))
        await yard.clock.advance(3)
        with pytest.raises(DeadlineExceeded, match=r"is starting since 3\.0 s"):
            await waiting
        await yard.clock.advance(60)
        assert yard.view("a").tier is Tier.HOT  # let finish


def test_an_unknown_deployment_is_the_callers_fault() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        with pytest.raises(RequestError, match="no deployment `z`; there are a"):
            await yard.use("z")


def test_a_full_queue_refuses_with_503_and_an_estimate() -> None:
    async def run() -> None:
        yard = Yard(model("a"))
        settings = FleetSettings(memory_budget_gb=1, max_queue=2)
        yard.fleet = Fleet((model("a"),), yard.backends, settings, yard.clock, yard.hardware)
        async with yard.open():
            waiting = [asyncio.create_task(yard.use("a", hold_s=0.1)) for _ in range(2)]
            await yard.clock.settle()
            with pytest.raises(Refused) as refused:
                await yard.use("a")
            assert refused.value.code == "queue_full"
            assert refused.value.http_status == 503
            assert refused.value.retry_after_s > 2
            await yard.clock.advance(5)
            await asyncio.gather(*waiting)

    asyncio.run(run())


# ------------------------------------------------------------ loads, evictions, failures


def test_an_idle_model_makes_room_and_the_subscriber_hears_of_it() -> None:
    @played(model("a"), model("b"), model("c"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a", "b")
        await yard.clock.advance(10)
        lease = asyncio.create_task(yard.use("c"))
        await yard.clock.advance(3)
        await lease
        assert [view.tier for view in yard.fleet.world().deployments] == [Tier.COLD, Tier.HOT, Tier.HOT]
        kinds = [(type(news), news.model_id) for news in yard.news]
        assert kinds == [(Loaded, "model-a"), (Loaded, "model-b"), (Unloading, "model-a"), (Loaded, "model-c")]
        assert yard.fleet.statistics().evictions == 1


def test_memory_measured_after_the_load_is_what_counts() -> None:
    @played(model("a", preload=True))
    async def scene(yard: Yard) -> None:
        yard.hardware.processes = {pid: int(0.7 * GB) for pid in range(50_000, 60_000)}
        await yard.clock.advance(2)
        report = await yard.fleet.wait_preloaded()
        assert [(one.deployment_id, one.load_s, one.memory_bytes) for one in report.loads] == [("a", 2.0, 700_000_000)]
        assert report.total_s == 2.0
        world = yard.fleet.world()
        assert (world.used_bytes, world.budget_bytes) == (700_000_000, GB)
        assert world.deployments[0].pid == yard.backends["a"].pid
        yard.hardware.processes = {}


def test_preloads_that_fail_are_reported_and_tried_again() -> None:
    @played(model("a", preload=True), model("b", preload=True))
    async def scene(yard: Yard) -> None:
        yard.backends["a"].starts.extend([ScriptedStart(after_s=1, error="no such file: a.gguf")] * 3)
        await yard.clock.advance(8)
        report = await yard.fleet.wait_preloaded()
        assert [bool(one.error) for one in report.loads] == [True, False]
        assert "no such file: a.gguf" in report.loads[0].error
        assert sum(isinstance(news, LoadFailed) for news in yard.news) == 3
        await yard.clock.advance(10)
        assert yard.view("a").tier is Tier.HOT
        assert yard.view("a").restarts > 0


def test_a_backend_that_raises_anything_has_failed_to_start() -> None:
    class Rude(ScriptedBackend):
        async def start(self) -> Running:
            raise KeyError("nonsense")

    async def run() -> None:
        yard = Yard(model("a"))
        yard.backends["a"] = Rude(yard.clock)
        yard.fleet = Fleet((model("a"),), yard.backends, FleetSettings(), yard.clock, yard.hardware)
        async with yard.open():
            waiting = asyncio.create_task(yard.use("a"))
            await yard.clock.advance(5)
            with pytest.raises(Refused, match="KeyError: 'nonsense'") as refused:
                await waiting
            assert refused.value.code == "loading_failed"

    asyncio.run(run())


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    @played(model("a"), budget_gb=0.3)
    async def scene(yard: Yard) -> None:
        with pytest.raises(Refused, match=r"`a` needs 400 MB of memory and the budget is 300 MB") as refused:
            await yard.use("a")
        assert refused.value.code == "out_of_memory_budget"


def test_a_child_that_dies_in_use_is_replaced_for_the_next_caller() -> None:
    @played(model("a", preload=True))
    async def scene(yard: Yard) -> None:
        await yard.clock.advance(20)
        in_use = asyncio.create_task(yard.use("a", hold_s=1))
        await yard.clock.settle()
        yard.backends["a"].crash(-9, "llama: killed over: what does a heron weigh?")
        await yard.clock.settle()
        assert yard.view("a").tier is Tier.COLD
        assert yard.view("a").last_error == "died (signal 9): see `GET /models/a/logs`"  # its log may hold a prompt
        following = asyncio.create_task(yard.use("a"))
        await yard.clock.advance(4)
        await in_use
        lease = await following
        assert lease.endpoint.base_url.endswith("/a/2")
        assert [type(news) for news in yard.news] == [Loaded, Died, Restarting, Loaded]


def test_a_dead_preload_comes_back_by_itself() -> None:
    @played(model("a", preload=True))
    async def scene(yard: Yard) -> None:
        await yard.clock.advance(20)
        yard.backends["a"].crash()
        await yard.clock.advance(0.4)
        assert yard.backends["a"].start_count == 1
        await yard.clock.advance(3)
        assert yard.view("a").tier is Tier.HOT
        assert yard.view("a").restarts == 1


def test_load_joins_a_load_under_way_and_unload_returns_when_the_memory_is_back() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        using = asyncio.create_task(yard.use("a", hold_s=5))
        loading = asyncio.create_task(yard.fleet.load("a"))
        await yard.clock.advance(2)
        assert (await loading).state == "ready"
        assert yard.backends["a"].start_count == 1
        unloading = asyncio.create_task(yard.fleet.unload("a"))
        await yard.clock.advance(4)
        assert not unloading.done()  # somebody uses it
        await yard.clock.advance(1)
        assert (await unloading).state == "cold"
        await using
        assert yard.fleet.world().used_bytes == 0
        assert (await yard.fleet.unload("a")).state == "cold"


def test_ttl_unloads_what_nobody_uses() -> None:
    @played(model("a", ttl_s=30.0))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        await yard.clock.advance(29)
        assert yard.view("a").tier is Tier.HOT
        await yard.clock.advance(2)
        assert yard.view("a").tier is Tier.COLD
        assert isinstance(yard.news[-1], Unloading)
        assert yard.news[-1].why is Why.EXPIRED
