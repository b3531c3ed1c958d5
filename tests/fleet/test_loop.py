"""The fleet at work on a fake clock and scripted backends: real tasks, real cancellation, no real time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pointsman.errors import DeadlineExceeded, Refused, RequestError
from pointsman.fleet.loop import DeploymentSpec, Fleet
from pointsman.fleet.values import Died, Loaded, LoadFailed, News, Restarting, Unloading, Why
from pointsman.settings import FleetSettings
from pointsman.testing.backend import ScriptedBackend, ScriptedStart
from pointsman.testing.clock import FakeClock
from pointsman.testing.hardware import FakeHardware
from pointsman.types import Breaker, DeploymentView, Lease, Tier

GB = 10**9
NEVER = 1e9


class Yard:
    """A fleet of models of 400 MB each, with its clock, its backends and all the news."""

    def __init__(
        self, *specs: DeploymentSpec, load_s: float = 2.0, budget_gb: float = 1.0, drain_s: float = 30
    ) -> None:
        self.clock = FakeClock()
        self.hardware = FakeHardware(8 * GB)
        self.backends = {
            spec.id: ScriptedBackend(
                self.clock,
                spec.id,
                is_managed=spec.is_managed,
                footprint_bytes=int(0.4 * GB) if spec.is_managed else 0,
                load_s=load_s,
            )
            for spec in specs
        }
        settings = FleetSettings(memory_budget_gb=budget_gb)
        self.fleet = Fleet(specs, self.backends, settings, self.clock, self.hardware, drain_timeout_s=drain_s)
        self.news: list[News] = []
        self.fleet.subscribe(self.news.append)

    def view(self, name: str) -> DeploymentView:
        [view] = [view for view in self.fleet.world().deployments if view.id == name]
        return view

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The fleet runs; afterwards nothing of it is left and nothing was done wrong to a backend."""
        tasks_before = asyncio.all_tasks()
        async with self.fleet:
            yield
        assert asyncio.all_tasks() == tasks_before
        for backend in self.backends.values():
            assert not backend.misuse
            assert not (backend.is_managed and backend.is_running)

    async def use(self, name: str, hold_s: float = 1.0, patience_s: float = 100.0) -> Lease:
        async with self.fleet.lease(name, self.clock.now() + patience_s) as lease:
            await self.clock.sleep(hold_s)
            return lease


def model(name: str, slots: int = 1, *, preload: bool = False, ttl_s: float | None = None) -> DeploymentSpec:
    return DeploymentSpec(id=name, model_id=f"model-{name}", slots=slots, preload=preload, ttl_s=ttl_s)


def played(*specs: DeploymentSpec, load_s: float = 2.0, budget_gb: float = 1.0) -> Callable[..., None]:
    """Run the decorated scene in a yard whose fleet is open."""

    def decorate(scene: Callable[[Yard], Awaitable[None]]) -> None:
        async def run() -> None:
            yard = Yard(*specs, load_s=load_s, budget_gb=budget_gb)
            async with yard.open():
                await scene(yard)

        asyncio.run(run())

    return decorate


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


async def load(yard: Yard, *names: str) -> None:
    loads = [asyncio.create_task(yard.fleet.load(name)) for name in names]
    await yard.clock.advance(yard.backends[names[0]].load_s)
    await asyncio.gather(*loads)


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
        async def start(self):  # type: ignore[no-untyped-def]
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
        yard.backends["a"].crash(-9, "llama: killed")
        await yard.clock.settle()
        assert yard.view("a").tier is Tier.COLD
        assert "llama: killed" in yard.view("a").last_error
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


# ------------------------------------------------------------ stops and the end


def test_a_stop_that_hangs_is_tried_again_and_its_memory_stays_taken() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        backend = yard.backends["a"]
        backend.stop_s = None
        unloading = asyncio.create_task(yard.fleet.unload("a"))
        await yard.clock.advance(20)
        assert yard.view("a").state == "stopping"
        assert "has not stopped after 15 s" in yard.view("a").last_error
        assert yard.fleet.world().used_bytes == int(0.4 * GB)
        backend.stop_s = 0.0
        await yard.clock.advance(20)
        await unloading
        assert backend.stop_count >= 2
        assert yard.fleet.world().used_bytes == 0


