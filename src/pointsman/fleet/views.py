"""The fleet as others may see it: State → World. Pure but for a cache that only saves work.

Invariant: a view is rebuilt when its deployment changed, or when time alone changes its figures. How fast it answers
(`speeds`) is read then, for each answer's lease has changed it; that it is forgotten is seen within `RENEWED_S`.
"""

from collections.abc import Iterable, Mapping
from itertools import compress
from operator import is_not
from types import MappingProxyType

from msgspec.structs import replace

from pointsman.fleet.breaker import mode_at, retry_in_s
from pointsman.fleet.calls import free_slots
from pointsman.fleet.estimates import is_steady, ready_in_s
from pointsman.fleet.memory import HOST, Sizes, added
from pointsman.fleet.speeds import FADES_S, Speed
from pointsman.fleet.values import WARM, Deployment, Phase, Rules, State
from pointsman.types import Breaker, DeploymentView, Tier, World

DRAINING = "draining"
USUAL = Rules()
UNKNOWN = Speed()
UNMEASURED: Mapping[str, Speed] = MappingProxyType({})
RENEWED_S = 60.0


def view_of(
    d: Deployment,
    now_s: float,
    pid: int | None = None,
    speed: Speed = UNKNOWN,
    *,
    is_draining: bool = False,
    rules: Rules = USUAL,
) -> DeploymentView:
    """One deployment as of now."""
    mode = mode_at(d.breaker, now_s)
    if now_s - speed.at_s >= FADES_S:
        speed = UNKNOWN
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
        latency_s=d.latency_s if now_s - d.latency_at_s < FADES_S else None,
        first_token_s=speed.first_token_s,
        tokens_per_s=speed.per_s,
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
        self._views: dict[str, DeploymentView] = {}
        self._moving: set[str] = set()
        self._until_s = 0.0
        self._held: dict[str, Sizes] = {}
        self._budgets: Mapping[int, int] = {}
        self._world = World()
        self._ticket = 0

    def at(
        self, state: State, now_s: float, pids: Mapping[str, int], speeds: Mapping[str, Speed] = UNMEASURED
    ) -> World:
        """The world as of now. Each call gets the next ticket, for round robin."""
        if state is not self._state or self._moving or now_s >= self._until_s:
            self._renew(state, now_s, pids, speeds)
        self._ticket += 1
        return replace(self._world, ticket=self._ticket)

    def _renew(self, state: State, now_s: float, pids: Mapping[str, int], speeds: Mapping[str, Speed]) -> None:
        stale, moving = self._stale(state, now_s), set()
        held: dict[str, Sizes] = {}
        for name in stale:
            d = state.deployments[name]
            self._views[name] = view_of(
                d, now_s, pids.get(name), speeds.get(name, UNKNOWN), is_draining=state.is_draining, rules=state.rules
            )
            held[name] = d.holds
            if not is_steady(d, now_s):
                moving.add(name)
        if state.budgets is not self._budgets or not held.items() <= self._held.items():
            self._held |= held
            self._budgets = state.budgets
            used = dict(added(self._held.values()))
            gpus = tuple((gpu, size, used.get(gpu, 0)) for gpu, size in state.gpu_budgets)
            self._world = World(budget_bytes=state.budget_bytes, used_bytes=used.get(HOST, 0), gpus=gpus)
        self._world = replace(self._world, deployments=tuple(self._views.values()))
        self._moving = moving
        self._state = state

    def _stale(self, state: State, now_s: float) -> Iterable[str]:
        """Whose view may have changed: everybody's when the fleet drains or their places have moved, and now and then,
        else that of who has changed, or changes with time."""
        old, new = self._state, state.deployments
        if old is None or old.is_draining is not state.is_draining or [*old.deployments] != [*new]:
            self._views, self._held, self._budgets = {}, {}, {}
        elif now_s < self._until_s:
            return self._moving.union(compress(new, map(is_not, new.values(), old.deployments.values())))
        self._until_s = now_s + RENEWED_S
        return new
