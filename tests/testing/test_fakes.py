"""The fakes that ship: a test that trusts them must be able to."""

import asyncio

import pytest

from pointsman.backends.base import Backend
from pointsman.clock import Clock
from pointsman.errors import UpstreamError
from pointsman.fleet.hardware import Hardware
from pointsman.testing.backend import ScriptedBackend, ScriptedReply, ScriptedStart
from pointsman.testing.clock import FakeClock
from pointsman.testing.decisions import ask
from pointsman.testing.hardware import FakeHardware
from pointsman.types import Endpoint, Lease


def test_they_fit_the_seams_they_stand_at() -> None:
    clock: Clock = FakeClock()
    backend: Backend = ScriptedBackend(clock)
    hardware: Hardware = FakeHardware(10)
    assert backend.footprint().total_bytes == 0
    assert hardware.available_bytes() == 10
    assert "FakeClock" in repr(clock)


def test_sleepers_wake_in_order_each_at_its_moment_and_chains_are_followed() -> None:
    async def run() -> list[tuple[str, float]]:
        clock, woken = FakeClock(now_s=0.0), []

        async def sleeper(name: str, *pauses_s: float) -> None:
            for pause_s in pauses_s:
                await clock.sleep(pause_s)
                woken.append((name, clock.now()))

        tasks = [asyncio.create_task(sleeper("a", 3.0)), asyncio.create_task(sleeper("b", 1.0, 1.0, 5.0))]
        await clock.advance(4.0)
        assert clock.now() == 4.0
        for task in tasks:
            task.cancel()
        return woken

    assert asyncio.run(run()) == [("b", 1.0), ("b", 2.0), ("a", 3.0)]


def test_a_cancelled_sleeper_holds_nobody_up() -> None:
    async def run() -> None:
        clock = FakeClock()
        sleeping = asyncio.create_task(clock.sleep(1))
        await clock.settle()
        sleeping.cancel()
        await clock.advance(5)
        assert sleeping.cancelled()

    asyncio.run(run())


def test_wall_clock_and_monotonic_clock_advance_together_and_chance_repeats() -> None:
    async def run() -> None:
        clock = FakeClock(now_s=5.0, unix_s=100.0)
        await clock.advance(2.5)
        assert (clock.now(), clock.unix()) == (7.5, 102.5)
        assert clock.rng().random() == clock.rng().random()
        assert clock.rng(1).random() != clock.rng(2).random()

    asyncio.run(run())


def test_a_scripted_backend_starts_fails_crashes_and_stops_as_told() -> None:
    async def run() -> None:
        clock = FakeClock()
        backend = ScriptedBackend(clock, "a", load_s=2.0)
        backend.starts.append(ScriptedStart(error="no such file"))
        with pytest.raises(UpstreamError, match="no such file") as failed:
            await backend.start()
        assert failed.value.code == "loading_failed"
        starting = asyncio.create_task(backend.start())
        await clock.advance(1)
        assert (backend.is_running, starting.done()) == (True, False)
        await clock.advance(1)
        running = await starting
        assert running.exited is not None
        backend.crash(-11, "segfault")
        assert (await running.exited()).code == -11
        await backend.stop()
        assert (backend.start_count, backend.stop_count, backend.misuse) == (2, 1, [])

    asyncio.run(run())


def test_a_scripted_backend_notices_misuse_and_a_cancelled_start_leaves_nothing() -> None:
    async def run() -> None:
        clock = FakeClock()
        backend = ScriptedBackend(clock)
        backend.starts.append(ScriptedStart(after_s=None))
        starting = asyncio.create_task(backend.start())
        await clock.settle()
        starting.cancel()
        await clock.settle()
        assert not backend.is_running
        await backend.start()
        await backend.start()
        assert backend.misuse == ["started twice"]

    asyncio.run(run())


def test_scripted_replies_come_in_order_and_break_off_as_told() -> None:
    async def run() -> None:
        backend = ScriptedBackend(FakeClock())
        backend.replies.append(ScriptedReply(b"{", error=UpstreamError("cut", code="upstream_cut")))
        lease = Lease(id=1, deployment_id="a", model_id="a", endpoint=Endpoint(base_url="", upstream_model="a"))
        async with backend.call(lease, ask()) as reply:
            assert backend.open_calls == 1
            with pytest.raises(UpstreamError, match="cut"):
                await reply.read()
        async with backend.call(lease, ask()) as reply:
            assert (reply.status, await reply.read()) == (200, b"{}")
        assert backend.open_calls == 0
        backend.probe_problem = "down"
        with pytest.raises(UpstreamError):
            await backend.probe()

    asyncio.run(run())
