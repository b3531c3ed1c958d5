"""The fleet's door, and its life: what dispatch, the router and operators see.

Knows: how its parts are wired and in which order they begin and end. Does not know: any rule (`machine`), how a ticket
is answered (`writer`), how a child is started (`loader`).

Invariants: a lease is released by leaving its context, whatever happened inside; after the fleet is left, no child and
no task of it is alive.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.errors import DeadlineExceeded, PointsmanError, Refused
from pointsman.fleet.estimates import turn_in_s
from pointsman.fleet.events import (
    Configure,
    Drain,
    FellAsleep,
    Force,
    Govern,
    Loaded,
    News,
    Refuse,
    Release,
    Remove,
    Report,
    Rest,
    Taken,
    Tick,
    Unload,
    Woke,
)
from pointsman.fleet.hands import Hands
from pointsman.fleet.hardware import Hardware
from pointsman.fleet.health import Prober
from pointsman.fleet.loader import Backend, Loader
from pointsman.fleet.machine import initial
from pointsman.fleet.memory import Sizes
from pointsman.fleet.preloads import Preloads
from pointsman.fleet.remembered import Remembered
from pointsman.fleet.speeds import Speeds
from pointsman.fleet.status import FleetStatus, statistics_of, status_of
from pointsman.fleet.survey import Surveyor
from pointsman.fleet.timing import within
from pointsman.fleet.values import (
    GB,
    INFINITY,
    Deployment,
    DeploymentSpec,
    FleetStatistics,
    Phase,
    PreloadReport,
    Rules,
    State,
    Why,
)
from pointsman.fleet.views import UNKNOWN, WorldView, view_of
from pointsman.fleet.writer import Patience, Writer
from pointsman.settings import FleetSettings, ModelBase
from pointsman.types import Breaker, DeploymentView, Lease, Running, World

__all__ = ["DeploymentSpec", "Fleet"]

MEASURED = (Loaded, FellAsleep, Woke)


class Fleet:
    """All deployments. `async with fleet:` runs it; leaving drains it and stops every child.

    `missing_bytes(deployment_id)`: how much would have to be fetched before a load; cheap. `remembered`: what earlier
    runs measured.
    """

    def __init__(
        self,
        deployments: tuple[DeploymentSpec, ...],
        backends: Mapping[str, Backend],
        settings: FleetSettings,
        clock: Clock,
        hardware: Hardware,
        *,
        missing_bytes: Callable[[str], int] = lambda _: 0,
        remembered: Remembered | None = None,
        drain_timeout_s: float = 30.0,
    ) -> None:
        self.backends = backends = dict(backends)
        self._hardware = hardware
        self._clock = clock
        self._drain_timeout_s = drain_timeout_s
        budget_bytes, gpu_budgets = _budgets(settings, hardware, deployments)
        self._writer = Writer(initial(deployments, Rules.of(settings), budget_bytes, gpu_budgets), clock)
        self._loader = Loader(backends, clock, hardware, self._writer.apply)
        self._hands = Hands(self._loader, clock, self._writer.apply, self._forget)
        self._surveyor = Surveyor(
            backends,
            clock,
            self._writer.apply,
            missing_bytes=missing_bytes,
            remembered=remembered or Remembered(),
            counts_gpus=bool(gpu_budgets),
        )
        self._prober = Prober(
            backends,
            clock,
            hardware,
            settings.probe_interval_s,
            look=self._writer.known,
            tell=self._writer.apply,
            survey=self._look,
        )
        self._group = asyncio.TaskGroup()
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._preloads = Preloads(self._writer, self._hands.loaded)
        self._entered_s = 0.0
        self.speeds = Speeds()
        self._view = WorldView()
        self.subscribe(self._learn)

    # ------------------------------------------------------------ for dispatch and the router

    def lease(
        self, deployment_id: str, deadline_s: float, patience: Patience | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """A slot of a ready deployment while the context is open. `deadline_s` is a moment on the clock. `patience` is
        asked while it waits in line, and what it raises ends the wait.

        Entering raises Refused (`queue_full`, `loading_failed`, `fetch_failed`, `out_of_memory_budget`, `draining`),
        DeadlineExceeded, or RequestError `model_not_found` for a deployment that is not configured.
        """
        self._surveyor.look_before_a_want(deployment_id, self._writer.state)
        return _Leasing(self._writer, self._clock, self._loader.running, deployment_id, deadline_s, patience)

    def turn_in_s(self, deployment_id: str, *, is_last_in_line: bool = False) -> float:
        """How long one more want would wait, or the last that does; a guess; 0 where at once, and it is well."""
        d = self._writer.state.deployments.get(deployment_id)
        return INFINITY if d is None else turn_in_s(d, self._clock.now(), is_last_in_line=is_last_in_line)

    def report(
        self,
        deployment_id: str,
        ok: bool,
        began_s: float | None = None,
        first_byte_s: float | None = None,
        *,
        is_overload: bool = False,
        is_late: bool = False,
    ) -> None:
        """How a call went, for the breaker, the balance, the learned limit. `ok` is False where the deployment was at
        fault; `began_s`: when it began; `first_byte_s`: how long it took to answer; `is_overload`: it said that it
        was asked too much; `is_late`: it kept silent for too long."""
        self._writer.apply(
            Report(
                at_s=self._clock.now(),
                deployment_id=deployment_id,
                ok=ok,
                first_byte_s=first_byte_s,
                is_overload=is_overload,
                is_late=is_late,
                began_s=began_s,
            )
        )

    def world(self) -> World:
        """The fleet as of now, advisory. Each call has the next `ticket`."""
        return self._view.at(self._writer.state, self._clock.now(), self._loader.pids, self.speeds)

    # ------------------------------------------------------------ for operators and the ledger

    async def load(self, deployment_id: str, deadline_s: float = INFINITY, *, may_evict: bool = True) -> DeploymentView:
        """Return once it is ready; idle ones may have to leave for it, where it `may_evict`. Raises like `lease`."""
        self._surveyor.look_before_a_want(deployment_id, self._writer.state)
        ticket, answer = self._writer.ask(deployment_id, deadline_s, for_load=True, may_evict=may_evict)
        answer = answer or await self._writer.answer(ticket, deployment_id)
        if isinstance(answer, Refuse):
            raise _error(answer)
        return self._view_of(deployment_id)

    async def unload(self, deployment_id: str) -> DeploymentView:
        """Take no new wants, stop when idle, return then; whoever waits for it keeps it. Raises RequestError.

        Attached deployments are not ours to unload and stay as they are.
        """
        life = self._writer.known(deployment_id).life
        self._writer.apply(Unload(at_s=self._clock.now(), deployment_id=deployment_id))

        await self._writer.until(lambda state: _has_left(state.deployments.get(deployment_id), life))
        return self._view_of(deployment_id)

    async def rest(self, deployment_id: str) -> DeploymentView:
        """Have it sleep as soon as it is idle, return then; a cold one stays cold. Raises RequestError, and Refused
        `sleep_failed` where it cannot sleep, did not, or somebody wants it.
        """
        life = self._writer.known(deployment_id).life
        self._writer.apply(Rest(at_s=self._clock.now(), deployment_id=deployment_id))

        def is_over(state: State) -> bool:
            d = state.deployments.get(deployment_id)
            return d is None or d.life != life or (d.phase is not Phase.FALLING_ASLEEP and d.closing is not Why.RESTED)

        await self._writer.until(is_over)
        d = self._writer.known(deployment_id)
        if d.phase in (Phase.STARTING, Phase.READY, Phase.WAKING):
            raise Refused(f"`{deployment_id}` stays awake: {_why_awake(d)}", code="sleep_failed")
        return self._view_of(deployment_id)

    async def wake(self, deployment_id: str, deadline_s: float = INFINITY) -> DeploymentView:
        """Return once it is ready: one that sleeps is woken, a cold one loaded. Raises like `lease`."""
        return await self.load(deployment_id, deadline_s)

    def force(self, deployment_id: str, state: Breaker | None) -> DeploymentView:
        """Keep its breaker forced open or closed; None: let it see for itself again. Raises RequestError."""
        self._writer.known(deployment_id)
        self._writer.apply(Force(at_s=self._clock.now(), deployment_id=deployment_id, state=state))
        return self._view_of(deployment_id)

    async def wait_preloaded(self) -> PreloadReport:
        """Once every preload is ready or given up: how each went."""
        loads = await self._preloads.ended()
        return PreloadReport(loads=loads, total_s=self._clock.now() - self._entered_s)

    def survey(self) -> None:
        """Look again at what cold deployments would take: for when more is known of their weights."""
        for name, d in self._writer.state.deployments.items():
            if d.spec.is_managed and d.phase is Phase.COLD:
                self._look(name)

    def status(self) -> FleetStatus:
        """Every deployment in full, and the memory, as of now."""
        return status_of(self._writer.state, self._clock.now(), self._loader.pids, self._surveyor.variants)

    def statistics(self) -> FleetStatistics:
        """Counts since the start, and the present."""
        return statistics_of(self._writer.state, self._writer.counts, self._hands.evictions)

    def subscribe(self, callback: Callable[[News], None]) -> None:
        """Hear of loads, failures, deaths, restarts and unloads, in order, soon after they happened."""
        self._hands.subscribers.append(callback)

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._loader.open(self._group)
        self._hands.open(self._group)
        self._writer.open(self._hands)
        self._entered_s = self._clock.now()
        specs = [d.spec for d in self._writer.state.deployments.values()]
        for spec in specs:
            if spec.is_managed:
                self._look(spec.id)
        for spec in specs:
            if spec.preload:
                self._surveyor.look_before_a_want(spec.id, self._writer.state)
                self._preloads.begin(spec.id)
        self._writer.apply(Tick(at_s=self._entered_s))
        for spec in specs:
            self._watch(spec.id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.apply(Drain(at_s=self._clock.now()))
            with contextlib.suppress(TimeoutError):  # leases still out: their calls end with the children
                await within(self._clock, self._drain_timeout_s, self._writer.until(lambda state: state.is_drained))
        finally:
            for task in self._watches.values():
                task.cancel()
            try:
                await self._loader.close()
                await self._remember()
            finally:
                self._hands.close()
                # A task group wraps the body's own error in a group; only a cancellation, maybe its own, concerns it.
                ended = (kind, error, trace) if kind is asyncio.CancelledError else (None, None, None)
                await self._group.__aexit__(*ended)

    def __repr__(self) -> str:
        state = self._writer.state
        phases = Counter(str(d.phase) for d in state.deployments.values())
        said = ", ".join(f"{n} {phase}" for phase, n in sorted(phases.items()))
        return f"Fleet({said}; {state.used_bytes / GB:.2f} of {state.budget_bytes / GB:.2f} GB)"

    # ------------------------------------------------------------ other deployments than at the start

    def add(self, spec: DeploymentSpec, backend: Backend, model: ModelBase) -> None:
        """There is one more, whose name nobody else has. Nothing is loaded for that, not even a preload."""
        self.backends[spec.id] = backend
        self._surveyor.remembered.enrol(spec.id, model)
        self.amend(spec)
        self._watch(spec.id)

    def amend(self, spec: DeploymentSpec) -> None:
        """Other terms for one there is; its process is not touched."""
        self._writer.apply(Configure(at_s=self._clock.now(), spec=spec))
        if spec.is_managed and not self._writer.known(spec.id).is_resident:
            self._look(spec.id)

    def retire(self, deployment_id: str) -> None:
        """It leaves memory as soon as it is idle; who still asks for it has it loaded. Raises RequestError."""
        spec = self._writer.known(deployment_id).spec
        if spec.is_managed:
            self.amend(replace(spec, pin=False, preload=False, ttl_s=0.0, sleep_after_s=None))

    def remove(self, deployment_id: str) -> None:
        """Nobody is granted it any more; it is stopped when idle, then forgotten. Raises RequestError."""
        self._writer.known(deployment_id)
        self._writer.apply(Remove(at_s=self._clock.now(), deployment_id=deployment_id))

    def govern(self, settings: FleetSettings) -> None:
        """Other rules and budgets from now on."""
        specs = [d.spec for d in self._writer.state.deployments.values()]
        budget_bytes, gpu_budgets = _budgets(settings, self._hardware, specs)
        rules, now_s = Rules.of(settings), self._clock.now()
        self._prober.interval_s = settings.probe_interval_s
        self._writer.apply(Govern(at_s=now_s, rules=rules, budget_bytes=budget_bytes, gpu_budgets=gpu_budgets))

    def hurry(self) -> None:
        """Wait for nobody any more when it is left."""
        self._drain_timeout_s = 0.0

    def is_resident(self, deployment_id: str) -> bool:
        """Whether it holds memory, or is attached. Raises RequestError."""
        return self._writer.known(deployment_id).is_resident

    def _watch(self, deployment_id: str) -> None:
        watch = self._prober.watch(deployment_id, partial(self._loader.pids.get, deployment_id))
        self._watches[deployment_id] = self._group.create_task(watch, name=f"watch-{deployment_id}")

    def _forget(self, deployment_id: str) -> None:
        """It is gone: at this very moment its name is free."""
        self._watches.pop(deployment_id).cancel()
        del self.backends[deployment_id]
        self._preloads.forget(deployment_id)
        self.speeds.pop(deployment_id, None)
        self._surveyor.forget(deployment_id)
        self._surveyor.remembered.forget(deployment_id)

    # ------------------------------------------------------------ helpers

    def _view_of(self, deployment_id: str) -> DeploymentView:
        state, pid = self._writer.state, self._loader.pids.get(deployment_id)
        d, speed = self._writer.known(deployment_id), self.speeds.get(deployment_id, UNKNOWN)
        return view_of(d, self._clock.now(), pid, speed, is_draining=state.is_draining, rules=state.rules)

    def _look(self, deployment_id: str) -> None:
        self._surveyor.look(deployment_id, self._writer.state)

    async def _remember(self) -> None:
        """The last word: what was measured since the last start counts too."""
        for d in self._writer.state.deployments.values():
            self._surveyor.learn(d)
        await asyncio.to_thread(self._surveyor.remembered.write)

    def _learn(self, news: News) -> None:
        """Measured figures are written when one is new: seldom, and not by this thread."""
        d = self._writer.state.deployments.get(news.deployment_id)
        if d is not None and isinstance(news, MEASURED) and self._surveyor.learn(d):
            self._group.create_task(asyncio.to_thread(self._surveyor.remembered.write), name="remember")


class _Leasing:
    """One lease, from the want to the release."""

    __slots__ = ("_clock", "_deadline_s", "_deployment_id", "_patience", "_running", "_ticket", "_writer")

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        running: Mapping[str, Running],
        deployment_id: str,
        deadline_s: float,
        patience: Patience | None,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._running = running
        self._deployment_id = deployment_id
        self._deadline_s = deadline_s
        self._patience = patience
        self._ticket = 0

    async def __aenter__(self) -> Lease:
        asked_s, name = self._clock.now(), self._deployment_id
        was_cold = self._writer.known(name).phase is not Phase.READY
        self._ticket, answer = self._writer.ask(name, self._deadline_s)
        waited_s = 0.0
        if answer is None:
            answer = await self._writer.answer(self._ticket, name, self._patience)
            waited_s = self._clock.now() - asked_s
        if isinstance(answer, Refuse):
            raise _error(answer)
        # From here on nothing is awaited: what was granted is taken.
        self._writer.apply(Taken(at_s=asked_s + waited_s, deployment_id=name, ticket=self._ticket))
        return Lease(
            id=self._ticket,
            deployment_id=name,
            model_id=self._writer.state.deployments[name].spec.model_id,
            endpoint=self._running[name].endpoint,
            waited_s=waited_s,
            was_cold=was_cold,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.apply(
            Release(at_s=self._clock.now(), deployment_id=self._deployment_id, ticket=self._ticket, ok=kind is None)
        )


def _budgets(settings: FleetSettings, hardware: Hardware, specs: Iterable[DeploymentSpec]) -> tuple[int, Sizes]:
    """Of the host's memory, and of each GPU's. Where no GPU can be asked, those that models name have the budget that
    is set, or are left out of the books.
    """
    gpus = {gpu.index: gpu.total_bytes for gpu in hardware.gpus()}
    if not gpus and settings.gpu_memory_budget_gb is not None:
        gpus = dict.fromkeys((0, *(gpu for spec in specs for gpu in spec.gpus)), 0)
    budgets = tuple((gpu, settings.gpu_budget_bytes(size)) for gpu, size in sorted(gpus.items()))
    return settings.budget_bytes(hardware.total_bytes()), budgets


def _why_awake(d: Deployment) -> str:
    if d.life <= d.wakeful_until_life:
        return d.last_error or "it did not fall asleep"
    return "somebody waits for it" if d.can_sleep else "its engine cannot sleep"


def _has_left(d: Deployment | None, life: int) -> bool:
    """Whether that life of it is over, or nobody means to end it any more."""
    if d is None or d.life != life or not d.is_resident:
        return True
    return d.phase is not Phase.STOPPING and d.closing is None


def _error(refusal: Refuse) -> PointsmanError:
    if refusal.code == "deadline_exceeded":
        return DeadlineExceeded(refusal.why)
    return Refused(refusal.why, code=refusal.code, retry_after_s=refusal.retry_after_s)
