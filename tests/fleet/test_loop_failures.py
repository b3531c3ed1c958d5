"""The fleet on a fake clock when things stop, end or fall sick: real tasks, real cancellation, no real time."""

import asyncio

import pytest
from tests.fleet.yard import GB, NEVER, Yard, attached, load, model, played

from pointsman.errors import Refused
from pointsman.fleet.loop import Fleet
from pointsman.settings import FleetSettings
from pointsman.testing.backend import ScriptedStart
from pointsman.testing.clock import FakeClock
from pointsman.testing.hardware import FakeHardware
from pointsman.types import Breaker, Tier

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


def test_nobody_waits_for_an_attached_server_that_is_away() -> None:
    async def run() -> None:
        yard = Yard(attached("far"), load_s=0.0)
        yard.backends["far"].starts.append(ScriptedStart(error="silent", code="upstream_timeout", after_s=5.0))
        async with yard.open():
            asking = asyncio.create_task(yard.use("far"))
            await yard.clock.advance(5.1)
            with pytest.raises(Refused, match="is away: silent"):
                await asking
            await yard.clock.advance(1)
            assert yard.view("far").tier is Tier.HOT  # it is tried again all the same

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


# ------------------------------------------------------------ out of memory


def test_who_runs_out_of_memory_at_its_start_gets_that_of_the_idle_and_one_more_try() -> None:
    @played(model("a"), model("b"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        yard.backends["b"].starts.append(ScriptedStart(after_s=1, error="cudaMalloc failed", code="out_of_memory"))
        lease = asyncio.create_task(yard.use("b"))
        await yard.clock.advance(10)
        await lease
        assert yard.backends["b"].start_count == 2
        assert yard.view("a").tier is Tier.COLD


def test_who_runs_out_of_memory_twice_is_refused_and_says_so() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        starts = [ScriptedStart(after_s=1, error="cudaMalloc failed", code="out_of_memory")] * 20
        yard.backends["a"].starts.extend(starts)
        lease = asyncio.create_task(yard.use("a", patience_s=500))
        await yard.clock.advance(600)
        with pytest.raises(Refused, match="cudaMalloc failed") as refused:
            await lease
        assert refused.value.code == "out_of_memory"
        yard.backends["a"].starts.clear()
