"""Weighing children: waiting until memory is back, and telling a sleep from a claim, on hardware set by hand."""

import asyncio
from collections.abc import Callable

import pytest

from pointsman.fleet.hardware import Gpu
from pointsman.fleet.scales import LIMIT_S, Holding, Scales, is_asleep
from pointsman.testing.clock import FakeClock
from pointsman.testing.hardware import FakeHardware

GB = 10**9
PID = 7


class Stage:
    """A GPU with 2 GB of somebody else's on it, and a child that holds 4 GB on the host and 6 GB there."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hardware = FakeHardware(100 * GB, gpus=(Gpu(index=0, name="A", total_bytes=10 * GB, used_bytes=2 * GB),))
        self.scales = Scales(self.hardware, self.clock)
        self.hold(4 * GB, 6 * GB)

    def hold(self, host_bytes: int, on_gpu_bytes: int) -> None:
        self.hardware.processes = {PID: host_bytes}
        self.hardware.gpu_processes = {PID: ((0, on_gpu_bytes),)} if on_gpu_bytes else {}


def back_after(change: Callable[[Stage], None], *, on_gpu: bool = True) -> tuple[float, str]:
    """A child ends and `change` happens after a second: how long was waited, and what is missing."""

    async def run() -> tuple[float, str]:
        stage = Stage()
        if not on_gpu:
            stage.hold(4 * GB, 0)
        held, taken = await stage.scales.weigh(PID), stage.scales.taken()
        began_s = stage.clock.now()

        async def wait() -> tuple[float, str]:
            missing = await stage.scales.until_back(PID, held, taken)
            return stage.clock.now() - began_s, missing

        task = asyncio.create_task(wait())
        await stage.clock.advance(1)
        change(stage)
        await stage.clock.advance(10)
        return task.result()

    return asyncio.run(run())


def test_it_waits_until_the_memory_is_back() -> None:
    waited_s, missing = back_after(lambda stage: stage.hold(0, 0))
    assert 1 <= waited_s < 1.2
    assert not missing


def test_a_quarter_may_still_be_missing() -> None:
    assert not back_after(lambda stage: stage.hold(GB, GB))[1]


def test_what_an_orphan_holds_is_told_after_the_limit() -> None:
    waited_s, missing = back_after(lambda stage: stage.hold(2 * GB, 0), on_gpu=False)
    assert LIMIT_S <= waited_s < LIMIT_S + 0.2
    assert missing == "2.00 GB of its memory are still held by what it started"


def test_a_gpu_must_have_fallen_too() -> None:
    def swap(stage: Stage) -> None:
        stage.hardware.processes = {}
        stage.hardware.gpu_processes = {8: ((0, 6 * GB),)}  # the process is gone, the memory is not

    assert back_after(swap)[1] == "of its 6.00 GB on GPU 0, 0 MB are back"


def test_what_cannot_be_measured_is_not_waited_for() -> None:
    async def run() -> None:
        stage = Stage()
        assert await stage.scales.weigh(None) == Holding()
        assert await stage.scales.until_back(99, Holding(), {}) == ""
        assert await stage.scales.until_freed(99, Holding(), 0) == Holding()

    asyncio.run(run())


def test_a_sleep_is_waited_for_until_most_is_free() -> None:
    async def run() -> None:
        stage = Stage()
        stage.hold(4 * GB, 0)
        held = await stage.scales.weigh(PID)
        task = asyncio.create_task(stage.scales.until_freed(PID, held, GB))
        await stage.clock.advance(1)
        stage.hold(2 * GB, 0)  # two of the three it should give back
        await stage.clock.advance(1)
        assert not task.done()
        stage.hold(int(1.5 * GB), 0)
        await stage.clock.advance(0.1)
        assert task.result().host_bytes == 1.5 * GB

    asyncio.run(run())


@pytest.mark.parametrize(
    ("held", "left", "asleep"),
    [
        ((4, 0), (3.1, 0), False),
        ((4, 0), (3.0, 0), True),
        ((4, 6), (8, 1), True),  # its weights are parked on the host
        ((4, 6), (0, 5), False),
        ((0, 0), (0, 0), True),  # nobody could tell
    ],
)
def test_who_gave_back_less_than_a_quarter_does_not_sleep(
    held: tuple[float, float], left: tuple[float, float], asleep: bool
) -> None:
    def holding(host: float, on_gpu: float) -> Holding:
        return Holding(host_bytes=int(host * GB), gpu_bytes=((0, int(on_gpu * GB)),) if on_gpu else ())

    assert is_asleep(holding(*held), holding(*left)) is asleep
