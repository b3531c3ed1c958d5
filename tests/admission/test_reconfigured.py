"""Other keys and limits while requests are under way: what was spent stays spent, who waits comes in."""

import asyncio

import pytest
from msgspec.structs import replace

from pointsman.admission.control import Admission
from pointsman.admission.counters import LocalCounters
from pointsman.admission.line import Line
from pointsman.errors import Refused
from pointsman.settings import AdmissionSettings, KeySettings
from pointsman.testing.clock import FakeClock
from pointsman.testing.decisions import ask

HASH = "0" * 64
BY_ANNA = replace(ask("Hi"), tenant="anna")


def key(**limits: float) -> KeySettings:
    return KeySettings.model_validate({"name": "anna", "sha256": HASH, **limits})


def test_a_bucket_is_not_refilled() -> None:
    async def scene() -> None:
        clock = FakeClock()
        admission = Admission((key(requests_per_minute=10.0),), AdmissionSettings(), LocalCounters(clock), clock, 30.0)
        async with admission.admit(BY_ANNA):
            pass
        admission.reconfigured((key(requests_per_minute=10.0, priority=3),), AdmissionSettings(), 30.0)
        with pytest.raises(Refused, match="requests a minute"):
            async with admission.admit(BY_ANNA):
                pass

    asyncio.run(scene())


def test_a_wider_line_lets_in_who_waits_and_a_narrower_one_sends_nobody_away() -> None:
    async def scene() -> None:
        line = Line(1, 5, FakeClock())
        places = [line.place() for _ in range(4)]
        assert line.enter_nowait(places[0])
        waiting = [asyncio.create_task(line.enter(place)) for place in places[1:]]
        await asyncio.sleep(0)
        line.resize(3, 5)
        await asyncio.gather(*waiting[:2])
        assert (line.inside, line.waiting) == (3, 1)
        line.resize(1, 5)
        for place in places[:2]:
            line.leave(place)
        assert (line.inside, line.waiting) == (1, 1)
        line.leave(places[2])
        await waiting[2]
        assert (line.inside, line.waiting) == (1, 0)

    asyncio.run(scene())
