"""What the fleet knows reaches the decision: a better model that must be loaded first, or wait in line, loses to the
hot one, and the plan says so. The real fleet, the real router, simulated time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from pointsman.cli.explain_text import explain_text
from pointsman.fleet.hardware import Gpu
from pointsman.fleet.loop import DeploymentSpec, Fleet
from pointsman.policy.router import Router
from pointsman.settings import FleetSettings, parse
from pointsman.testing.clock import FakeClock
from pointsman.testing.decisions import ask, measured
from pointsman.testing.hardware import FakeHardware
from pointsman.testing.sleeper import ScriptedSleeper
from pointsman.types import Explanation, Plan, Tier

GB = 10**9
SETTINGS = parse("""
models:
  - {id: hot, backend: llama_cpp, source: {file: hot.gguf}, quality: {general: 0.60}, preload: true}
  - {id: better, backend: llama_cpp, source: {file: better.gguf}, quality: {general: 0.70}}
""")


class Scene:
    """A fleet whose `better` model of 6 GB takes 20 s to load, by its size; `hot` is ready when it opens."""

    def __init__(self, budget_gb: float, gpu_gb: int = 0) -> None:
        self.clock = FakeClock()
        hardware = FakeHardware(16 * GB, gpus=(Gpu(index=0, name="A", total_bytes=10 * GB, used_bytes=0),))
        sizes = {"hot": GB // 2, "better": 6 * GB}
        on_gpu = ((0, gpu_gb * GB),) if gpu_gb else ()
        self.backends = {
            name: ScriptedSleeper(self.clock, hardware, name, footprint_bytes=size, gpu_bytes=on_gpu, load_s=size / 3e8)
            for name, size in sizes.items()
        }
        specs = tuple(DeploymentSpec.of(model.id, model) for model in SETTINGS.models)
        settings = FleetSettings(memory_budget_gb=budget_gb, min_resident_s=0)
        self.fleet = Fleet(specs, self.backends, settings, self.clock, hardware)
        self.router = Router(SETTINGS)

    def plan(self) -> Plan:
        return self.router.decide(ask("Hello there"), measured(), self.fleet.world())

    def explained(self) -> str:
        shown = explain_text(Explanation(signals=measured(), plan=self.plan()), width=200)
        return " ".join(shown.split())

    async def load_better(self) -> None:
        loading = asyncio.create_task(self.fleet.load("better"))
        await self.clock.advance(25)
        await asyncio.wait_for(loading, 5)


def first(plan: Plan) -> str:
    return plan.candidates[0].model_id


def play(budget_gb: float, act: Callable[[Scene], Awaitable[None]], gpu_gb: int = 0) -> None:
    async def run() -> None:
        scene = Scene(budget_gb, gpu_gb)
        async with scene.fleet:
            await scene.clock.advance(5)
            await act(scene)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_better_model_that_must_be_loaded_loses_and_says_so() -> None:
    async def act(scene: Scene) -> None:
        assert first(scene.plan()) == "hot"
        assert "because of readiness: hot, against cold, about 20.7 s until ready" in scene.explained()
        assert "equal in that, better would lead" in scene.explained()
        await scene.load_better()
        assert first(scene.plan()) == "better"
        assert "because of quality" in scene.plan().reason

    play(10, act)


def test_while_it_is_being_loaded_the_wait_shrinks() -> None:
    async def act(scene: Scene) -> None:
        loading = asyncio.create_task(scene.fleet.load("better"))
        waits = []
        for _ in range(4):
            await scene.clock.advance(4.5)
            [view] = [view for view in scene.fleet.world().deployments if view.id == "better"]
            waits.append(view.ready_in_s)
            assert view.tier is Tier.COLD
        assert waits == sorted(waits, reverse=True)
        assert waits[0] > 15 > 5 > waits[-1] > 0
        await scene.clock.advance(5)
        await asyncio.wait_for(loading, 5)

    play(10, act)


def test_a_model_that_another_must_leave_for_says_that_too() -> None:
    async def act(scene: Scene) -> None:
        assert first(scene.plan()) == "hot"
        assert "until ready, and another model must leave memory for it" in scene.explained()

    play(6.2, act)
    play(10, act, gpu_gb=5)  # of 8 GB on the GPU


def test_a_queue_before_the_better_model_counts_too() -> None:
    async def act(scene: Scene) -> None:
        await scene.load_better()
        async with AsyncExitStack() as held:
            await held.enter_async_context(scene.fleet.lease("better", scene.clock.now() + 60))
            waiting = [asyncio.create_task(use(scene)) for _ in range(3)]
            await scene.clock.settle()
            assert first(scene.plan()) == "hot"
            assert "1 of 1 slots busy, 3 waiting" in scene.explained()
        await scene.clock.advance(1)
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert first(scene.plan()) == "better"

    async def use(scene: Scene) -> None:
        async with scene.fleet.lease("better", scene.clock.now() + 60):
            pass

    play(10, act)
