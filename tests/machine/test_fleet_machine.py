"""The fleet's laws, under every order of events that hypothesis can think of.

The test plays the world: callers, children, time; `books` compares what follows with the laws.
"""

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace
from tests.machine.books import (
    ALIVE,
    BUDGETS,
    ENDED,
    GRANTED,
    OPEN,
    RULES,
    SPECS,
    TAKEN,
    Books,
)

from pointsman.fleet.events import (
    Cancel,
    Configure,
    Drain,
    Exited,
    Force,
    Govern,
    Healthy,
    Measured,
    Release,
    Remove,
    Report,
    Rest,
    SleepFailed,
    Slept,
    Started,
    StartFailed,
    StopOverdue,
    Stopped,
    Taken,
    Tick,
    Unhealthy,
    Unload,
    WakeFailed,
    Woken,
)
from pointsman.fleet.memory import HOST
from pointsman.types import Breaker

STEPS = 10_000
NAMES = st.sampled_from([spec.id for spec in SPECS])


def there_is(kind: str) -> Callable[["FleetMachine"], bool]:
    return lambda machine: machine.child(kind, 0) is not None


def waits(status: str) -> Callable[["FleetMachine"], bool]:
    return lambda machine: machine.some(status, 0) is not None


class FleetMachine(Books):
    # ------------------------------------------------------------ what callers do

    @initialize()
    def enter(self) -> None:
        for spec in SPECS:
            self.send(self.estimate(spec.id))
        self.send(Tick(at_s=self.now_s))

    @rule(name=NAMES, patience_s=st.sampled_from([0.0, 1.0, 10.0, float("inf")]))
    def want(self, name: str, patience_s: float) -> None:
        self.ask(name, patience_s)

    @rule(name=NAMES, may_evict=st.booleans())
    def want_load(self, name: str, may_evict: bool) -> None:
        self.ask(name, float("inf"), for_load=True, may_evict=may_evict)

    @rule(pick=st.integers(0, 99), status=st.sampled_from([OPEN, GRANTED]))
    def cancel(self, pick: int, status: str) -> None:
        if ticket := self.some(status, pick):
            ticket.status = ENDED
            self.send(Cancel(at_s=self.now_s, deployment_id=ticket.name, ticket=ticket.number))

    @precondition(waits(GRANTED))
    @rule(pick=st.integers(0, 99))
    def take(self, pick: int) -> None:
        if ticket := self.some(GRANTED, pick):
            ticket.status = TAKEN
            self.send(Taken(at_s=self.now_s, deployment_id=ticket.name, ticket=ticket.number))

    @precondition(waits(TAKEN))
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
            self.falls_asleep(0, 0)
            self.wakes(0, 0)
            self.stop_succeeds(0)
        for ticket in self.held(name, GRANTED):
            ticket.status = TAKEN
            self.send(Taken(at_s=self.now_s, deployment_id=name, ticket=ticket.number))

    @rule(name=NAMES)
    def unload(self, name: str) -> None:
        self.send(Unload(at_s=self.now_s, deployment_id=name))

    @precondition(there_is("ready"))
    @rule(pick=st.integers(0, 9))
    def lie_down(self, pick: int) -> None:
        """An operator, or somebody else's wish for memory, puts one to sleep that can."""
        if found := self.child("ready", pick):
            self.send(Rest(at_s=self.now_s, deployment_id=found[0]))

    @precondition(there_is("asleep"))
    @rule(pick=st.integers(0, 9))
    def get_up(self, pick: int) -> None:
        if found := self.child("asleep", pick):
            self.ask(found[0], 20.0)

    @rule(name=NAMES)
    def rest(self, name: str) -> None:
        self.send(Rest(at_s=self.now_s, deployment_id=name))

    # ------------------------------------------------------------ what a reload does

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if name in self.state.deployments:
            self.removed.add(name)
            self.send(Remove(at_s=self.now_s, deployment_id=name))

    @rule(name=NAMES, pin=st.booleans(), ttl_s=st.sampled_from([None, 0.0, 6.0]))
    def configure(self, name: str, pin: bool, ttl_s: float | None) -> None:
        """A new one, or other terms for one there is."""
        if name in self.removed:
            return
        spec = replace(next(spec for spec in SPECS if spec.id == name), pin=pin, ttl_s=ttl_s)
        self.send(Configure(at_s=self.now_s, spec=spec))
        self.send(self.estimate(name))

    @rule(budget_bytes=st.sampled_from([80, 100]), max_wait_s=st.sampled_from([4.0, 8.0]))
    def govern(self, budget_bytes: int, max_wait_s: float) -> None:
        self.budgets[HOST] = budget_bytes
        gpus = tuple((gpu, size) for gpu, size in BUDGETS.items() if gpu != HOST)
        rules = replace(RULES, max_wait_s=max_wait_s)
        self.send(Govern(at_s=self.now_s, rules=rules, budget_bytes=budget_bytes, gpu_budgets=gpus))

    # ------------------------------------------------------------ what children do

    @precondition(there_is("starting"))
    @rule(pick=st.integers(0, 9), measured_bytes=st.sampled_from([0, 0, 0, 25, 70, 300]))
    def start_succeeds(self, pick: int, measured_bytes: int) -> None:
        self.succeeds("starting", pick, Started, measured_bytes)

    @precondition(there_is("waking"))
    @rule(pick=st.integers(0, 9), measured_bytes=st.sampled_from([0, 0, 0, 25, 70, 300]))
    def wakes(self, pick: int, measured_bytes: int) -> None:
        self.succeeds("waking", pick, Woken, measured_bytes)

    def succeeds(self, kind: str, pick: int, event: type[Started | Woken], measured_bytes: int) -> None:
        if found := self.child(kind, pick):
            name, life = found
            self.children[name] = ("ready", life)
            measured_bytes = 0 if name == "remote" else measured_bytes
            gpu_bytes = ((0, measured_bytes), (1, 5)) if measured_bytes > 50 else ()
            self.send(
                event(
                    at_s=self.now_s,
                    deployment_id=name,
                    life=life,
                    measured_bytes=measured_bytes,
                    gpu_bytes=gpu_bytes,
                )
            )

    @precondition(there_is("starting"))
    @rule(pick=st.integers(0, 9), code=st.sampled_from(["loading_failed", "out_of_memory", "out_of_memory"]))
    def start_fails(self, pick: int, code: str) -> None:
        if found := self.child("starting", pick):
            name, life = found
            del self.children[name]
            self.send(StartFailed(at_s=self.now_s, deployment_id=name, life=life, why="no such file", code=code))

    @precondition(there_is("falling_asleep"))
    @rule(pick=st.integers(0, 9), measured_bytes=st.sampled_from([0, 0, 3, 60]))
    def falls_asleep(self, pick: int, measured_bytes: int) -> None:
        if found := self.child("falling_asleep", pick):
            name, life = found
            self.children[name] = ("asleep", life)
            left = ((0, 2), (1, 1)) if measured_bytes else ()
            self.send(
                Slept(at_s=self.now_s, deployment_id=name, life=life, measured_bytes=measured_bytes, gpu_bytes=left)
            )

    @precondition(there_is("falling_asleep"))
    @rule(pick=st.integers(0, 9))
    def sleep_fails(self, pick: int) -> None:
        if found := self.child("falling_asleep", pick):
            name, life = found
            self.children[name] = ("ready", life)
            self.sleepless.add(found)
            self.send(SleepFailed(at_s=self.now_s, deployment_id=name, life=life, why="nothing came back"))

    @precondition(there_is("waking"))
    @rule(pick=st.integers(0, 9))
    def wake_fails(self, pick: int) -> None:
        if found := self.child("waking", pick):
            self.unwakeable = found[0]
            self.sleepless.add((found[0], found[1] + 1))
            self.send(WakeFailed(at_s=self.now_s, deployment_id=found[0], life=found[1], why="no answer"))
            self.unwakeable = ""
            assert self.children[found[0]][0] == "stopping"

    @precondition(there_is("ready"))
    @rule(pick=st.integers(0, 9), kind=st.sampled_from(ALIVE))
    def crash(self, pick: int, kind: str) -> None:
        found = self.child(kind, pick)
        if found and found[0] != "remote":
            name, life = found
            del self.children[name]
            self.send(Exited(at_s=self.now_s, deployment_id=name, life=life, code=-9))

    @precondition(there_is("stopping"))
    @rule(pick=st.integers(0, 9))
    def stop_succeeds(self, pick: int) -> None:
        if found := self.child("stopping", pick):
            name, life = found
            del self.children[name]
            self.send(Stopped(at_s=self.now_s, deployment_id=name, life=life))

    @rule(pick=st.integers(0, 9), kind=st.sampled_from(["stopping", "starting", *ALIVE]))
    def word_of_the_end_of_another(self, pick: int, kind: str) -> None:
        """An exit while stopping, a start that ended after all, news of an earlier life: all without effect."""
        if found := self.child(kind, pick):
            name, life = found
            before = self.state
            if kind not in ALIVE:
                self.send(Exited(at_s=self.now_s, deployment_id=name, life=life, code=0))
            self.send(Exited(at_s=self.now_s, deployment_id=name, life=life - 1, code=0))
            self.send(Stopped(at_s=self.now_s, deployment_id=name, life=life - 1))
            self.send(StartFailed(at_s=self.now_s, deployment_id=name, life=life - 1, why="late"))
            for event in (Started, Slept, Woken):
                self.send(event(at_s=self.now_s, deployment_id=name, life=life - 1))
                if kind == "stopping":
                    self.send(event(at_s=self.now_s, deployment_id=name, life=life))
            self.send(SleepFailed(at_s=self.now_s, deployment_id=name, life=life - 1, why="late"))
            self.send(WakeFailed(at_s=self.now_s, deployment_id=name, life=life - 1, why="late"))
            assert self.state.deployments[name].phase is before.deployments[name].phase

    @precondition(there_is("ready"))
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

    @rule(name=NAMES, oks=st.lists(st.booleans(), max_size=6), is_overload=st.booleans())
    def calls_end(self, name: str, oks: list[bool], is_overload: bool) -> None:
        for ok in oks:
            self.send(Report(at_s=self.now_s, deployment_id=name, ok=ok, is_overload=is_overload and not ok))

    @rule(name=NAMES, state=st.sampled_from([None, None, Breaker.FORCED_CLOSED, Breaker.FORCED_OPEN]))
    def force(self, name: str, state: Breaker | None) -> None:
        self.send(Force(at_s=self.now_s, deployment_id=name, state=state))

    @rule(name=NAMES, pick=st.integers(0, 99))
    def noise(self, name: str, pick: int) -> None:
        """Word that changes nothing for anybody: the specs here name their memory, estimates say what is missing."""
        self.send(self.estimate(name, missing_bytes=pick))
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

    @precondition(lambda self: len(self.tickets) > 12)
    @rule()
    def drain(self) -> None:
        self.draining = True
        self.send(Drain(at_s=self.now_s))

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
        lambda: machine.falls_asleep(0, 0),
        lambda: machine.wakes(0, 0),
        lambda: machine.stop_succeeds(0),
        lambda: machine.take(0),
        lambda: machine.release(0, True),
    )
    for _ in range(len(machine.tickets) + 12):
        for move in moves:
            move()


def test_the_laws_hold_for_ten_thousand_steps() -> None:
    many = settings(
        max_examples=280, stateful_step_count=50, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(FleetMachine, settings=many)
    assert Books.steps >= STEPS
