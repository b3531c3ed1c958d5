"""A place in line that is given up before its deadline: it is kept until then, and nothing of it is left behind."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fleet.yard import NEVER, Yard, load, model, played

from pointsman.errors import Refused
from pointsman.fleet.values import INFINITY

STEP_S = 0.5


def until(limit_s: float) -> Callable[[float], float]:
    def patience(waited_s: float) -> float:
        if waited_s >= limit_s:
            raise Refused("elsewhere is sooner")
        return STEP_S

    return patience


async def use(yard: Yard, name: str, hold_s: float, limit_s: float) -> float:
    """How long it waited. Raises Refused."""
    async with yard.fleet.lease(name, NEVER, until(limit_s)) as lease:
        await yard.clock.sleep(hold_s)
        return lease.waited_s


def test_who_has_no_patience_left_leaves_the_line_to_those_behind() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        first = asyncio.create_task(yard.use("a", hold_s=10))
        await yard.clock.settle()
        leaving = asyncio.create_task(use(yard, "a", 1, limit_s=2))
        staying = asyncio.create_task(use(yard, "a", 1, limit_s=60))
        await yard.clock.advance(1.5)
        assert yard.view("a").queued == 2
        await yard.clock.advance(0.5)
        with pytest.raises(Refused, match="elsewhere"):
            await leaving
        assert yard.view("a").queued == 1
        assert yard.fleet.statistics().cancelled == 1
        await yard.clock.advance(9)
        assert (await first, await staying)[1] == 10
        assert yard.view("a").in_flight == 0


def test_a_lease_that_is_granted_at_once_asks_for_no_patience() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        assert await use(yard, "a", 0, limit_s=0) == 0


def test_who_leaves_while_it_looks_about_leaves_nothing() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        first = asyncio.create_task(yard.use("a", hold_s=3))
        await yard.clock.settle()
        waiting = asyncio.create_task(use(yard, "a", 1, limit_s=60))
        await yard.clock.advance(1.2)
        waiting.cancel()
        await yard.clock.settle()
        assert yard.view("a").queued == 0
        await yard.clock.advance(2)
        await first


def test_when_a_turn_comes_is_guessed() -> None:
    @played(model("a"), model("b"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        assert yard.fleet.turn_in_s("a") == 0
        assert yard.fleet.turn_in_s("b") > 2  # it must be loaded
        assert yard.fleet.turn_in_s("gone") == INFINITY
        holding = asyncio.create_task(yard.use("a", hold_s=4))
        await yard.clock.settle()
        assert yard.fleet.turn_in_s("a") == 1
        waiting = [asyncio.create_task(yard.use("a", hold_s=1)) for _ in range(2)]
        await yard.clock.settle()
        assert yard.fleet.turn_in_s("a") == 3
        assert yard.fleet.turn_in_s("a", is_last_in_line=True) == 2
        await yard.clock.advance(7)
        await asyncio.gather(holding, *waiting)


people = st.lists(
    st.tuples(st.integers(0, 8), st.integers(1, 6), st.integers(0, 12)), min_size=1, max_size=12
)  # half seconds: when it comes, how long it holds, how long it waits


@settings(max_examples=60, deadline=None)
@given(people, st.integers(1, 3))
def test_whoever_leaves_when_no_slot_and_no_turn_is_lost(people: list[tuple[int, int, int]], slots: int) -> None:
    served: list[int] = []
    left: list[int] = []

    @played(model("a", slots=slots))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        at_once = 0

        async def visit(number: int, comes: int, holds: int, waits: int) -> None:
            nonlocal at_once
            await yard.clock.sleep(comes * STEP_S)
            try:
                async with yard.fleet.lease("a", NEVER, until(waits * STEP_S)):
                    at_once += 1
                    served.append(number)
                    assert at_once <= slots
                    await yard.clock.sleep(holds * STEP_S)
                    at_once -= 1
            except Refused:
                left.append(number)

        visits = [asyncio.create_task(visit(number, *one)) for number, one in enumerate(people)]
        await yard.clock.advance(60)
        await asyncio.gather(*visits)
        view = yard.view("a")
        assert (view.in_flight, view.queued) == (0, 0)

    assert sorted(served + left) == list(range(len(people)))
    came = [people[number][0] for number in served]
    assert came == sorted(came)  # first come, first served
