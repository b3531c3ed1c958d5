"""The fleet's laws, under every order of events that hypothesis can think of.

The test plays the world: callers, children, time. It believes nothing the machine's state says of them, but keeps its
own books and compares.
"""

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pointsman.fleet.events import (
    Cancel,
    Drain,
    Effect,
    Estimated,
    Event,
    Exited,
    Grant,
    Healthy,
    Measured,
    Refuse,
    Release,
    Report,
    Start,
    Started,
    StartFailed,
    Stop,
    StopOverdue,
    Stopped,
    Taken,
    Tick,
    Unhealthy,
    Unload,
    WakeAt,
    Want,
)
from pointsman.fleet.machine import initial, step
from pointsman.fleet.values import DeploymentSpec, Phase, Rules, State

BUDGET = 100
RULES = Rules(max_queue=4, max_wait_s=8, min_resident_s=2, backoff_s=0.5, backoff_max_s=4, stable_s=5)
SPECS = (
    DeploymentSpec(id="small", model_id="small", slots=2, memory_bytes=30, preload=True),
    DeploymentSpec(id="medium", model_id="medium", slots=1, memory_bytes=60, ttl_s=6),
    DeploymentSpec(id="large", model_id="large", slots=2, memory_bytes=100),
    DeploymentSpec(id="pinned", model_id="pinned", slots=1, memory_bytes=20, pin=True),
    DeploymentSpec(id="giant", model_id="giant", slots=1, memory_bytes=101),
    DeploymentSpec(id="remote", model_id="remote", slots=3, is_managed=False),
)
SLOTS = {spec.id: spec.slots for spec in SPECS}
NAMES = st.sampled_from([spec.id for spec in SPECS])
OPEN, GRANTED, TAKEN, ENDED = "open", "granted", "taken", "ended"


class Ticket:
    def __init__(self, number: int, name: str, for_load: bool) -> None:
        self.number, self.name, self.for_load, self.status = number, name, for_load, OPEN


class FleetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.state: State = initial(SPECS, RULES, BUDGET)
        self.tickets: list[Ticket] = []
        self.children: dict[str, tuple[str, int]] = {}  # name → (starting, ready or stopping; life)
        self.lives: dict[str, int] = {}
        self.wake_at_s: float | None = None
        self.overdrawn = False
        self.draining = False
        self.closed: set[str] = set()

    # ------------------------------------------------------------ the world's books

    def send(self, event: Event) -> None:
        before, untouched = self.state, dict(self.state.deployments)
        self.closed = {name for name, d in before.deployments.items() if d.closing and d.phase is Phase.READY}
        self.state, effects = step(before, event)
        self.closed -= {name for name, d in self.state.deployments.items() if not d.closing}
        assert step(before, event) == (self.state, effects), "step is not a function"
        assert before.deployments == untouched, "step changed its argument"
        for effect in effects:
            self.perform(effect)
        if any(isinstance(effect, Start) and effect.deployment_id != "remote" for effect in effects):
            assert self.state.used_bytes <= BUDGET, "started without room"
        if isinstance(event, Measured | Started):
            self.overdrawn = self.overdrawn or self.state.used_bytes > before.used_bytes

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
        elif isinstance(effect, WakeAt):
            assert effect.at_s > self.now_s
            self.wake_at_s = effect.at_s

    def granted(self, ticket: Ticket) -> None:
        assert ticket.status is OPEN
        assert not self.draining
        assert self.children[ticket.name][0] == "ready"
        if ticket.for_load:
            ticket.status = ENDED
            return
        assert ticket.name not in self.closed, "granted though closed"
        earlier = [t for t in self.held(ticket.name, OPEN) if not t.for_load and t.number < ticket.number]
        assert not earlier, "overtaken in the queue"
        ticket.status = GRANTED
        assert len(self.held(ticket.name, GRANTED, TAKEN)) <= SLOTS[ticket.name]

    def started(self, effect: Start) -> None:
        assert effect.deployment_id not in self.children, "two lives at once"
        assert effect.life > self.lives.get(effect.deployment_id, 0)
        assert not self.draining
        self.lives[effect.deployment_id] = effect.life
        self.children[effect.deployment_id] = ("starting", effect.life)

    def told_to_stop(self, effect: Stop) -> None:
        kind, life = self.children[effect.deployment_id]
        assert life == effect.life
        assert kind == "ready" or (kind == "starting" and self.draining)
        assert not self.held(effect.deployment_id, GRANTED, TAKEN), "stopped while in use"
        self.children[effect.deployment_id] = ("stopping", life)

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

    # ------------------------------------------------------------ what callers do

    @initialize()
    def enter(self) -> None:
        self.send(Tick(at_s=self.now_s))

    @rule(name=NAMES, patience_s=st.sampled_from([0.0, 1.0, 10.0, float("inf")]))
    def want(self, name: str, patience_s: float) -> None:
        self.ask(name, patience_s)

    @rule(name=NAMES, may_evict=st.booleans())
    def want_load(self, name: str, may_evict: bool) -> None:
        self.ask(name, float("inf"), for_load=True, may_evict=may_evict)

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

    @rule(pick=st.integers(0, 99), status=st.sampled_from([OPEN, GRANTED]))
    def cancel(self, pick: int, status: str) -> None:
        if ticket := self.some(status, pick):
            ticket.status = ENDED
            self.send(Cancel(at_s=self.now_s, deployment_id=ticket.name, ticket=ticket.number))

    @rule(pick=st.integers(0, 99))
    def take(self, pick: int) -> None:
        if ticket := self.some(GRANTED, pick):
            ticket.status = TAKEN
            self.send(Taken(at_s=self.now_s, deployment_id=ticket.name, ticket=ticket.number))

    @rule(pick=st.integers(0, 99), ok=st.booleans())
    def release(self, pick: int, ok: bool) -> None:
        if ticket := self.some(TAKEN, pick):
            ticket.status = ENDED
            self.send(Release(at_s=self.now_s, deployment_id=ticket.name, ticket=ticket.number, ok=ok))

    @rule(name=NAMES)
    def use(self, name: str) -> None:
        """The ordinary case in one move: ask, let children do as they were told, take."""
        self.ask(name, 20.0)
        for _ in range(3):
            self.start_succeeds(0, 0)
            self.stop_succeeds(0)
        for ticket in self.held(name, GRANTED):
            ticket.status = TAKEN
            self.send(Taken(at_s=self.now_s, deployment_id=name, ticket=ticket.number))

    @rule(name=NAMES)
    def unload(self, name: str) -> None:
        self.send(Unload(at_s=self.now_s, deployment_id=name))

    # ------------------------------------------------------------ what children do

    @rule(pick=st.integers(0, 9), measured_bytes=st.sampled_from([0, 0, 0, 25, 70, 300]))
    def start_succeeds(self, pick: int, measured_bytes: int) -> None:
        if found := self.child("starting", pick):
            name, life = found
            self.children[name] = ("ready", life)
            measured_bytes = 0 if name == "remote" else measured_bytes
            self.send(Started(at_s=self.now_s, deployment_id=name, life=life, measured_bytes=measured_bytes))

    @rule(pick=st.integers(0, 9))
    def start_fails(self, pick: int) -> None:
        if found := self.child("starting", pick):
            name, life = found
            del self.children[name]
            self.send(StartFailed(at_s=self.now_s, deployment_id=name, life=life, why="no such file"))

    @rule(pick=st.integers(0, 9))
    def crash(self, pick: int) -> None:
        found = self.child("ready", pick)
        if found and found[0] != "remote":
            name, life = found
            del self.children[name]
            self.send(Exited(at_s=self.now_s, deployment_id=name, life=life, code=-9))

    @rule(pick=st.integers(0, 9))
    def stop_succeeds(self, pick: int) -> None:
        if found := self.child("stopping", pick):
            name, life = found
            del self.children[name]
            self.send(Stopped(at_s=self.now_s, deployment_id=name, life=life))

    @rule(pick=st.integers(0, 9), kind=st.sampled_from(["stopping", "starting"]))
    def word_of_the_end_of_another(self, pick: int, kind: str) -> None:
        """An exit while stopping, a start that ended after all, news of an earlier life: all without effect."""
        if found := self.child(kind, pick):
            name, life = found
            before = self.state
            self.send(Exited(at_s=self.now_s, deployment_id=name, life=life, code=0))
            self.send(Exited(at_s=self.now_s, deployment_id=name, life=life - 1, code=0))
            self.send(Stopped(at_s=self.now_s, deployment_id=name, life=life - 1))
            self.send(StartFailed(at_s=self.now_s, deployment_id=name, life=life - 1, why="late"))
            if kind == "stopping":
                self.send(Started(at_s=self.now_s, deployment_id=name, life=life))
            assert self.state.deployments[name].phase is before.deployments[name].phase

    @rule(pick=st.integers(0, 9), event=st.sampled_from(["sick", "well", "grown"]), size=st.integers(0, 90))
    def probe(self, pick: int, event: str, size: int) -> None:
        found = self.child("ready", pick)
        if found is None:
            return
        name, life = found
        if event == "sick":
            self.send(Unhealthy(at_s=self.now_s, deployment_id=name, life=life, why="no answer"))
        elif event == "well":
            self.send(Healthy(at_s=self.now_s, deployment_id=name, life=life))
        elif name != "remote":
            self.send(Measured(at_s=self.now_s, deployment_id=name, life=life, measured_bytes=size))

    @rule(name=NAMES, pick=st.integers(0, 99), ok=st.booleans())
    def noise(self, name: str, pick: int, ok: bool) -> None:
        """Word that changes nothing for anybody: the specs here name their memory, estimates say what is missing."""
        self.send(Report(at_s=self.now_s, deployment_id=name, ok=ok))
        self.send(Estimated(at_s=self.now_s, deployment_id=name, footprint_bytes=pick, missing_bytes=pick))
        if ticket := self.some(ENDED, pick):
            self.send(Cancel(at_s=self.now_s, deployment_id=ticket.name, ticket=ticket.number))
            self.send(Taken(at_s=self.now_s, deployment_id=ticket.name, ticket=ticket.number))
            self.send(Release(at_s=self.now_s, deployment_id=ticket.name, ticket=ticket.number))
        if found := self.child("stopping", pick):
            self.send(StopOverdue(at_s=self.now_s, deployment_id=found[0], life=found[1], why="hangs"))

    # ------------------------------------------------------------ time, and the end

    @rule(pause_s=st.sampled_from([0.1, 0.7, 3.0, 9.0]))
    def time_passes(self, pause_s: float) -> None:
        self.pass_until(self.now_s + pause_s)

    def pass_until(self, end_s: float) -> None:
        """Ticks come when they were asked for, never else."""
        while self.wake_at_s is not None and self.wake_at_s <= end_s:
            self.now_s, self.wake_at_s = self.wake_at_s, None
            self.send(Tick(at_s=self.now_s))
        self.now_s = end_s
        late = [d.spec.id for d in self.state.deployments.values() for w in d.queue if w.deadline_s < end_s]
        assert not late, "waits past its deadline"

    @precondition(lambda self: len(self.tickets) > 12)
    @rule()
    def drain(self) -> None:
        self.draining = True
        self.send(Drain(at_s=self.now_s))

    # ------------------------------------------------------------ the laws

    @invariant()
    def the_sum_stays_within_the_budget(self) -> None:
        """But for what a measurement has added since."""
        self.overdrawn = self.overdrawn and self.state.used_bytes > BUDGET
        assert self.overdrawn or self.state.used_bytes <= BUDGET

    @invariant()
    def the_state_agrees_with_the_world(self) -> None:
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
        for name, d in self.state.deployments.items():
            if d.phase is Phase.READY and d.closing is None and d.queue:
                assert len(self.held(name, GRANTED, TAKEN)) == SLOTS[name]

    @invariant()
    def nobody_closes_for_one_who_does_not_wait(self) -> None:
        for d in self.state.deployments.values():
            if d.yields_to:
                assert self.state.deployments[d.yields_to].queue

    @invariant()
    def the_giant_never_lives(self) -> None:
        assert "giant" not in self.children

    def teardown(self) -> None:
        """From anywhere: if all goes well from now on, everybody is served or refused; then a drain leaves nothing."""
        for _ in range(120):
            everything_goes_well(self)
            if not any(t.status is not ENDED for t in self.tickets):
                break
            self.pass_until(self.now_s + 1.0)
        assert not [t.number for t in self.tickets if t.status is not ENDED], "somebody waits for ever"
        self.draining = True
        self.send(Drain(at_s=self.now_s))
        everything_goes_well(self)
        assert self.state.is_drained
        assert not self.children
        self.pass_until(self.now_s + 100.0)
        assert not self.children


def everything_goes_well(machine: FleetMachine) -> None:
    moves: tuple[Callable[[], None], ...] = (
        lambda: machine.start_succeeds(0, 0),
        lambda: machine.stop_succeeds(0),
        lambda: machine.take(0),
        lambda: machine.release(0, True),
    )
    for _ in range(len(machine.tickets) + 12):
        for move in moves:
            move()


FleetMachine.TestCase.settings = settings(
    max_examples=250, stateful_step_count=50, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
TestFleetMachine = FleetMachine.TestCase
