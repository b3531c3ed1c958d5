"""Shadow copies: when, whereto, how many, and what becomes of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from pointsman.errors import UpstreamError
from pointsman.experiments.shadow import Copies, Recorder, Shadowing
from pointsman.testing.clock import FakeClock
from pointsman.testing.decisions import ask, hot, world
from pointsman.types import Assignment, JsonPayload, Plan, Reply, Request, Usage, World
from pointsman.types_trial import Trial

TRIAL = Trial(name="dark", kind="shadow", control="old", treatment="new", ratio=1.0)
PLAN = Plan(
    candidates=(),
    rejected=(),
    strategy="balanced",
    reason="",
    assignment=Assignment(experiment="dark", arm="control", propensity=1.0),
)
MEMBERS = (("stream", b"true"), ("stream_options", b"{}"), ("n", b"1"))


class Scripted:
    """A dispatch that notes what it was asked; `failing`: of these models."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.asked: list[Request] = []
        self.go_on = asyncio.Event()

    @asynccontextmanager
    async def run(self, request: Request, plan: Plan, entry: Recorder) -> AsyncIterator[Reply]:
        self.asked.append(request)
        if request.model == "new":
            assert [one.deployment_id for one in plan.candidates] == ["new"]
            await self.go_on.wait()
        if request.model == self.failing:
            raise UpstreamError("down")
        yield Reply(status=200, content_type="application/json", body=b"{}")


class Scene:
    def __init__(self, present: World, failing: str = "") -> None:
        self.clock = FakeClock()
        self.told: list[tuple[str, bool, int]] = []
        self.inner = Scripted(failing)
        self.copies = Copies(self.clock, lambda: present, self._tell, lambda body: Usage(completion_tokens=len(body)))
        self.dispatch = Shadowing(self.inner, self.copies, lambda: (TRIAL,), {"dark": 1})

    def _tell(self, name: str, at: float, is_good: bool, took_s: float, tokens: int) -> None:
        self.told.append((name, is_good, tokens))

    async def ask(self, plan: Plan = PLAN) -> None:
        request = replace(ask(model="old"), stream=True, payload=JsonPayload(members=MEMBERS))
        async with self.dispatch.run(request, plan, self.inner) as reply:  # type: ignore[arg-type]  # nothing is noted
            assert reply.status == 200
            assert len(self.inner.asked) == 1

    async def settle(self) -> None:
        task = asyncio.create_task(self.copies.work())
        self.inner.go_on.set()
        await self.clock.settle()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def played(present: World, failing: str = "", plan: Plan = PLAN) -> Scene:
    async def scene() -> Scene:
        found = Scene(present, failing)
        await found.ask(plan)
        await found.settle()
        return found

    return asyncio.run(scene())


def test_a_copy_follows_the_answer_whole_and_to_the_other_model() -> None:
    found = played(world(hot("old"), hot("new")))
    first, copy = found.inner.asked
    assert (first.model, copy.model) == ("old", "new")
    assert copy.payload == JsonPayload(members=(("n", b"1"),))
    assert (copy.stream, copy.id) == (False, f"{first.id}-shadow")
    assert found.told == [("dark", True, 2)]
    assert dict(found.copies.counts()) == {"ok": 1, "failed": 0, "busy": 0}


def test_a_copy_that_fails_is_told() -> None:
    found = played(world(hot("old"), hot("new")), failing="new")
    assert found.told == [("dark", False, 0)]


@pytest.mark.parametrize(
    "view",
    [replace(hot("new"), in_flight=2), replace(hot("new"), queued=1), hot("another")],
    ids=["busy", "queue", "absent"],
)
def test_nobody_waits_or_is_loaded_for_a_copy(view: object) -> None:
    found = played(world(hot("old"), view))  # type: ignore[arg-type]  # a view
    assert [request.model for request in found.inner.asked] == ["old"]
    assert dict(found.copies.counts())["busy"] == 1


def test_what_is_no_part_of_it_is_not_copied() -> None:
    found = played(world(hot("old"), hot("new")), plan=replace(PLAN, assignment=None))
    assert len(found.inner.asked) == 1


def test_a_failed_answer_is_not_copied() -> None:
    with pytest.raises(UpstreamError):
        played(world(hot("old"), hot("new")), failing="old")


def test_no_more_than_so_many_at_once() -> None:
    async def scene() -> Scene:
        found = Scene(world(hot("old"), hot("new")))
        for _ in range(3):
            found.inner.asked.clear()
            await found.ask()
        await found.settle()
        return found

    found = asyncio.run(scene())
    assert dict(found.copies.counts()) == {"ok": 1, "failed": 0, "busy": 2}
