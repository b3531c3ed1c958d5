"""The fleet as others may see it: State → World. Pure but for a cache that only saves work.

Invariant: a view is rebuilt when its deployment changed, or when time alone changes its figures.
"""

from pointsman.fleet.breaker import mode_at, retry_in_s
from pointsman.fleet.calls import free_slots
from pointsman.fleet.estimates import is_steady, ready_in_s
from pointsman.fleet.values import WARM, Deployment, Phase, Rules, State
from pointsman.types import Breaker, DeploymentView, Tier, World

DRAINING = "draining"
USUAL = Rules()


def view_of(
    d: Deployment, now_s: float, pid: int | None = None, *, is_draining: bool = False, rules: Rules = USUAL
) -> DeploymentView:
    """One deployment as of now."""
    mode = mode_at(d.breaker, now_s)
    return DeploymentView(
        id=d.spec.id,
        model_id=d.spec.model_id,
        tier=_tier(d.phase),
        state=DRAINING if is_draining else d.phase.value,
        ready_in_s=ready_in_s(d, now_s),
        in_flight=d.in_flight,
        queued=len(d.queue),
        slots=d.slots,
        breaker=mode,
        retry_in_s=retry_in_s(d.breaker, now_s),
        is_tried=mode is Breaker.HALF_OPEN and free_slots(d, rules, now_s) <= 0,
        latency_s=d.latency_s,
        is_managed=d.spec.is_managed,
        memory_bytes=d.holds[0][1] if d.phase in WARM else d.footprint_bytes,
        gpu_bytes=d.holds[1:] if d.phase in WARM else d.gpu_bytes,
        pid=pid if d.is_resident else None,
        restarts=d.restarts,
        last_error=d.last_error,
    )


def _tier(phase: Phase) -> Tier:
    if phase is Phase.READY:
        return Tier.HOT
    return Tier.WARM if phase in WARM else Tier.COLD


class WorldView:
    """Worlds of one fleet, most of each taken over from the one before."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._views: tuple[DeploymentView, ...] = ()
        self._built_s = 0.0
        self._is_steady = False
        self._used_bytes = 0
        self._gpus: tuple[tuple[int, int, int], ...] = ()
        self._ticket = 0

    def at(self, state: State, now_s: float, pids: dict[str, int]) -> World:
        """The world as of now. Each call gets the next ticket, for round robin."""
        if state is not self._state or not self._is_steady:
            self._rebuild(state, now_s, pids)
        self._ticket += 1
        return World(
            deployments=self._views,
            budget_bytes=state.budget_bytes,
            used_bytes=self._used_bytes,
            gpus=self._gpus,
            ticket=self._ticket,
        )

    def _rebuild(self, state: State, now_s: float, pids: dict[str, int]) -> None:
        old = self._state
        known = old.deployments if old is not None and old.is_draining == state.is_draining else {}
        before = self._views if [*known] == [*state.deployments] else ()  # else their places have moved
        views = []
        all_steady = True
        for position, (name, d) in enumerate(state.deployments.items()):
            steady = is_steady(d, now_s)
            all_steady = all_steady and steady
            if before and steady and known.get(name) is d and is_steady(d, self._built_s):
                views.append(before[position])
            else:
                views.append(view_of(d, now_s, pids.get(name), is_draining=state.is_draining, rules=state.rules))
        self._views = tuple(views)
        self._used_bytes = state.used_bytes
        if state.gpu_budgets:
            used = dict(state.used)
            self._gpus = tuple((gpu, budget, used.get(gpu, 0)) for gpu, budget in state.gpu_budgets)
        self._is_steady = all_steady
        self._state = state
        self._built_s = now_s
