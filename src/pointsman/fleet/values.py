"""The fleet's own values: what is configured, the state, what callers read. All are frozen.

Knows: what a deployment holds in which phase. Does not know: what happens to it and what follows (`events`), any rule.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

import msgspec

from pointsman.fleet.breaker import CLOSED, BreakerRules, BreakerState
from pointsman.fleet.eviction import Demand
from pointsman.fleet.limit import Limit
from pointsman.fleet.memory import HOST, Sizes, added, least, most
from pointsman.settings import FleetSettings, ManagedBase, ModelBase, OpenAiModel
from pointsman.types import Breaker, Value

GB = 1e9
INFINITY = float("inf")


# ---------------------------------------------------------------- what is configured


class DeploymentSpec(Value, frozen=True):
    """One place where a model can run. `memory_bytes`, and `gpu_memory_bytes` on each of its GPUs, are the operator's
    figures; None: the backend's estimate.

    `sleep_after_s`: unused for so long it falls asleep, where its engine can. `gpus`: the ones it may use. `min_slots`:
    where set, how many slots it has is learned, from these up to `slots`. `instances`: of the same model.
    """

    id: str
    model_id: str
    slots: int = 1
    is_managed: bool = True
    preload: bool = False
    pin: bool = False
    ttl_s: float | None = None
    sleep_after_s: float | None = None
    memory_bytes: int | None = None
    gpus: tuple[int, ...] = ()
    gpu_memory_bytes: int | None = None
    min_slots: int | None = None
    instances: int = 1

    @classmethod
    def of(cls, deployment_id: str, model: ModelBase) -> Self:
        """One deployment of a configured model."""
        if isinstance(model, ManagedBase) and not model.is_attached:
            memory_bytes = None if model.memory_gb is None else int(model.memory_gb * GB)
            return cls(
                id=deployment_id,
                model_id=model.id,
                slots=model.slots,
                preload=model.preload,
                pin=model.pin,
                ttl_s=model.ttl_s,
                sleep_after_s=model.sleep_after_s,
                memory_bytes=memory_bytes,
                gpus=model.gpus,
                gpu_memory_bytes=None if model.gpu_memory_gb is None else int(model.gpu_memory_gb * GB),
            )
        if isinstance(model, OpenAiModel):
            return cls(
                id=deployment_id,
                model_id=model.id,
                slots=model.slots,
                is_managed=False,
                min_slots=model.min_slots,
                instances=len(model.all_urls()),
            )
        slots = model.slots if isinstance(model, ManagedBase) else 1
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
    breaker: BreakerRules = BreakerRules()
    outliers: bool = True
    outlier_share: float = 0.3

    @classmethod
    def of(cls, settings: FleetSettings) -> Self:
        return cls(
            max_queue=settings.max_queue,
            max_wait_s=settings.max_wait_s,
            min_resident_s=settings.min_resident_s,
            backoff_s=settings.restart_backoff_s,
            probe_hold_s=settings.probe_interval_s * 1.5,
            eviction=settings.eviction,
            breaker=BreakerRules.of(settings.breaker),
            outliers=settings.breaker.outliers,
            outlier_share=settings.breaker.outlier_share,
        )


# ---------------------------------------------------------------- the state


class Phase(StrEnum):
    """`failed` means given up until `retry_at_s`; a deployment in an ordinary back-off is cold. An asleep one has a
    child, whose engine has given memory back."""

    COLD = "cold"
    STARTING = "starting"
    READY = "ready"
    FALLING_ASLEEP = "falling_asleep"
    ASLEEP = "asleep"
    WAKING = "waking"
    STOPPING = "stopping"
    FAILED = "failed"


ABSENT = frozenset({Phase.COLD, Phase.FAILED})
WARM = frozenset({Phase.FALLING_ASLEEP, Phase.ASLEEP, Phase.WAKING})


class Why(StrEnum):
    """Why a deployment is stopped or put to sleep, or takes no more wants so that it can be."""

    EVICTED = "evicted"
    EXPIRED = "expired"
    RESTED = "rested"
    UNLOADED = "unloaded"
    UNHEALTHY = "unhealthy"
    WAKE_FAILED = "wake_failed"
    REMOVED = "removed"
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

    `footprint_bytes`, `gpu_bytes`: what it takes when ready, on the host and on GPUs; `asleep_…`: when asleep;
    `measured_…`: no estimate goes below them. `wakeful_until_life`: up to this life it cannot sleep.
    `ready_since_s`: when it was last loaded or woken. `was_asleep`: it is being stopped in its sleep.
    `closing`: ready, but grants nothing more and stops when idle, or sleeps (`to_sleep`); `yields_to`: the starved
    deployment that waits for its memory. `ran_out`: its last start ran out of memory; another has to follow once
    others have left. `next_deadline_s`: no waiter's is sooner. `may_hurry`: a want need not wait for the back-off.
    `demand`: how often it is asked for. `restart_wanted`: start it though nobody waits. `is_leaving`: it was removed.
    `told`: the breaker's state as last told. `limit`: of slots, where it is learned. `latency_s`: its usual time to the
    first byte, as of `latency_at_s`. `judged_s`: when it was last compared with the model's other instances.
    """

    spec: DeploymentSpec
    phase: Phase = Phase.COLD
    since_s: float = 0.0
    life: int = 0
    ready_since_s: float = 0.0
    footprint_bytes: int = 0
    gpu_bytes: Sizes = ()
    measured_bytes: int = 0
    measured_gpu_bytes: Sizes = ()
    asleep_bytes: int = 0
    measured_asleep_bytes: int = 0
    asleep_gpu_bytes: Sizes = ()
    wakeful_until_life: int = 0
    missing_bytes: int = 0
    load_s: float | None = None
    wake_s: float | None = None
    queue: tuple[Waiter, ...] = ()
    next_deadline_s: float = INFINITY
    granted: frozenset[int] = frozenset()
    leases: Mapping[int, float] = msgspec.field(default_factory=dict)
    idle_since_s: float = 0.0
    hold_s: float = 1.0
    closing: Why | None = None
    to_sleep: bool = False
    is_leaving: bool = False
    was_asleep: bool = False
    yields_to: str = ""
    ran_out: bool = False
    failures: int = 0
    retry_at_s: float = 0.0
    may_hurry: bool = False
    demand: Demand = Demand()
    restart_wanted: bool = False
    restarts: int = 0
    last_error: str = ""
    error_code: str = "loading_failed"
    breaker: BreakerState = CLOSED
    told: Breaker = Breaker.CLOSED
    limit: Limit | None = None
    latency_s: float | None = None
    latency_at_s: float = 0.0
    judged_s: float = 0.0

    @property
    def slots(self) -> int:
        """How many calls at once, as configured or learned."""
        return self.spec.slots if self.limit is None else self.limit.slots

    @property
    def in_flight(self) -> int:
        return len(self.granted) + len(self.leases)

    @property
    def is_idle(self) -> bool:
        """Nobody uses it, nobody was promised it."""
        return not self.granted and not self.leases

    @property
    def is_gone(self) -> bool:
        """It was removed, and nothing of it is left."""
        return self.is_leaving and self.phase in ABSENT and self.is_idle and not self.queue

    @property
    def is_dormant(self) -> bool:
        """Cold, and nobody waits for it: no rule but an event about itself concerns it."""
        return self.phase is Phase.COLD and not self.queue and not self.restart_wanted

    @property
    def is_resident(self) -> bool:
        """Its memory is taken or promised, if only that of one asleep."""
        return self.phase not in ABSENT

    @property
    def takes(self) -> Sizes:
        """What it needs to be ready, on each device."""
        host = ((HOST, self.footprint_bytes),)
        return host + self.gpu_bytes if self.gpu_bytes else host

    @property
    def holds(self) -> Sizes:
        """What is reserved for it now. Between awake and asleep: the more of both, for either may come of it."""
        match self.phase:
            case Phase.READY | Phase.STARTING:
                return self.takes
            case Phase.FALLING_ASLEEP | Phase.WAKING:
                return most(self.takes, self.takes_asleep)
            case Phase.STOPPING | Phase.ASLEEP:
                return self.takes_asleep if self.was_asleep or self.phase is Phase.ASLEEP else self.takes
            case _:
                return ()

    @property
    def takes_asleep(self) -> Sizes:
        """What it keeps while asleep, on each device; of a GPU never more than awake."""
        host = ((HOST, self.asleep_bytes),)
        return host + least(self.asleep_gpu_bytes, self.gpu_bytes) if self.asleep_gpu_bytes else host

    @property
    def crowded(self) -> Sizes:
        """Where a load can have run out of memory: its GPUs, or the host's memory where it uses none."""
        gpus = tuple((device, size) for device, size in self.gpu_bytes if size)
        return gpus or ((HOST, self.footprint_bytes),)

    @property
    def can_sleep(self) -> bool:
        return self.asleep_bytes > 0 and self.life > self.wakeful_until_life


