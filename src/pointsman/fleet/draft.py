"""A State while one step works on it, and the elementary moves. Local to `machine.step`; nothing keeps one.

Knows: how a move changes a deployment and which effect and news belong to it. Does not know: when to make it.
"""

from typing import Any

from msgspec.structs import replace

from pointsman.fleet import estimates
from pointsman.fleet.events import Effect, Refuse, Restarting, Sleep, Start, Stop, Unloading, Wake, WakeAt
from pointsman.fleet.values import INFINITY, Deployment, Phase, State, Waiter, Why, active


class Draft:
    """Changed in place, then `sealed`."""

    __slots__ = (
        "_state",
        "_wake_at_s",
        "active",
        "budgets",
        "deployments",
        "effects",
        "is_draining",
        "is_short",
        "now_s",
        "pins",
        "rules",
        "touched",
        "wants",
    )

    def __init__(self, state: State, now_s: float) -> None:
        self._state = state
        self._wake_at_s = INFINITY
        self.now_s = now_s
        self.rules = state.rules
        self.budgets = state.budgets
        self.deployments = dict(state.deployments)
        self.active = state.active
        self.is_draining = state.is_draining
        self.is_short = state.is_short
        self.wants = state.wants
        self.pins = state.pins
        self.effects: list[Effect] = []
        self.touched: dict[str, None] = {}

    def __getitem__(self, deployment_id: str) -> Deployment:
        return self.deployments[deployment_id]

    def put(self, d: Deployment, **changes: Any) -> Deployment:
        """The deployment, changed."""
        changed = replace(d, **changes) if changes else d
        self.deployments[d.spec.id] = changed
        self.touched[d.spec.id] = None
        if changed.is_dormant is (d.spec.id in self.active):
            self.active = active(self.deployments)
        return changed

    @property
    def is_time(self) -> bool:
        """The moment has come at which time alone was to change something."""
        return self._state.wake_at_s <= self.now_s

    def stirring(self) -> list[Deployment]:
        """Those that are not dormant, in the configured order: no rule looks at any other."""
        return [self.deployments[name] for name in self.active]

    def alarm(self, at_s: float) -> None:
        """Time alone will change something then. What is past has been dealt with."""
        if at_s > self.now_s:
            self._wake_at_s = min(self._wake_at_s, at_s)

    def refuse(self, ticket: int, code: str, retry_after_s: float, why: str) -> None:
        self.effects.append(Refuse(ticket=ticket, code=code, retry_after_s=retry_after_s, why=why))

    def refuse_all(self, d: Deployment, code: str, retry_after_s: float, why: str) -> Deployment:
        """Everybody in the queue, with one reason."""
        for waiter in d.queue:
            self.refuse(waiter.ticket, code, retry_after_s, why)
        return self.queue(d, ())

    def queue(self, d: Deployment, waiters: tuple[Waiter, ...]) -> Deployment:
        """Replace the queue."""
        soonest_s = min((waiter.deadline_s for waiter in waiters), default=INFINITY)
        return self.put(d, queue=waiters, next_deadline_s=soonest_s)

    def start(self, d: Deployment) -> Deployment:
        """Reserve its memory and begin its next life."""
        restarts = d.restarts + (d.failures > 0)
        life = d.life + 1
        self.effects.append(Start(deployment_id=d.spec.id, life=life))
        if d.failures:
            self.effects.append(Restarting(deployment_id=d.spec.id, model_id=d.spec.model_id, restarts=restarts))
        return self.put(
            d,
            phase=Phase.STARTING,
            since_s=self.now_s,
            life=life,
            restarts=restarts,
            closing=None,
            yields_to="",
            was_asleep=False,
        )

    def stop(self, d: Deployment, why: Why) -> Deployment:
        """End its life; its memory stays reserved until it is gone."""
        self.effects.append(Stop(deployment_id=d.spec.id, life=d.life))
        if d.phase is not Phase.STARTING:
            self.effects.append(
                Unloading(
                    deployment_id=d.spec.id,
                    model_id=d.spec.model_id,
                    why=why,
                    age_s=self.now_s - d.ready_since_s,
                    memory_bytes=d.holds[0][1],
                )
            )
        if why is Why.UNHEALTHY:
            d = self.end_of_life(d)
        was_asleep = d.phase is Phase.ASLEEP
        return self.put(
            d,
            phase=Phase.STOPPING,
            since_s=self.now_s,
            closing=why,
            to_sleep=False,
            was_asleep=was_asleep,
            yields_to="",
        )

    def sleep(self, d: Deployment) -> Deployment:
        """Begin to fall asleep; its memory stays reserved until it is back."""
        self.effects.append(Sleep(deployment_id=d.spec.id, life=d.life))
        return self.put(d, phase=Phase.FALLING_ASLEEP, since_s=self.now_s, closing=None, to_sleep=False, yields_to="")

    def wake(self, d: Deployment) -> Deployment:
        """Reserve what it takes awake, and begin to wake."""
        self.effects.append(Wake(deployment_id=d.spec.id, life=d.life))
        return self.put(d, phase=Phase.WAKING, since_s=self.now_s)

    def end_of_life(self, d: Deployment) -> Deployment:
        """Back-off after a ready deployment died or fell ill: the first time after a good life it hurts nobody."""
        was_good = self.now_s - d.ready_since_s >= self.rules.stable_s
        failures = 1 if was_good else d.failures + 1
        return self.put(
            d,
            failures=failures,
            retry_at_s=self.now_s + estimates.backoff_s(self.rules, failures),
            may_hurry=failures == 1,
            restart_wanted=(d.spec.preload or not d.spec.is_managed) and not self.is_draining,
        )

    def sealed(self) -> tuple[State, tuple[Effect, ...]]:
        """The new state, and the effects."""
        wake_at_s = INFINITY if self.is_time else self._state.wake_at_s
        if self._wake_at_s < wake_at_s:
            wake_at_s = self._wake_at_s
            self.effects.append(WakeAt(at_s=wake_at_s))
        state = replace(
            self._state,
            deployments=self.deployments,
            is_draining=self.is_draining,
            is_short=self.is_short,
            wants=self.wants,
            rules=self.rules,
            budgets=self.budgets,
            pins=self.pins,
            active=self.active,
            wake_at_s=wake_at_s,
        )
        return state, tuple(self.effects)
