"""What the tests of the machine share: the world's own books, and the fleet's laws held against them.

They believe nothing the machine's state says of callers and children, but keep their own record and compare.
"""

from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
)

from pointsman.fleet.calls import free_slots
from pointsman.fleet.events import (
    Effect,
    Estimated,
    Event,
    Forgotten,
    Grant,
    Measured,
    Refuse,
    Sleep,
    Slept,
    Start,
    Started,
    Stop,
    Tick,
    Wake,
    WakeAt,
    Want,
    Woken,
)
from pointsman.fleet.machine import initial, step
from pointsman.fleet.memory import HOST
from pointsman.fleet.values import Deployment, DeploymentSpec, Phase, Rules, State
from pointsman.types import Breaker

BUDGETS = {HOST: 100, 0: 100, 1: 60}
RULES = Rules(max_queue=4, max_wait_s=8, min_resident_s=2, backoff_s=0.5, backoff_max_s=4, stable_s=5)
SPECS = (
    DeploymentSpec(id="small", model_id="small", slots=2, memory_bytes=30, preload=True),
    DeploymentSpec(id="medium", model_id="medium", slots=1, memory_bytes=60, ttl_s=6),
    DeploymentSpec(id="large", model_id="large", slots=2, memory_bytes=100),
    DeploymentSpec(id="pinned", model_id="pinned", slots=1, memory_bytes=20, pin=True),
    DeploymentSpec(id="giant", model_id="giant", slots=1, memory_bytes=101),
    DeploymentSpec(id="remote", model_id="remote", slots=3, min_slots=1, is_managed=False),
    DeploymentSpec(id="napper", model_id="napper", slots=2, memory_bytes=50, sleep_after_s=3),
    DeploymentSpec(id="dozer", model_id="dozer", slots=1, memory_bytes=45, sleep_after_s=60, ttl_s=20),
    DeploymentSpec(id="parker", model_id="parker", slots=2, memory_bytes=10, sleep_after_s=2, preload=True),
    DeploymentSpec(id="spread", model_id="spread", slots=1, memory_bytes=10),
    DeploymentSpec(id="stray", model_id="stray", slots=1, memory_bytes=10),
)
GPU_BYTES = {"parker": ((0, 80),), "spread": ((0, 40), (1, 60)), "stray": ((7, 1),)}
ASLEEP_BYTES = {"napper": 20, "dozer": 25, "parker": 40}
NEVER = ("giant", "stray")
ALIVE = ("ready", "falling_asleep", "asleep", "waking")
MEASUREMENTS = Measured | Started | Woken | Slept
SLOTS = {spec.id: spec.slots for spec in SPECS}
OPEN, GRANTED, TAKEN, ENDED = "open", "granted", "taken", "ended"


class Ticket:
    def __init__(self, number: int, name: str, for_load: bool) -> None:
        self.number, self.name, self.for_load, self.status = number, name, for_load, OPEN


