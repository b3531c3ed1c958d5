"""Deployments that come, change and go while the fleet runs."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.fleet.yard import GB, NEVER, Yard, attached, load, model, played

from pointsman.errors import Refused, RequestError
from pointsman.fleet.events import Unloading
from pointsman.fleet.values import DeploymentSpec, Why
from pointsman.settings import FleetSettings, OpenAiModel
from pointsman.testing.backend import ScriptedBackend

SOME = OpenAiModel.model_validate({"id": "some", "backend": "openai", "url": "http://127.0.0.1:9/v1"})


def add(yard: Yard, spec: DeploymentSpec) -> ScriptedBackend:
    backend = ScriptedBackend(
        yard.clock, spec.id, is_managed=spec.is_managed, footprint_bytes=int(0.4 * GB), load_s=2.0
    )
    yard.backends[f"{spec.id}, added at {yard.clock.now()}"] = backend
    yard.fleet.add(spec, backend, SOME)
    return backend


def names(yard: Yard) -> list[str]:
    return [view.id for view in yard.fleet.world().deployments]


def test_one_that_is_added_is_loaded_when_somebody_asks() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        add(yard, model("b"))
        assert yard.view("b").memory_bytes == int(0.4 * GB)
        task = asyncio.create_task(yard.use("b"))
        await yard.clock.advance(3.0)
        assert (await task).model_id == "model-b"


def test_an_attached_one_that_is_added_answers_at_once() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        add(yard, attached("far"))
        await yard.clock.advance(2.0)
        assert (await asyncio.gather(yard.use("far"), yard.clock.advance(1.0)))[0].deployment_id == "far"


def test_one_that_is_removed_finishes_what_it_has_and_is_gone() -> None:
    @played(model("a"), model("b"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a", "b")
        assert names(yard) == ["a", "b"]
        async with yard.fleet.lease("a", NEVER):
            yard.fleet.remove("a")
            with pytest.raises(Refused, match="removed from the configuration"):
                await yard.use("a")
            await yard.clock.advance(5.0)
            assert yard.view("a").state == "ready"
        await yard.clock.advance(0.1)
        assert not yard.backends["a"].is_running
        assert names(yard) == ["b"]
        assert yard.view("b").state == "ready"
        assert [news.why for news in yard.news if isinstance(news, Unloading)] == [Why.REMOVED]
        with pytest.raises(RequestError, match="no deployment `a`"):
            yard.fleet.remove("a")


def test_a_name_that_is_free_again_is_another_deployments() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        yard.fleet.remove("a")
        await yard.clock.advance(0.1)
        second = add(yard, model("a"))
        task = asyncio.create_task(yard.use("a"))
        await yard.clock.advance(3.0)
        await task
        assert second.is_running


def test_a_load_that_nobody_needs_any_more_ends() -> None:
    @played(model("a", preload=True), model("b"))
    async def scene(yard: Yard) -> None:
        await yard.clock.advance(1.0)
        yard.fleet.remove("a")
        await yard.clock.advance(0.1)
        assert names(yard) == ["b"]
        assert (await yard.fleet.wait_preloaded()).loads == ()


def test_other_terms_leave_the_process_alone() -> None:
    @played(model("a"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a")
        yard.fleet.amend(replace(model("a"), ttl_s=10.0))
        await yard.clock.advance(9.0)
        assert yard.backends["a"].start_count == 1
        assert yard.view("a").state == "ready"
        await yard.clock.advance(2.0)
        assert yard.view("a").state == "cold"


def test_a_lower_budget_sends_away_who_is_idle() -> None:
    @played(model("a"), model("b"))
    async def scene(yard: Yard) -> None:
        await load(yard, "a", "b")
        await yard.clock.advance(10.0)
        yard.fleet.govern(FleetSettings(memory_budget_gb=0.5))
        await yard.clock.advance(0.1)
        assert sorted(yard.view(name).state for name in "ab") == ["cold", "ready"]
        assert yard.fleet.world().budget_bytes == int(0.5 * GB)