class State(Value, frozen=True):
    """The whole fleet. `deployments` is never changed in place. `is_short`: somebody waits for memory. `wants`: for
    managed deployments, so far. `active`: the names of those that are not dormant, in the configured order; a fleet
    may have hundreds of models, of which a few matter at any moment. `budgets`: bytes by device.
    """

    rules: Rules
    budgets: Mapping[int, int]
    deployments: Mapping[str, Deployment]
    is_draining: bool = False
    is_short: bool = False
    wants: int = 0
    active: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    wake_at_s: float = float("-inf")

    @property
    def budget_bytes(self) -> int:
        """Of the host's memory."""
        return self.budgets[HOST]

    @property
    def gpu_budgets(self) -> Sizes:
        """(GPU index, bytes)"""
        return tuple((device, size) for device, size in self.budgets.items() if device != HOST)

    @property
    def used_bytes(self) -> int:
        """Of the host's memory."""
        return sum(d.holds[0][1] for d in self.stirring() if d.is_resident)

    @property
    def used(self) -> Sizes:
        """Of every device that somebody holds memory on."""
        return added(d.holds for d in self.stirring())

    @property
    def is_drained(self) -> bool:
        return self.is_draining and not any(d.is_resident or not d.is_idle for d in self.deployments.values())

    def stirring(self) -> list[Deployment]:
        """Those that are not dormant."""
        return [self.deployments[name] for name in self.active]


def active(deployments: Mapping[str, Deployment]) -> tuple[str, ...]:
    """Who is not dormant, in the configured order."""
    return tuple(name for name, d in deployments.items() if not d.is_dormant)


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
