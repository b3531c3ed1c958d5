"""How long a place in line is kept: the rule row by row, and the real fleet and the real walk on a fake clock."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fleet.yard import GB, Yard, load, model

from pointsman.dispatch.patience import LOOK_EVERY_S, Wait, look_again_in_s
from pointsman.dispatch.run import Dispatcher
from pointsman.errors import PointsmanError
from pointsman.fleet.loop import DeploymentSpec
from pointsman.settings import RetrySettings
from pointsman.testing.backend import ScriptedReply
from pointsman.types import Attempt, Candidate, JsonPayload, Kind, Limits, Plan, Request

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Yes."}}]}'


@pytest.mark.parametrize(
    ("waited_s", "expected_s", "elsewhere_s", "leaves"),
    [
        (0.0, 2, 0, False),  # its turn is near: whoever ranked it first knew of the line
        (1.9, 2, 0, False),
        (2.0, 2, 0, True),  # overdue, and another is free
        (0.0, 200, 0, True),  # not to be hoped for
        (0.0, 400, 1, False),  # nobody is free
        (149.0, 2, 1, False),
        (150.0, 2, 3, True),  # overdue by more than the other would take
        (150.0, 200, 3, False),  # as expected
        (150.0, 400, 3, True),  # not in time
        (150.0, 149, 3, False),
        (200.0, 150, 60, False),  # the end of another line is no better
    ],
)
def test_when_a_line_is_left(waited_s: float, expected_s: float, elsewhere_s: float, leaves: bool) -> None:
    wait = Wait(waited_s=waited_s, expected_s=expected_s, limit_s=300, elsewhere_s=elsewhere_s, others=1)
    assert (look_again_in_s(wait) == 0) is leaves


seconds = st.floats(0, 1000)


@given(seconds, seconds, seconds, st.floats(1e-6, 1000), st.integers(1, 20))
def test_it_is_looked_at_often_enough_and_never_for_nothing(
    waited_s: float, expected_s: float, elsewhere_s: float, limit_s: float, others: int
) -> None:
    wait = Wait(waited_s=waited_s, expected_s=expected_s, limit_s=limit_s, elsewhere_s=elsewhere_s, others=others)
    look_in_s = look_again_in_s(wait)
    assert look_in_s == 0 or 0.01 <= look_in_s <= LOOK_EVERY_S
    if waited_s < wait.share_s and elsewhere_s:
        assert look_in_s
    if elsewhere_s == 0 and waited_s >= min(expected_s, wait.share_s):
        assert not look_in_s


# ---------------------------------------------------------------- the walk, on a fake clock


class Notes:
    """Keeps attempts; knows no latency."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def attempted(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def slow_s(self, _: str) -> float | None:
        return None


class Scene:
    """A fleet, and requests that prefer its deployments in their order."""

    def __init__(self, *specs: DeploymentSpec, **loads_s: float) -> None:
        self.yard = Yard(*specs)
        for name, load_s in loads_s.items():
            self.yard.backends[name].load_s = load_s
        self.clock = self.yard.clock
        self.notes = Notes()
        self._dispatch = Dispatcher(
            self.yard.fleet, self.yard.backends, RetrySettings(), 300, self.clock, latencies=self.notes
        )

    async def asked(self, *names: str, deadline_s: float = 300.0) -> str:
        """Who answered, or the code of the error."""
        for name in names:
            self.yard.backends[name].replies.append(ScriptedReply(ANSWER))
        request = Request(
            id="r",
            kind=Kind.CHAT,
            model="auto",
            payload=JsonPayload(members=()),
            received_s=self.clock.now(),
            limits=Limits(deadline_s=deadline_s),
        )
        plan = Plan(
            candidates=tuple(Candidate(deployment_id=name, model_id=name, score=1.0) for name in names),
            rejected=(),
            strategy="fixed",
            reason="",
        )
        try:
            async with self._dispatch.run(request, plan, self.notes):
                return self.notes.attempts[-1].deployment_id
        except PointsmanError as error:
            return error.code


def play(act: Callable[[Scene], Coroutine[Any, Any, None]], *specs: DeploymentSpec, **loads_s: float) -> None:
    async def run() -> None:
        scene = Scene(*specs, **loads_s)
        async with scene.yard.open():
            await act(scene)
            assert all(view.in_flight == view.queued == 0 for view in scene.yard.fleet.world().deployments)

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_model_that_loads_as_expected_is_not_left_for_a_cold_one() -> None:
    async def act(scene: Scene) -> None:
        await load(scene.yard, "a")  # how long that takes is known from now on
        await scene.yard.fleet.unload("a")
        asking = asyncio.create_task(scene.asked("a", "b", deadline_s=10))
        await scene.clock.advance(9)
        assert await asking == "a"
        assert not scene.yard.backends["b"].start_count

    play(act, model("a"), model("b"), a=8, b=8)


def test_a_load_that_never_ends_is_left_for_a_cold_one() -> None:
    async def act(scene: Scene) -> None:
        asking = asyncio.create_task(scene.asked("a", "b", deadline_s=60))
        await scene.clock.advance(35)
        assert await asking == "b"
        assert [attempt.error for attempt in scene.notes.attempts] == ["queue_full", ""]

    play(act, model("a"), model("b"), a=170, b=2)


def test_a_load_is_waited_for_as_long_as_was_expected_where_another_is_hot() -> None:
    async def act(scene: Scene) -> None:
        await load(scene.yard, "b")
        asking = asyncio.create_task(scene.asked("a", "b"))
        await scene.clock.advance(2.5)
        assert not asking.done()
        await scene.clock.advance(1.5)
        assert await asking == "b"

    play(act, model("a"), model("b"), a=170, b=1)


def test_memory_that_busy_models_hold_is_not_waited_for_to_the_end() -> None:
    async def act(scene: Scene) -> None:
        await load(scene.yard, "busy")
        holding = asyncio.create_task(scene.yard.use("busy", hold_s=100))
        await scene.clock.settle()
        asking = asyncio.create_task(scene.asked("big", "small", deadline_s=40))
        await scene.clock.advance(30)
        assert await asking == "small"
        await scene.clock.advance(100)
        await holding

    async def sized(scene: Scene) -> None:
        scene.yard.backends["big"].footprint_bytes = int(0.8 * GB)
        scene.yard.fleet.survey()
        await act(scene)

    play(sized, model("busy"), model("big"), model("small"), small=1)


def test_alone_it_waits_to_its_deadline() -> None:
    async def act(scene: Scene) -> None:
        await load(scene.yard, "a")
        holding = asyncio.create_task(scene.yard.use("a", hold_s=100))
        await scene.clock.settle()
        asking = asyncio.create_task(scene.asked("a", deadline_s=40))
        await scene.clock.advance(39)
        assert not asking.done()
        await scene.clock.advance(1)
        assert await asking == "deadline_exceeded"
        await scene.clock.advance(100)
        await holding

    play(act, model("a"))


def test_who_looks_about_keeps_its_place() -> None:
    async def act(scene: Scene) -> None:
        await load(scene.yard, "a", "b")
        holding = [asyncio.create_task(scene.yard.use(name, hold_s=20)) for name in ("a", "b")]
        await scene.clock.settle()
        looking = asyncio.create_task(scene.asked("a", "b"))
        await scene.clock.settle()
        behind = asyncio.create_task(scene.yard.use("a", hold_s=20))
        await scene.clock.advance(20)
        assert await looking == "a"
        await scene.clock.advance(20)
        await asyncio.gather(behind, *holding)

    play(act, model("a"), model("b"))
