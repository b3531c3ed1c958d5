"""The fleet's own values: what is configured, the state, what happens to it (events), what follows (effects, news).

All are frozen. Every event carries its moment `at_s`; those about one run of a child carry its `life`, so that word
of an earlier life cannot harm a later one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

import msgspec

from pointsman.fleet.breaker import CLOSED, BreakerState
from pointsman.fleet.eviction import Demand
from pointsman.settings import FleetSettings, ManagedBase, ModelBase, OpenAiModel
from pointsman.types import Value

GB = 1e9
INFINITY = float("inf")


# ---------------------------------------------------------------- what is configured


class DeploymentSpec(Value, frozen=True):
    """One place where a model can run. `memory_bytes` is the operator's figure; None: the backend's estimate."""

    id: str
    model_id: str
    slots: int = 1
    is_managed: bool = True
    preload: bool = False
    pin: bool = False
    ttl_s: float | None = None
    memory_bytes: int | None = None

    @classmethod
    def of(cls, deployment_id: str, model: ModelBase) -> Self:
        """One deployment of a configured model."""
        if isinstance(model, ManagedBase):
            memory_bytes = None if model.memory_gb is None else int(model.memory_gb * GB)
            return cls(
                id=deployment_id,
                model_id=model.id,
                slots=model.slots,
                preload=model.preload,
                pin=model.pin,
                ttl_s=model.ttl_s,
                memory_bytes=memory_bytes,
            )
        slots = model.slots if isinstance(model, OpenAiModel) else 1
        return cls(id=deployment_id, model_id=model.id, slots=slots, is_managed=False)


class Rules(Value, frozen=True):
    """The constants a decision may depend on.

    `stable_s`: a life this long was a good one, and its crash counts as the first. `probe_hold_s`: how long a failed
    probe keeps an attached deployment's breaker open. `eviction`: one of `eviction.POLICIES`.
    """

    max_queue: int = 512
    max_wait_s: float = 30.0
    min_resident_s: float = 5.0
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    max_failures: int = 3
    stable_s: float = 10.0
    probe_hold_s: float = 45.0
    eviction: str = "cost_aware"

    @classmethod
    def of(cls, settings: FleetSettings) -> Self:
        return cls(
            max_queue=settings.max_queue,
            max_wait_s=settings.max_wait_s,
            min_resident_s=settings.min_resident_s,
            backoff_s=settings.restart_backoff_s,
            probe_hold_s=settings.probe_interval_s * 1.5,
            eviction=settings.eviction,
        )


# ---------------------------------------------------------------- the state


class Phase(StrEnum):
    """`failed` means given up until `retry_at_s`; a deployment in an ordinary back-off is cold."""

    COLD = "cold"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


RESIDENT = frozenset({Phase.STARTING, Phase.READY, Phase.STOPPING})


class Why(StrEnum):
    """Why a deployment is stopped, or takes no more wants so that it can be."""

    EVICTED = "evicted"
    EXPIRED = "expired"
    UNLOADED = "unloaded"
    UNHEALTHY = "unhealthy"
    DRAINED = "drained"


class Waiter(Value, frozen=True):
    """A want in the queue. `for_load`: it needs the deployment ready, not a slot. `may_evict`: others leave for it."""

    ticket: int
    since_s: float
    deadline_s: float
    for_load: bool = False
    may_evict: bool = True


class Deployment(Value, frozen=True):
    """One deployment's facts. `leases`: ticket → when taken; never changed in place.

    `closing`: ready, but grants nothing more and stops when idle; `yields_to`: the starved deployment that waits for
    its memory. `next_deadline_s`: no waiter's is sooner. `may_hurry`: a want need not wait for the back-off.
    `demand`: how often it is asked for. `restart_wanted`: start it though nobody waits.
    """

    spec: DeploymentSpec
    phase: Phase = Phase.COLD
    since_s: float = 0.0
    life: int = 0
    footprint_bytes: int = 0
    measured_bytes: int = 0
    missing_bytes: int = 0
    load_s: float | None = None
    queue: tuple[Waiter, ...] = ()
    next_deadline_s: float = INFINITY
    granted: frozenset[int] = frozenset()
    leases: Mapping[int, float] = msgspec.field(default_factory=dict)
    idle_since_s: float = 0.0
    hold_s: float = 1.0
    closing: Why | None = None
    yields_to: str = ""
    failures: int = 0
    retry_at_s: float = 0.0
    may_hurry: bool = False
    demand: Demand = Demand()
    restart_wanted: bool = False
    restarts: int = 0
    last_error: str = ""
    error_code: str = "loading_failed"
    breaker: BreakerState = CLOSED

    @property
    def in_flight(self) -> int:
        return len(self.granted) + len(self.leases)

    @property
    def is_idle(self) -> bool:
        """Nobody uses it, nobody was promised it."""
        return not self.granted and not self.leases

    @property
    def is_asleep(self) -> bool:
        """Cold, and nobody waits for it: no rule but an event about itself concerns it."""
        return self.phase is Phase.COLD and not self.queue and not self.restart_wanted

    @property
    def is_resident(self) -> bool:
        """Its memory is taken or promised."""
        return self.phase in RESIDENT


class State(Value, frozen=True):
    """The whole fleet. `deployments` is never changed in place. `is_short`: somebody waits for memory. `wants`: for
    managed deployments, so far. `awake`: the names of those that are not asleep, in the configured order; a fleet may
    have hundreds of models, of which a few matter at any moment.
    """

    rules: Rules
    budget_bytes: int
    deployments: Mapping[str, Deployment]
    is_draining: bool = False
    is_short: bool = False
    wants: int = 0
    awake: tuple[str, ...] = ()
    wake_at_s: float = float("-inf")

    @property
    def used_bytes(self) -> int:
        return sum(d.footprint_bytes for d in self.stirring() if d.is_resident)

    @property
    def is_drained(self) -> bool:
        return self.is_draining and not any(d.is_resident or not d.is_idle for d in self.deployments.values())

    def stirring(self) -> list[Deployment]:
        """Those that are not asleep."""
        return [self.deployments[name] for name in self.awake]


def awake(deployments: Mapping[str, Deployment]) -> tuple[str, ...]:
    """Who is not asleep, in the configured order."""
    return tuple(name for name, d in deployments.items() if not d.is_asleep)


# ---------------------------------------------------------------- events


class Event(Value, frozen=True):
    at_s: float


class Tick(Event, frozen=True):
    """Time has passed."""


class Drain(Event, frozen=True):
    """No new grants from now on; stop everything as it falls idle."""


class About(Event, frozen=True):
    """An event of one deployment."""

    deployment_id: str


class Want(About, frozen=True):
    """Somebody wants a slot until `deadline_s`, or (`for_load`) the deployment to be ready."""

    ticket: int
    deadline_s: float
    for_load: bool = False
    may_evict: bool = True


class Cancel(About, frozen=True):
    """The one who wanted has left; legal at any time before Taken."""

    ticket: int


class Taken(About, frozen=True):
    """A granted slot has been taken: now it counts."""

    ticket: int


class Release(About, frozen=True):
    """A taken slot is free again. Only an `ok` one teaches how long calls take."""

    ticket: int
    ok: bool = True


class Started(About, frozen=True):
    """It answered its warm-up. `measured_bytes` is 0 where nobody could tell."""

    life: int
    measured_bytes: int = 0


class StartFailed(About, frozen=True):
    life: int
    why: str
    code: str = "loading_failed"


class Exited(About, frozen=True):
    """The child ended, asked or not."""

    life: int
    code: int
    why: str = ""


class Stopped(About, frozen=True):
    """It is gone and its memory is back."""

    life: int


class StopOverdue(About, frozen=True):
    """It was told to stop and has not; somebody is still trying."""

    life: int
    why: str


class Measured(About, frozen=True):
    """What a running child takes now."""

    life: int
    measured_bytes: int


class Estimated(About, frozen=True):
    """What it would take, and what would have to be fetched first."""

    footprint_bytes: int
    missing_bytes: int = 0


class Unload(About, frozen=True):
    """An operator wants the memory back: stop it as soon as it is idle."""


class Unhealthy(About, frozen=True):
    """Its probe failed too often in a row."""

    life: int
    why: str


class Healthy(About, frozen=True):
    """Its probe succeeds again."""

    life: int


class Report(About, frozen=True):
    """How a call went."""

    ok: bool


# ---------------------------------------------------------------- effects


class Effect(Value, frozen=True):
    """Something the loop must do, or (`News`) tell."""


class Start(Effect, frozen=True):
    deployment_id: str
    life: int


class Stop(Effect, frozen=True):
    deployment_id: str
    life: int


class Grant(Effect, frozen=True):
    ticket: int


class Refuse(Effect, frozen=True):
    """`code` is one of `errors.TABLE`."""

    ticket: int
    code: str
    retry_after_s: float
    why: str


class WakeAt(Effect, frozen=True):
    """Send a Tick then. A later WakeAt replaces it."""

    at_s: float


# ---------------------------------------------------------------- news, for those who subscribe


class News(Effect, frozen=True):
    deployment_id: str
    model_id: str


class Loaded(News, frozen=True):
    load_s: float
    memory_bytes: int


class LoadFailed(News, frozen=True):
    why: str
    failures: int
    retry_in_s: float


class Died(News, frozen=True):
    """A child ended without being asked to. `code`: negative is a signal."""

    code: int
    why: str
    lived_s: float
    leases: int


class Restarting(News, frozen=True):
    restarts: int


class Unloading(News, frozen=True):
    """A ready deployment is being stopped; `age_s` is how long it was ready."""

    why: Why
    age_s: float
    memory_bytes: int


# ---------------------------------------------------------------- what callers read


class LoadReport(Value, frozen=True):
    """How one preload went; `error` is empty where it is ready."""

    deployment_id: str
    model_id: str
    load_s: float = 0.0
    memory_bytes: int = 0
    error: str = ""


class PreloadReport(Value, frozen=True):
    loads: tuple[LoadReport, ...]
    total_s: float


class FleetStatistics(Value, frozen=True):
    """Counts since the start, and the present. `refusals`: (code, count)."""

    granted: int
    cancelled: int
    refusals: tuple[tuple[str, int], ...]
    loads: int
    load_failures: int
    evictions: int
    deaths: int
    restarts: int
    in_flight: int
    queued: int
    used_bytes: int
    budget_bytes: int
