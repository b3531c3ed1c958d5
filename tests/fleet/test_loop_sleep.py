"""The fleet puts engines to sleep, wakes them and waits for memory: scripted engines on hardware that shows what they
hold, on a fake clock."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pointsman.errors import Refused
from pointsman.fleet.events import Died, FellAsleep, Loaded, News, Sleepless, Unloading, WakeUpFailed, Woke
from pointsman.fleet.hardware import Gpu
from pointsman.fleet.loop import DeploymentSpec, Fleet
from pointsman.fleet.remembered import Remembered
from pointsman.settings import FleetSettings
from pointsman.testing.clock import FakeClock
from pointsman.testing.hardware import FakeHardware
from pointsman.testing.sleeper import ScriptedSleeper
from pointsman.types import DeploymentView, Tier

GB = 10**9
MB = 10**6
NEVER = 1e9
GPU = Gpu(index=0, name="A", total_bytes=10 * GB, used_bytes=0)


class Bedroom:
    """Two models of 600 MB awake and 50 MB asleep each, in 1 GB; or on one GPU, 6 GB each."""

    def __init__(
        self, *, on_gpu: bool = False, sleep_after_s: float | None = None, remembered: Remembered | None = None
    ) -> None:
        self.clock = FakeClock()
        self.hardware = FakeHardware(20 * GB, gpus=(GPU,) if on_gpu else ())
        self.sleepers = {
            name: ScriptedSleeper(
                self.clock,
                self.hardware,
                name,
                footprint_bytes=600 * MB,
                gpu_bytes=((0, 6 * GB),) if on_gpu else (),
                asleep_bytes=50 * MB,
                load_s=5,
                nap_s=1,
            )
            for name in ("a", "b")
        }
        specs = tuple(
            DeploymentSpec(id=name, model_id=f"model-{name}", sleep_after_s=sleep_after_s) for name in self.sleepers
        )
        settings = FleetSettings(memory_budget_gb=4 if on_gpu else 1)
        self.fleet = Fleet(specs, self.sleepers, settings, self.clock, self.hardware, remembered=remembered)
        self.news: list[News] = []
        self.fleet.subscribe(self.news.append)

    @property
    def kinds(self) -> list[type[News]]:
        return [type(news) for news in self.news]

    def view(self, name: str) -> DeploymentView:
        [view] = [view for view in self.fleet.world().deployments if view.id == name]
        return view

    async def do(self, work: Awaitable[DeploymentView], within_s: float) -> DeploymentView:
        task = asyncio.ensure_future(work)
        await self.clock.advance(within_s)
        assert task.done()
        return await task

    async def use(self, name: str, within_s: float) -> float:
        """A lease; how long it waited."""

        async def once() -> float:
            async with self.fleet.lease(name, NEVER) as lease:
                return lease.waited_s

        task = asyncio.create_task(once())
        await self.clock.advance(within_s)
        assert task.done()
        return await task


def played(**how: object) -> Callable[[Callable[[Bedroom], Awaitable[None]]], None]:
    def decorate(scene: Callable[[Bedroom], Awaitable[None]]) -> None:
        async def run() -> None:
            room = Bedroom(**how)  # type: ignore[arg-type]  # keywords of the constructor
            async with room.fleet:
                await scene(room)
                while any(backend.is_running for backend in room.sleepers.values()):  # the drain needs time
                    for name in room.sleepers:
                        unloading = asyncio.create_task(room.fleet.unload(name))
                        await room.clock.advance(20)
                        await unloading
            assert not any(backend.misuse or backend.is_running for backend in room.sleepers.values())

        asyncio.run(asyncio.wait_for(run(), 20))

    return decorate


def test_an_operator_puts_it_to_rest_and_wakes_it() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        assert (await room.do(room.fleet.load("a"), 5)).tier is Tier.HOT
        resting = await room.do(room.fleet.rest("a"), 1)
        assert (resting.tier, resting.state) == (Tier.WARM, "asleep")
        assert room.fleet.world().used_bytes == 50 * MB
        assert resting.pid is not None
        woken = await room.do(room.fleet.wake("a"), 1)
        assert woken.tier is Tier.HOT
        assert room.fleet.world().used_bytes == 600 * MB
        assert room.kinds == [Loaded, FellAsleep, Woke]
        [_, fell, woke] = room.news
        assert isinstance(fell, FellAsleep)
        assert isinstance(woke, Woke)
        assert (fell.took_s, fell.memory_bytes, fell.freed_bytes) == (1, 50 * MB, 550 * MB)
        assert (woke.took_s, woke.memory_bytes) == (1, 600 * MB)


def test_a_lease_wakes_it_sooner_than_a_load_would_take() -> None:
    @played(sleep_after_s=30.0)
    async def scene(room: Bedroom) -> None:
        assert await room.use("a", 6) == 5
        await room.clock.advance(32)
        assert room.view("a").tier is Tier.WARM
        assert await room.use("a", 2) == 1
        assert room.sleepers["a"].start_count == 1


def test_rest_waits_for_who_uses_it() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        await room.do(room.fleet.load("a"), 5)
        async with room.fleet.lease("a", NEVER):
            resting = asyncio.create_task(room.fleet.rest("a"))
            await room.clock.advance(5)
            assert not resting.done()
            assert room.sleepers["a"].sleep_count == 0
        assert (await room.do(resting, 2)).state == "asleep"


def test_who_is_cold_stays_cold_and_who_cannot_sleep_says_so() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        assert (await room.fleet.rest("a")).state == "cold"
        room.sleepers["b"].asleep_bytes = 0
        await room.clock.advance(40)  # surveyed anew
        await room.do(room.fleet.load("b"), 5)
        with pytest.raises(Refused, match="its engine cannot sleep") as refused:
            await room.fleet.rest("b")
        assert refused.value.code == "sleep_failed"


def test_the_effect_counts_and_not_the_engines_word() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        room.sleepers["a"].keeps = True
        await room.do(room.fleet.load("a"), 5)
        resting = asyncio.create_task(room.fleet.rest("a"))
        await room.clock.advance(10)
        with pytest.raises(Refused, match="says that it sleeps, but of 600 MB nearly all are still held"):
            await resting
        assert room.view("a").tier is Tier.HOT
        assert not room.sleepers["a"].is_asleep  # it was woken again
        assert room.kinds == [Loaded, Sleepless]
        assert await room.use("a", 1) == 0


def test_a_sleep_that_fails_leaves_it_serving() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        room.sleepers["a"].sleep_problem = "not tired"
        await room.do(room.fleet.load("a"), 5)
        resting = asyncio.create_task(room.fleet.rest("a"))
        await room.clock.advance(3)
        with pytest.raises(Refused, match="not tired"):
            await resting
        assert await room.use("a", 1) == 0


def test_a_sleep_has_its_time_and_a_wake_as_much_as_it_needs() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        await room.do(room.fleet.load("a"), 5)
        room.sleepers["a"].nap_s = 170
        assert (await room.do(room.fleet.rest("a"), 170)).state == "asleep"
        room.sleepers["a"].nap_s = 1000
        assert (await room.do(room.fleet.wake("a"), 1000)).state == "ready"
        resting = asyncio.create_task(room.fleet.rest("a"))
        await room.clock.advance(1200)
        with pytest.raises(Refused, match="not done after 180 s"):
            await resting


def test_one_that_neither_sleeps_nor_wakes_is_ended() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        room.sleepers["a"].sleep_problem, room.sleepers["a"].wake_problem = "not tired", "deaf"
        await room.do(room.fleet.load("a"), 5)
        resting = asyncio.create_task(room.fleet.rest("a"))
        await room.clock.advance(3)
        assert (await resting).state == "cold"
        assert room.kinds[:2] == [Loaded, Died]


def test_one_that_does_not_wake_is_stopped_and_started_anew() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        await room.do(room.fleet.load("a"), 5)
        await room.do(room.fleet.rest("a"), 1)
        room.sleepers["a"].wake_problem = "deaf"
        assert await room.use("a", 8) == 6
        assert room.sleepers["a"].start_count == 2
        assert WakeUpFailed in room.kinds


def test_a_child_that_dies_asleep_is_cold() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        await room.do(room.fleet.load("a"), 5)
        await room.do(room.fleet.rest("a"), 1)
        room.sleepers["a"].crash()
        await room.clock.settle()
        assert room.view("a").tier is Tier.COLD
        assert room.fleet.world().used_bytes == 0


def test_a_nap_of_an_earlier_life_harms_no_later_one() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        sleeper = room.sleepers["a"]
        await room.do(room.fleet.load("a"), 5)
        sleeper.load_s, sleeper.sleep_problem, sleeper.wake_problem = 0.2, "dead", "dead"
        resting = asyncio.create_task(room.fleet.rest("a"))
        await room.clock.advance(0.5)
        sleeper.crash()
        assert await room.use("a", 1) < 1
        with pytest.raises(Refused):  # somebody wanted it
            await resting
        await room.clock.advance(5)  # the nap would have failed, and ended whatever runs
        assert room.view("a").tier is Tier.HOT
        assert sleeper.start_count == 2
        assert room.kinds.count(Died) == 1


def test_unload_ends_it_in_its_sleep_and_on_the_way_there() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        await room.do(room.fleet.load("a"), 5)
        await room.do(room.fleet.rest("a"), 1)
        assert (await room.do(room.fleet.unload("a"), 1)).state == "cold"
        await room.do(room.fleet.load("a"), 5)
        resting = asyncio.create_task(room.fleet.rest("a"))
        await room.clock.advance(0.5)
        assert room.view("a").state == "falling_asleep"
        assert (await room.do(room.fleet.unload("a"), 2)).state == "cold"
        await resting


def test_who_must_leave_falls_asleep_where_that_is_enough() -> None:
    @played()
    async def scene(room: Bedroom) -> None:
        await room.use("a", 6)
        await room.clock.advance(10)
        assert await room.use("b", 8) == 6  # one second for the sleep of the other, five for the load
        assert (room.view("a").state, room.view("b").state) == ("asleep", "ready")
        assert Unloading not in room.kinds
        await room.clock.advance(10)
        assert await room.use("a", 4) == 2
        assert room.sleepers["a"].start_count == 1


# ------------------------------------------------------------ GPUs


def test_models_on_a_gpu_share_its_budget() -> None:
    @played(on_gpu=True)
    async def scene(room: Bedroom) -> None:
        status = room.fleet.status()
        assert [(gpu.index, gpu.budget_bytes) for gpu in status.gpus] == [(0, 8 * GB)]
        await room.use("a", 6)
        assert [gpu.used_bytes for gpu in room.fleet.status().gpus] == [6 * GB]
        await room.clock.advance(10)
        await room.use("b", 8)
        assert [room.view(name).state for name in ("a", "b")] == ["asleep", "ready"]
        assert [gpu.used_bytes for gpu in room.fleet.status().gpus] == [6 * GB]


def test_asleep_means_that_the_gpu_is_free_even_where_the_host_holds_more() -> None:
    @played(on_gpu=True)
    async def scene(room: Bedroom) -> None:
        room.sleepers["a"].asleep_bytes = 3 * GB  # its weights are parked there
        await room.do(room.fleet.load("a"), 5)
        assert (await room.do(room.fleet.rest("a"), 1)).state == "asleep"
        assert room.fleet.world().used_bytes == 3 * GB
        assert [gpu.used_bytes for gpu in room.fleet.status().gpus] == [0]


def test_memory_that_does_not_come_back_is_told_and_not_waited_for_forever() -> None:
    @played(on_gpu=True)
    async def scene(room: Bedroom) -> None:
        await room.do(room.fleet.load("a"), 5)
        room.hardware.gpu_processes = {1: ((0, 6 * GB),)}  # its process is gone from the list, its memory is not free
        unloading = asyncio.create_task(room.fleet.unload("a"))
        await room.clock.advance(4)
        assert room.view("a").state == "stopping"
        await room.clock.advance(2)
        assert (await unloading).state == "cold"
        assert room.view("a").last_error == "has stopped, but of its 6.00 GB on GPU 0, 0 MB are back"


# ------------------------------------------------------------ remembered


def test_the_next_run_knows_what_this_one_measured(tmp_path: Path) -> None:
    def run_once(scene: Callable[[Bedroom], Awaitable[None]]) -> None:
        async def run() -> None:
            room = Bedroom(remembered=Remembered(tmp_path / "measured.json", {"a": "x", "b": "y"}))
            async with room.fleet:
                await scene(room)

        asyncio.run(asyncio.wait_for(run(), 20))

    async def first(room: Bedroom) -> None:
        room.sleepers["a"].holds_bytes = 800 * MB  # more than its estimate
        await room.do(room.fleet.load("a"), 5)
        await room.do(room.fleet.rest("a"), 1)
        await room.do(room.fleet.wake("a"), 1)
        await room.do(room.fleet.unload("a"), 1)

    async def second(room: Bedroom) -> None:
        known, stranger = room.fleet.status().deployments
        assert (known.memory.reserved_bytes, known.memory.asleep_bytes) == (800 * MB, 50 * MB)
        assert (known.load_s, known.wake_s) == (5, 1)
        assert (stranger.memory.reserved_bytes, stranger.load_s) == (600 * MB, None)

    run_once(first)
    run_once(second)


def test_an_operators_figure_for_gpus_counts() -> None:
    async def run() -> None:
        room = Bedroom(on_gpu=True)
        spec = DeploymentSpec(id="a", model_id="a", gpus=(0,), gpu_memory_bytes=7 * GB)
        fleet = Fleet((spec,), room.sleepers, FleetSettings(), room.clock, room.hardware)
        async with fleet:
            [share] = fleet.status().deployments[0].memory.gpus
            assert (share.index, share.reserved_bytes) == (0, 7 * GB)

    asyncio.run(run())


def test_without_instruments_a_budget_for_gpus_is_the_operators_word() -> None:
    async def run(budget_gb: float | None) -> tuple[object, ...]:
        room = Bedroom(on_gpu=True)
        specs = (DeploymentSpec(id="a", model_id="a"), DeploymentSpec(id="b", model_id="b", gpus=(2,)))
        settings = FleetSettings(gpu_memory_budget_gb=budget_gb)
        fleet = Fleet(specs, room.sleepers, settings, room.clock, FakeHardware(20 * GB))
        async with fleet:
            return tuple((gpu.index, gpu.budget_bytes) for gpu in fleet.status().gpus)

    assert asyncio.run(run(9)) == ((0, 9 * GB), (2, 9 * GB))
    assert asyncio.run(run(None)) == ()
