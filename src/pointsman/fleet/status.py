"""All that an operator may want to know of a deployment: State → statuses. Pure, made anew for each who asks.

Knows: the state. Does not know: who asks, what they may see. What routing needs is less, and cached: `views`.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from pointsman.fleet.memory import HOST
from pointsman.fleet.values import Deployment, FleetStatistics, Phase, State
from pointsman.fleet.views import view_of
from pointsman.types import Breaker, Tier, Value


class GpuShare(Value, frozen=True):
    """What a deployment takes of one GPU when ready."""

    index: int
    reserved_bytes: int
    measured_bytes: int


class GpuStatus(Value, frozen=True):
    """One GPU's budget and what of it is taken or promised."""

    index: int
    budget_bytes: int
    used_bytes: int


class Memory(Value, frozen=True):
    """Bytes of the host. `held`: reserved for it now; `reserved`: what it takes of the budget when ready; `measured`:
    what its process was found to take, 0 where nobody could tell; `asleep`: what it keeps then, 0: it cannot sleep."""

    held_bytes: int
    reserved_bytes: int
    measured_bytes: int
    asleep_bytes: int
    gpus: tuple[GpuShare, ...] = ()


class DeploymentStatus(Value, frozen=True):
    """One deployment in full. `age_s`: since it is in this state; `idle_s`: since its last use, None while it is used
    or not loaded; `load_s`, `wake_s`: how long that took, by experience; None before the first time.
    `variant`: the quantisation chosen, where there are several, and why. `breaker_why`: why it opened; `retry_in_s`:
    until it lets trials through. `slots` are those it may have now, of `max_slots`. `latency_s`: its usual time to the
    first byte.
    """

    id: str
    model_id: str
    tier: Tier
    state: str
    is_managed: bool
    slots: int
    in_flight: int
    queued: int
    ready_in_s: float
    age_s: float
    idle_s: float | None
    memory: Memory
    breaker: Breaker
    pid: int | None = None
    restarts: int = 0
    last_error: str = ""
    leaving: str = ""
    pin: bool = False
    preload: bool = False
    ttl_s: float | None = None
    sleep_after_s: float | None = None
    load_s: float | None = None
    wake_s: float | None = None
    variant: str = ""
    breaker_why: str = ""
    retry_in_s: float = 0.0
    max_slots: int = 1
    latency_s: float | None = None


class FleetStatus(Value, frozen=True):
    """Every deployment, and the host's memory."""

    deployments: tuple[DeploymentStatus, ...]
    budget_bytes: int
    used_bytes: int
    gpus: tuple[GpuStatus, ...] = ()


def status_of(
    state: State, now_s: float, pids: Mapping[str, int], variants: Mapping[str, str] | None = None
) -> FleetStatus:
    """The fleet as of now, in the configured order."""
    used = dict(state.used)
    return FleetStatus(
        deployments=tuple(
            replace(
                _status(d, now_s, pids.get(name), is_draining=state.is_draining), variant=(variants or {}).get(name, "")
            )
            for name, d in state.deployments.items()
        ),
        budget_bytes=state.budget_bytes,
        used_bytes=state.used_bytes,
        gpus=tuple(
            GpuStatus(index=gpu, budget_bytes=budget, used_bytes=used.get(gpu, 0)) for gpu, budget in state.gpu_budgets
        ),
    )


def _status(d: Deployment, now_s: float, pid: int | None, *, is_draining: bool) -> DeploymentStatus:
    measured = dict(d.measured_gpu_bytes)
    view, spec = view_of(d, now_s, pid, is_draining=is_draining), d.spec
    return DeploymentStatus(
        id=view.id,
        model_id=view.model_id,
        tier=view.tier,
        state=view.state,
        is_managed=view.is_managed,
        slots=view.slots,
        in_flight=view.in_flight,
        queued=view.queued,
        ready_in_s=round(view.ready_in_s, 3),
        age_s=round(now_s - d.since_s, 3),
        idle_s=round(now_s - d.idle_since_s, 3) if d.phase in (Phase.READY, Phase.ASLEEP) and d.is_idle else None,
        memory=Memory(
            held_bytes=dict(d.holds).get(HOST, 0),
            reserved_bytes=d.footprint_bytes,
            measured_bytes=d.measured_bytes,
            asleep_bytes=d.asleep_bytes,
            gpus=tuple(
                GpuShare(index=gpu, reserved_bytes=size, measured_bytes=measured.get(gpu, 0))
                for gpu, size in d.gpu_bytes
            ),
        ),
        breaker=view.breaker,
        pid=view.pid,
        restarts=view.restarts,
        last_error=view.last_error,
        leaving=d.closing.value if d.closing else "",
        pin=spec.pin,
        preload=spec.preload,
        ttl_s=spec.ttl_s,
        sleep_after_s=spec.sleep_after_s,
        load_s=d.load_s,
        wake_s=d.wake_s,
        breaker_why=d.breaker.why,
        retry_in_s=round(view.retry_in_s, 3),
        max_slots=spec.slots,
        latency_s=d.latency_s,
    )


def statistics_of(state: State, counts: Mapping[str, int], evictions: int) -> FleetStatistics:
    """Counts since the start, as the writer keeps them, and the present."""
    refusals = ((name.removeprefix("refused "), n) for name, n in counts.items() if name.startswith("refused "))
    return FleetStatistics(
        granted=counts.get("granted", 0),
        cancelled=counts.get("cancelled", 0),
        refusals=tuple(sorted(refusals)),
        loads=counts.get("Loaded", 0),
        load_failures=counts.get("LoadFailed", 0),
        evictions=evictions,
        deaths=counts.get("Died", 0),
        restarts=counts.get("Restarting", 0),
        in_flight=sum(d.in_flight for d in state.deployments.values()),
        queued=sum(len(d.queue) for d in state.deployments.values()),
        used_bytes=state.used_bytes,
        budget_bytes=state.budget_bytes,
    )
