"""What the tests of the fleet share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pointsman.fleet.events import News
from pointsman.fleet.loop import DeploymentSpec, Fleet
from pointsman.settings import FleetSettings
from pointsman.testing.backend import ScriptedBackend
from pointsman.testing.clock import FakeClock
from pointsman.testing.hardware import FakeHardware
from pointsman.types import DeploymentView, Lease

GB = 10**9
NEVER = 1e9


class Yard:
    """A fleet of models of 400 MB each, with its clock, its backends and all the news."""

    def __init__(
        self, *specs: DeploymentSpec, load_s: float = 2.0, budget_gb: float = 1.0, drain_s: float = 30
    ) -> None:
        self.clock = FakeClock()
        self.hardware = FakeHardware(8 * GB)
        self.backends = {
            spec.id: ScriptedBackend(
                self.clock,
                spec.id,
                is_managed=spec.is_managed,
                footprint_bytes=int(0.4 * GB) if spec.is_managed else 0,
                load_s=load_s,
            )
            for spec in specs
        }
        settings = FleetSettings(memory_budget_gb=budget_gb)
        self.fleet = Fleet(specs, self.backends, settings, self.clock, self.hardware, drain_timeout_s=drain_s)
        self.news: list[News] = []
        self.fleet.subscribe(self.news.append)

    def view(self, name: str) -> DeploymentView:
        [view] = [view for view in self.fleet.world().deployments if view.id == name]
        return view

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The fleet runs; afterwards nothing of it is left and nothing was done wrong to a backend."""
        tasks_before = asyncio.all_tasks()
        async with self.fleet:
            yield
        assert asyncio.all_tasks() == tasks_before
        for backend in self.backends.values():
            assert not backend.misuse
            assert not (backend.is_managed and backend.is_running)

    async def use(self, name: str, hold_s: float = 1.0, patience_s: float = 100.0) -> Lease:
        async with self.fleet.lease(name, self.clock.now() + patience_s) as lease:
            await self.clock.sleep(hold_s)
            return lease


def model(name: str, slots: int = 1, *, preload: bool = False, ttl_s: float | None = None) -> DeploymentSpec:
    return DeploymentSpec(id=name, model_id=f"model-{name}", slots=slots, preload=preload, ttl_s=ttl_s)


def played(*specs: DeploymentSpec, load_s: float = 2.0, budget_gb: float = 1.0) -> Callable[..., None]:
    """Run the decorated scene in a yard whose fleet is open."""

    def decorate(scene: Callable[[Yard], Awaitable[None]]) -> None:
        async def run() -> None:
            yard = Yard(*specs, load_s=load_s, budget_gb=budget_gb)
            async with yard.open():
                await scene(yard)

        asyncio.run(run())

    return decorate


async def load(yard: Yard, *names: str) -> None:
    loads = [asyncio.create_task(yard.fleet.load(name)) for name in names]
    await yard.clock.advance(yard.backends[names[0]].load_s)
    await asyncio.gather(*loads)


def attached(name: str, slots: int = 2) -> DeploymentSpec:
    return DeploymentSpec(id=name, model_id=f"model-{name}", slots=slots, is_managed=False)