def test_leaving_waits_for_leases_and_refuses_who_comes_late() -> None:
    async def run() -> None:
        yard = Yard(model("a"), model("b"))
        leave = asyncio.Event()

        async def live() -> None:
            async with yard.open():
                await leave.wait()

        living = asyncio.create_task(live())
        await yard.clock.settle()
        users = [asyncio.create_task(yard.use(name, hold_s=5)) for name in ("a", "b")]
        await yard.clock.advance(2.5)
        queued = asyncio.create_task(yard.use("a"))
        await yard.clock.settle()
        leave.set()
        await yard.clock.settle()
        for late in (queued, asyncio.create_task(yard.use("b"))):
            with pytest.raises(Refused) as refused:
                await late
            assert refused.value.code == "draining"
        assert yard.view("a").state == "draining"
        await yard.clock.advance(4)
        assert not living.done()
        await yard.clock.advance(1)
        await asyncio.gather(*users, living)

    asyncio.run(run())


def test_leaving_cancels_a_start_under_way() -> None:
    async def run() -> None:
        yard = Yard(model("a", preload=True))
        yard.backends["a"].starts.append(ScriptedStart(after_s=None))
        async with yard.open():
            await yard.clock.settle()
            assert yard.backends["a"].is_running

    asyncio.run(run())


def test_leaving_does_not_wait_for_ever_for_a_lease_nor_for_a_hanging_stop() -> None:
    async def run() -> None:
        yard = Yard(model("a", preload=True), load_s=0.0)
        yard.backends["a"].stop_s = None

        async def live() -> None:
            async with yard.fleet:
                await yard.fleet.lease("a", NEVER).__aenter__()

        living = asyncio.create_task(live())
        await yard.clock.advance(30 + 14)
        was_done = living.done()
        await yard.clock.advance(1)
        await living
        assert not was_done
        assert yard.backends["a"].stop_count == 1

    asyncio.run(run())


def test_an_error_in_the_body_is_not_hidden_and_the_children_are_stopped() -> None:
    async def run() -> None:
        yard = Yard(model("a", preload=True), load_s=0.0)
        with pytest.raises(ZeroDivisionError):
            async with yard.fleet:
                await yard.clock.settle()
                raise ZeroDivisionError
        assert not yard.backends["a"].is_running

    asyncio.run(run())


def test_cancelling_the_owner_while_it_drains_stops_the_children_all_the_same() -> None:
    async def run() -> None:
        yard = Yard(model("a", preload=True), load_s=0.0)

        async def live() -> None:
            async with yard.fleet:
                await yard.fleet.lease("a", NEVER).__aenter__()

        living = asyncio.create_task(live())
        await yard.clock.advance(1)
        assert not living.done()
        living.cancel()
        await yard.clock.settle()
        assert living.cancelled()
        assert not yard.backends["a"].is_running

    asyncio.run(run())


def test_a_fleet_that_was_not_entered_says_so() -> None:
    async def run() -> None:
        yard = Yard(model("a"))
        with pytest.raises(RuntimeError, match="async with fleet"):
            await yard.use("a")

    asyncio.run(run())


# ------------------------------------------------------------ health


def attached(name: str, slots: int = 2) -> DeploymentSpec:
    return DeploymentSpec(id=name, model_id=f"model-{name}", slots=slots, is_managed=False)


def test_an_attached_server_is_ready_at_once_and_its_breaker_follows_its_probes() -> None:
    @played(attached("far"), load_s=0.0)
    async def scene(yard: Yard) -> None:
        await yard.clock.settle()
        assert (yard.view("far").tier, yard.view("far").memory_bytes) == (Tier.HOT, 0)
        yard.backends["far"].probe_problem = "connection refused"
        await yard.clock.advance(60)
        assert yard.view("far").breaker is Breaker.CLOSED
        await yard.clock.advance(45)
        assert yard.view("far").breaker is Breaker.OPEN
        assert yard.view("far").retry_in_s > 0
        assert "connection refused" in yard.view("far").last_error
        await yard.clock.advance(600)
        assert yard.view("far").breaker is Breaker.OPEN  # held open while probes fail
        yard.backends["far"].probe_problem = ""
        await yard.clock.advance(70)
        assert yard.view("far").breaker is Breaker.CLOSED
        assert yard.backends["far"].stop_count == 0