class Books(RuleBasedStateMachine):
    """The world's side: what it was told, what it therefore holds, and the laws."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.state: State = initial(SPECS, RULES, BUDGETS[HOST], ((0, BUDGETS[0]), (1, BUDGETS[1])))
        self.tickets: list[Ticket] = []
        self.children: dict[str, tuple[str, int]] = {}  # name → (its phase, life)
        self.sleepless: set[tuple[str, int]] = set()
        self.lives: dict[str, int] = {}
        self.wake_at_s: float | None = None
        self.unwakeable = ""
        self.draining = False
        self.closed: set[str] = set()
        self.removed: set[str] = set()
        self.budgets = dict(BUDGETS)

    # ------------------------------------------------------------ the world's books

    def send(self, event: Event) -> None:
        before, untouched = self.state, dict(self.state.deployments)
        self.closed = {name for name, d in before.deployments.items() if d.closing and d.phase is Phase.READY}
        self.state, effects = step(before, event)
        for name in tuple(self.closed):  # open in between, where it closed for another afterwards
            now = self.state.deployments.get(name)
            if now is None or not self.is_still_closed(before.deployments[name], now):
                self.closed.remove(name)
        assert step(before, event) == (self.state, effects), "step is not a function"
        assert before.deployments == untouched, "step changed its argument"
        for effect in effects:
            self.perform(effect)
        if not isinstance(event, MEASUREMENTS):
            held = dict(before.used)
            for device, size in self.state.used:
                assert size <= max(self.budgets.get(device, 0), held.get(device, 0)), "took what was not free"
        elif any(isinstance(effect, Start | Wake) for effect in effects):
            self.weigh(before, event)

    @staticmethod
    def is_still_closed(before: Deployment, after: Deployment) -> bool:
        return after.closing is not None and after.yields_to == before.yields_to

    def perform(self, effect: Effect) -> None:
        if isinstance(effect, Grant):
            self.granted(self.ticket(effect.ticket))
        elif isinstance(effect, Refuse):
            ticket = self.ticket(effect.ticket)
            assert ticket.status is OPEN
            assert effect.why
            assert effect.retry_after_s > 0
            ticket.status = ENDED
        elif isinstance(effect, Start):
            self.started(effect)
        elif isinstance(effect, Stop):
            self.told_to_stop(effect)
        elif isinstance(effect, Sleep):
            self.told_to_sleep(effect)
        elif isinstance(effect, Wake):
            assert self.children[effect.deployment_id] == ("asleep", effect.life)
            assert not self.draining
            assert self.held(effect.deployment_id, OPEN), "woken for nobody"
            self.children[effect.deployment_id] = ("waking", effect.life)
        elif isinstance(effect, Forgotten):
            self.forgotten(effect.deployment_id)
        elif isinstance(effect, WakeAt):
            assert effect.at_s > self.now_s
            self.wake_at_s = effect.at_s

    def forgotten(self, name: str) -> None:
        assert name in self.removed
        assert name not in self.children
        assert not self.held(name, OPEN, GRANTED, TAKEN)
        self.removed.remove(name)
        self.lives.pop(name, None)
        self.sleepless = {one for one in self.sleepless if one[0] != name}

    def granted(self, ticket: Ticket) -> None:
        assert ticket.status is OPEN
        assert not self.draining
        assert ticket.name not in self.removed
        assert self.children[ticket.name][0] == "ready"
        if ticket.for_load:
            ticket.status = ENDED
            return
        assert ticket.name not in self.closed, "granted though closed"
        assert self.state.deployments[ticket.name].breaker.forced is not Breaker.FORCED_OPEN, (
            "granted though closed off"
        )
        earlier = [t for t in self.held(ticket.name, OPEN) if not t.for_load and t.number < ticket.number]
        assert not earlier, "overtaken in the queue"
        ticket.status = GRANTED
        assert len(self.held(ticket.name, GRANTED, TAKEN)) <= SLOTS[ticket.name]

    def started(self, effect: Start) -> None:
        assert effect.deployment_id not in self.children, "two lives at once"
        assert effect.deployment_id not in self.removed
        assert effect.life > self.lives.get(effect.deployment_id, 0)
        assert not self.draining
        self.lives[effect.deployment_id] = effect.life
        self.children[effect.deployment_id] = ("starting", effect.life)

    def told_to_stop(self, effect: Stop) -> None:
        kind, life = self.children[effect.deployment_id]
        assert life == effect.life
        may_end = kind in ("ready", "asleep") or (kind == "waking" and effect.deployment_id == self.unwakeable)
        assert may_end or (kind != "stopping" and (self.draining or effect.deployment_id in self.removed))
        assert not self.held(effect.deployment_id, GRANTED, TAKEN), "stopped while in use"
        self.children[effect.deployment_id] = ("stopping", life)

    def told_to_sleep(self, effect: Sleep) -> None:
        name = effect.deployment_id
        assert self.children[name] == ("ready", effect.life)
        assert name in ASLEEP_BYTES
        assert not self.held(name, GRANTED, TAKEN), "put to sleep while in use"
        assert (name, effect.life) not in self.sleepless, "asked again though it cannot"
        assert not self.draining
        self.children[name] = ("falling_asleep", effect.life)

    def weigh(self, before: State, event: MEASUREMENTS) -> None:
        """Beside what the measurement itself added, nothing was taken that was not free."""
        name = event.deployment_id
        old, new = dict(before.deployments[name].holds), dict(self.state.deployments[name].holds)
        held = dict(before.used)
        for device, size in self.state.used:
            measured = max(0, new.get(device, 0) - old.get(device, 0))
            assert size <= max(self.budgets.get(device, 0), held.get(device, 0) + measured), "took what was not free"

    def ticket(self, number: int) -> Ticket:
        return self.tickets[number]

    def held(self, name: str, *statuses: str) -> list[Ticket]:
        return [t for t in self.tickets if t.name == name and t.status in statuses]

    def some(self, status: str, pick: int) -> Ticket | None:
        able = [t for t in self.tickets if t.status == status]
        return able[pick % len(able)] if able else None

    def child(self, kind: str, pick: int) -> tuple[str, int] | None:
        able = sorted((name, life) for name, (what, life) in self.children.items() if what == kind)
        return able[pick % len(able)] if able else None

    def estimate(self, name: str, missing_bytes: int = 0) -> Estimated:
        """The specs name their host memory."""
        return Estimated(
            at_s=self.now_s,
            deployment_id=name,
            footprint_bytes=7,
            missing_bytes=missing_bytes,
            gpu_bytes=GPU_BYTES.get(name, ()),
            asleep_bytes=ASLEEP_BYTES.get(name, 0),
        )

    def ask(self, name: str, patience_s: float, *, for_load: bool = False, may_evict: bool = True) -> None:
        ticket = Ticket(len(self.tickets), name, for_load)
        self.tickets.append(ticket)
        self.send(
            Want(
                at_s=self.now_s,
                deployment_id=name,
                ticket=ticket.number,
                deadline_s=self.now_s + patience_s,
                for_load=for_load,
                may_evict=may_evict,
            )
        )
        if self.draining:
            assert ticket.status is ENDED

    def pass_until(self, end_s: float) -> None:
        """Ticks come when they were asked for, never else."""
        while self.wake_at_s is not None and self.wake_at_s <= end_s:
            self.now_s, self.wake_at_s = self.wake_at_s, None
            self.send(Tick(at_s=self.now_s))
        self.now_s = end_s
        late = [d.spec.id for d in self.state.deployments.values() for w in d.queue if w.deadline_s < end_s]
        assert not late, "waits past its deadline"

    # ------------------------------------------------------------ the laws

    @invariant()
    def count(self) -> None:
        Books.steps += 1

    @invariant()
    def the_state_agrees_with_the_world(self) -> None:
        assert self.children.keys() | self.removed <= self.state.deployments.keys()
        for name, d in self.state.deployments.items():
            kind = self.children.get(name, ("", 0))[0]
            assert (name in self.state.active) == (d.phase is not Phase.COLD or bool(d.queue) or d.restart_wanted)
            assert (d.phase.value if d.is_resident else "") == kind
            assert {t.number for t in self.held(name, GRANTED)} == d.granted
            assert {t.number for t in self.held(name, TAKEN)} == set(d.leases)
            assert [t.number for t in self.held(name, OPEN)] == [w.ticket for w in d.queue]
            assert len(d.queue) <= RULES.max_queue
            assert d.next_deadline_s <= min((w.deadline_s for w in d.queue), default=d.next_deadline_s)

    @invariant()
    def nothing_is_left_undone(self) -> None:
        """Looking again at the same moment finds nothing to do, whichever short cut the last step took."""
        again, effects = step(self.state, Tick(at_s=self.now_s))
        assert not [effect for effect in effects if not isinstance(effect, WakeAt)]
        assert again.deployments == self.state.deployments

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        for d in self.state.deployments.values():
            if d.phase is Phase.READY and d.closing is None and d.queue:
                assert d.breaker.forced is not Breaker.FORCED_OPEN
                assert free_slots(d, RULES, self.now_s) <= 0

    @invariant()
    def nobody_closes_for_one_who_does_not_wait(self) -> None:
        for d in self.state.deployments.values():
            if d.yields_to:
                assert self.state.deployments[d.yields_to].queue

    @invariant()
    def what_can_never_fit_never_lives(self) -> None:
        assert not set(NEVER) & set(self.children)
