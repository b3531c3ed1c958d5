"""The line: places are never oversold, the higher priority goes first, too many are turned away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.admission.line import Line
from pointsman.errors import Refused
from pointsman.testing.clock import FakeClock


async def hold(line: Line, name: str, log: list[str], priority: int = 5) -> None:
    async with line.place(priority):
        log.append(f"+{name}")
        await asyncio.sleep(0.01)
        log.append(f"-{name}")


def run(scene: Callable[[Line, list[str]], Awaitable[None]], width: int = 1, waiting: int = 10) -> list[str]:
    log: list[str] = []

    async def play() -> None:
        line = Line(width, waiting, FakeClock())
        await scene(line, log)
        assert (line.inside, line.waiting) == (0, 0)

    asyncio.run(play())
    return log


def test_the_higher_priority_goes_first_and_equals_in_their_order() -> None:
    async def scene(line: Line, log: list[str]) -> None:
        everybody = [hold(line, name, log, priority) for name, priority in (("a", 1), ("b", 1), ("c", 9), ("d", 5))]
        await asyncio.gather(*everybody)

    assert [word for word in run(scene) if word.startswith("+")] == ["+a", "+c", "+d", "+b"]


def test_one_too_many_is_turned_away_with_an_honest_time() -> None:
    async def scene(line: Line, log: list[str]) -> None:
        outcomes = await asyncio.gather(*(hold(line, str(at), log) for at in range(4)), return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, Refused)]
        assert len(refused) == 2
        assert refused[0].code == "queue_full"
        assert refused[0].retry_after_s >= 1

    run(scene, waiting=1)


def test_the_least_gives_way_to_one_that_matters_more() -> None:
    async def scene(line: Line, log: list[str]) -> None:
        crowd = [hold(line, "inside", log, 5), hold(line, "least", log, 1), hold(line, "most", log, 9)]
        outcomes = await asyncio.gather(*crowd, return_exceptions=True)
        assert [isinstance(one, Refused) for one in outcomes] == [False, True, False]

    assert run(scene, waiting=1) == ["+inside", "-inside", "+most", "-most"]


def test_who_leaves_the_line_leaves_no_place_behind() -> None:
    async def scene(line: Line, log: list[str]) -> None:
        inside = asyncio.create_task(hold(line, "inside", log))
        await asyncio.sleep(0)
        impatient = asyncio.create_task(hold(line, "impatient", log))
        patient = asyncio.create_task(hold(line, "patient", log))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(inside, patient)
        with pytest.raises(asyncio.CancelledError):
            await impatient

    assert run(scene) == ["+inside", "-inside", "+patient", "-patient"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans()), max_size=25),
)
def test_whatever_comes_places_are_never_oversold(width: int, waiting: int, crowd: list[tuple[int, int, bool]]) -> None:
    async def play() -> None:
        line, most = Line(width, waiting, FakeClock()), 0

        async def one(priority: int, turns: int) -> None:
            nonlocal most
            async with line.place(priority):
                most = max(most, line.inside)
                for _ in range(turns):
                    await asyncio.sleep(0)

        tasks = []
        for priority, turns, leaves in crowd:
            tasks.append(asyncio.create_task(one(priority, turns)))
            await asyncio.sleep(0)
            if leaves:
                tasks[len(tasks) // 2].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, Refused | asyncio.CancelledError) for result in done)
        assert most <= width
        assert (line.inside, line.waiting) == (0, 0)

    asyncio.run(play())