def test_an_attached_server_that_is_down_at_first_is_attached_when_it_comes_up() -> None:
    async def run() -> None:
        yard = Yard(attached("far"), load_s=0.0)
        yard.backends["far"].starts.extend([ScriptedStart(error="connection refused", code="upstream_unreachable")] * 4)
        async with yard.open():
            await yard.clock.advance(1.6)
            assert yard.view("far").state == "failed"
            with pytest.raises(Refused, match="connection refused") as refused:
                await yard.use("far")
            assert refused.value.code == "loading_failed"
            await yard.clock.advance(20)
            assert yard.view("far").tier is Tier.HOT

    asyncio.run(run())


def test_a_managed_child_that_is_sick_is_restarted_once_nobody_uses_it() -> None:
    @played(model("a", preload=True), load_s=1.0)
    async def scene(yard: Yard) -> None:
        await yard.clock.advance(1)
        yard.backends["a"].probe_problem = "health 500"
        using = asyncio.create_task(yard.use("a", hold_s=120))
        await yard.clock.advance(110)
        assert yard.backends["a"].stop_count == 0
        assert "health 500" in yard.view("a").last_error
        yard.backends["a"].probe_problem = ""
        await yard.clock.advance(4)
        using.cancel()
        await yard.clock.advance(5)
        assert yard.backends["a"].start_count == 2
        assert yard.view("a").restarts == 1


def test_breaker_reports_reach_the_world() -> None:
    @played(attached("far"), load_s=0.0)
    async def scene(yard: Yard) -> None:
        await yard.clock.settle()
        for _ in range(5):
            yard.fleet.report("far", ok=False)
        assert yard.view("far").breaker is Breaker.OPEN
        await yard.clock.advance(10)
        assert yard.view("far").breaker is Breaker.HALF_OPEN
        for _ in range(3):
            yard.fleet.report("far", ok=True)
        assert yard.view("far").breaker is Breaker.CLOSED


# ------------------------------------------------------------ reading


def test_every_world_has_its_own_ticket_and_the_unchanged_is_shared() -> None:
    @played(model("a", preload=True), model("b"), load_s=1.0)
    async def scene(yard: Yard) -> None:
        await yard.clock.advance(2)
        first, second = yard.fleet.world(), yard.fleet.world()
        assert second.ticket == first.ticket + 1
        assert second.deployments is first.deployments
        async with yard.fleet.lease("a", NEVER):
            third = yard.fleet.world()
            assert third.deployments[0].in_flight == 1
            assert third.deployments[1] is first.deployments[1]
        assert yard.fleet.world().deployments == first.deployments


def test_estimates_in_the_world_move_with_time() -> None:
    @played(model("a"), load_s=4.0)
    async def scene(yard: Yard) -> None:
        assert yard.view("a").memory_bytes == int(0.4 * GB)
        await load(yard, "a")
        await yard.fleet.unload("a")
        assert yard.view("a").ready_in_s == 4.0
        loading = asyncio.create_task(yard.fleet.load("a"))
        await yard.clock.advance(1)
        assert yard.view("a").ready_in_s == 3.0
        await yard.clock.advance(3)
        await loading
        assert yard.view("a").ready_in_s == 0.0


def test_weights_that_must_be_fetched_first_count() -> None:
    async def run() -> None:
        yard = Yard(model("a"))
        missing = {"a": 200_000_000}
        yard.fleet = Fleet(
            (model("a"),),
            yard.backends,
            FleetSettings(memory_budget_gb=1),
            yard.clock,
            yard.hardware,
            missing_bytes=lambda name: missing[name],
        )
        async with yard.open():
            before_s = yard.view("a").ready_in_s
            missing["a"] = 0  # somebody pulled them
            await yard.clock.advance(40)
            assert yard.view("a").ready_in_s == before_s - 10.0

    asyncio.run(run())


def test_the_budget_is_a_share_of_the_machine_unless_given() -> None:
    clock = FakeClock()
    fleet = Fleet((), {}, FleetSettings(memory_fraction=0.5), clock, FakeHardware(8 * GB))
    assert fleet.world().budget_bytes == 4 * GB
    assert repr(fleet) == "Fleet(; 0.00 of 4.00 GB)"
