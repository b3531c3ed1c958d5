"""Which quantisation is loaded: the best that fits now, else ever, else the smallest, and why."""

import asyncio

from pointsman.backends.base import Variant
from pointsman.fleet.loop import DeploymentSpec, Fleet
from pointsman.fleet.memory import HOST
from pointsman.fleet.remembered import Figures, Remembered
from pointsman.fleet.variants import Choice, Option, choose
from pointsman.settings import FleetSettings
from pointsman.testing.backend import ScriptedBackend
from pointsman.testing.clock import FakeClock
from pointsman.testing.hardware import FakeHardware
from pointsman.types import Footprint

GB = 10**9
MB = 10**6
NEVER = 1e9
OPTIONS = [Option(name=name, takes=((HOST, size * GB),)) for name, size in (("q8", 4), ("q4", 2), ("q2", 1))]


def of(now_gb: float, ever_gb: float) -> Choice:
    return choose(OPTIONS, {HOST: int(now_gb * GB)}, {HOST: int(ever_gb * GB)})


def test_the_best_that_fits_now() -> None:
    assert of(4, 8) == Choice(index=0)
    assert of(3, 8) == Choice(index=1, why="q8 needs 4.00 GB and 3.00 GB can be had")
    assert of(1, 8).index == 2


def test_where_none_fits_now_the_best_that_ever_will() -> None:
    assert of(0.5, 4) == Choice(index=0)
    assert of(0, 3) == Choice(index=1, why="q8 needs 4.00 GB and 3.00 GB can be had")


def test_where_none_will_ever_fit_the_smallest() -> None:
    choice = of(0, 0.5)
    assert choice.index == 2
    assert choice.why == "q8 needs 4.00 GB and 500 MB can be had; q4 needs 2.00 GB and 500 MB can be had"


def test_every_device_counts_that_has_a_budget() -> None:
    options = [Option(name=name, takes=((HOST, GB), (1, size * GB))) for name, size in (("big", 9), ("small", 5))]
    room = {HOST: 2 * GB, 1: 6 * GB}
    assert choose(options, room, room) == Choice(index=1, why="big needs 9.00 GB on GPU 1 and 6.00 GB can be had")
    assert choose(options, {HOST: 2 * GB}, {}).index == 0


class Coder(ScriptedBackend):
    """800 MB at its best, else 300 MB."""

    chosen = 0

    def variants(self) -> tuple[Variant, ...]:
        sizes = (("q8", 800 * MB), ("q4", 300 * MB))
        return tuple(Variant(name=name, footprint=Footprint(weights_bytes=size)) for name, size in sizes)

    def choose(self, index: int) -> None:
        self.chosen = index

    def footprint(self) -> Footprint:
        return self.variants()[self.chosen].footprint


class Workshop:
    """A coder in variants and another model of 400 MB, in 1 GB."""

    def __init__(self, remembered: Remembered | None = None) -> None:
        self.clock = FakeClock()
        self.hardware = FakeHardware(2 * GB)
        self.coder = Coder(self.clock, "coder", load_s=1)
        self.other = ScriptedBackend(self.clock, "other", footprint_bytes=400 * MB, load_s=1)
        backends = {"coder": self.coder, "other": self.other}
        self.fleet = Fleet(
            tuple(DeploymentSpec(id=name, model_id=name) for name in backends),
            backends,
            FleetSettings(memory_budget_gb=1),
            self.clock,
            self.hardware,
            remembered=remembered,
        )

    @property
    def variant(self) -> str:
        return self.fleet.status().deployments[0].variant

    async def use(self, name: str, hold_s: float = 0) -> None:
        async with self.fleet.lease(name, NEVER):
            await self.clock.sleep(hold_s)


def test_it_is_chosen_when_it_is_wanted_by_who_is_busy_then() -> None:
    async def run() -> None:
        shop = Workshop()
        async with shop.fleet:
            assert shop.variant == "q8"
            busy = asyncio.create_task(shop.use("other", hold_s=30))
            await shop.clock.advance(2)
            wanted = asyncio.create_task(shop.use("coder"))
            await shop.clock.advance(2)
            await wanted
            assert shop.variant == "q4 (q8 needs 800 MB and 600 MB can be had)"
            assert shop.fleet.world().used_bytes == 700 * MB
            await shop.clock.advance(40)
            await busy
            await shop.use("coder")
            assert shop.variant.startswith("q4")  # it is there
            unloading = asyncio.create_task(shop.fleet.unload("coder"))
            await shop.clock.advance(1)
            await unloading
            wanted = asyncio.create_task(shop.use("coder"))  # the other is idle and leaves for the better one
            await shop.clock.advance(5)
            await wanted
            assert shop.variant == "q8"
            assert [backend.is_running for backend in (shop.coder, shop.other)] == [True, False]

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_variant_that_proved_larger_is_passed_over_next_time() -> None:
    remembered = Remembered(None, {"coder": "x"})
    remembered.keep("coder", 800 * MB, Figures(host_bytes=2 * GB))

    async def run() -> None:
        shop = Workshop(remembered)
        async with shop.fleet:
            assert shop.variant == "q4 (q8 needs 2.00 GB and 1.00 GB can be had)"

    asyncio.run(asyncio.wait_for(run(), 20))


def test_what_was_measured_of_one_says_nothing_of_another() -> None:
    async def run() -> None:
        shop = Workshop()
        async with shop.fleet:
            shop.hardware.processes = dict.fromkeys(range(50_000, 60_000), 900 * MB)
            wanted = asyncio.create_task(shop.use("coder"))
            await shop.clock.advance(2)
            await wanted
            assert shop.fleet.world().used_bytes == 900 * MB
            shop.hardware.processes = {}
            unloading = asyncio.create_task(shop.fleet.unload("coder"))
            await shop.clock.advance(1)
            await unloading
            busy = asyncio.create_task(shop.use("other", hold_s=30))
            await shop.clock.advance(2)
            wanted = asyncio.create_task(shop.use("coder"))
            await shop.clock.advance(2)
            await wanted
            assert shop.fleet.world().used_bytes == (400 + 300) * MB
            await shop.clock.advance(30)
            await busy

    asyncio.run(asyncio.wait_for(run(), 20))


def test_preloads_leave_room_for_one_another() -> None:
    async def run() -> None:
        clock = FakeClock()
        backends = {name: Coder(clock, name, load_s=1) for name in ("one", "two")}
        specs = tuple(DeploymentSpec(id=name, model_id=name, preload=True) for name in backends)
        settings = FleetSettings(memory_budget_gb=1.2)
        async with Fleet(specs, backends, settings, clock, FakeHardware(2 * GB)) as fleet:
            await clock.advance(2)
            assert [one.error for one in (await fleet.wait_preloaded()).loads] == ["", ""]
            assert [one.variant.split()[0] for one in fleet.status().deployments] == ["q8", "q4"]

    asyncio.run(asyncio.wait_for(run(), 20))
