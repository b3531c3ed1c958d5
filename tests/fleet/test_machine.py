"""Each rule of the machine by an example; `tests/machine` tries every order of events."""

from pointsman.fleet.breaker import mode_at
from pointsman.fleet.estimates import ready_in_s
from pointsman.fleet.machine import initial, step
from pointsman.fleet.values import (
    INFINITY,
    Cancel,
    Deployment,
    DeploymentSpec,
    Died,
    Drain,
    Effect,
    Estimated,
    Event,
    Exited,
    Grant,
    Healthy,
    Loaded,
    LoadFailed,
    Measured,
    Phase,
    Refuse,
    Release,
    Report,
    Restarting,
    Rules,
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
    Unloading,
    WakeAt,
    Want,
    Why,
)
from pointsman.types import Breaker

RULES = Rules(max_queue=3, max_wait_s=30, min_resident_s=5, backoff_s=0.5, stable_s=10)


def spec(name: str, memory: int = 40, **more: object) -> DeploymentSpec:
    settings = {"id": name, "model_id": f"model-{name}", "memory_bytes": memory, **more}
    return DeploymentSpec(**settings)  # type: ignore[arg-type]  # a table of fields is shorter than many keywords


class Play:
    """A state and its moment; each method sends one event and returns what followed."""

    def __init__(self, *specs: DeploymentSpec, budget: int = 100, rules: Rules = RULES) -> None:
        self.now_s = 100.0
        self.state = initial(specs, rules, budget)
        self.tickets = 0
        self.send(Tick(at_s=self.now_s))

    def send(self, event: Event) -> tuple[Effect, ...]:
        self.state, effects = step(self.state, event)
        return effects

    def of(self, name: str) -> Deployment:
        return self.state.deployments[name]

    def want(
        self, name: str, *, patience_s: float = INFINITY, load: bool = False, polite: bool = False
    ) -> list[Effect]:
        self.tickets += 1
        event = Want(
            at_s=self.now_s,
            deployment_id=name,
            ticket=self.tickets,
            deadline_s=self.now_s + patience_s,
            for_load=load,
            may_evict=not polite,
        )
        return plain(self.send(event))

    def cancel(self, name: str, ticket: int) -> list[Effect]:
        return plain(self.send(Cancel(at_s=self.now_s, deployment_id=name, ticket=ticket)))

    def take(self, name: str, ticket: int) -> list[Effect]:
        return plain(self.send(Taken(at_s=self.now_s, deployment_id=name, ticket=ticket)))

    def release(self, name: str, ticket: int) -> list[Effect]:
        return plain(self.send(Release(at_s=self.now_s, deployment_id=name, ticket=ticket)))

    def started(self, name: str, measured: int = 0) -> list[Effect]:
        life = self.of(name).life
        return plain(self.send(Started(at_s=self.now_s, deployment_id=name, life=life, measured_bytes=measured)))

    def failed(self, name: str, code: str = "loading_failed") -> list[Effect]:
        life = self.of(name).life
        return plain(self.send(StartFailed(at_s=self.now_s, deployment_id=name, life=life, why="bad magic", code=code)))

    def died(self, name: str, code: int = -9) -> list[Effect]:
        return plain(self.send(Exited(at_s=self.now_s, deployment_id=name, life=self.of(name).life, code=code)))

    def stopped(self, name: str) -> list[Effect]:
        return plain(self.send(Stopped(at_s=self.now_s, deployment_id=name, life=self.of(name).life)))

    def sick(self, name: str) -> list[Effect]:
        event = Unhealthy(at_s=self.now_s, deployment_id=name, life=self.of(name).life, why="no answer")
        return plain(self.send(event))

    def well(self, name: str) -> list[Effect]:
        return plain(self.send(Healthy(at_s=self.now_s, deployment_id=name, life=self.of(name).life)))

    def pause(self, duration_s: float) -> list[Effect]:
        """Time passes; ticks come when the machine asked for them, and only then."""
        end_s, effects = self.now_s + duration_s, []
        while self.now_s < self.state.wake_at_s <= end_s:
            self.now_s = self.state.wake_at_s
            effects += plain(self.send(Tick(at_s=self.now_s)))
        self.now_s = end_s
        return effects

    def ready(self, *names: str, load_s: float = 2.0) -> None:
        """Load them as an operator would."""
        for name in names:
            assert Start(deployment_id=name, life=self.of(name).life + 1) in self.want(name, load=True)
        self.pause(load_s)
        for name in names:
            self.started(name)

    def busy(self, name: str) -> int:
        """One taken slot of a ready deployment."""
        assert self.want(name) == [Grant(ticket=self.tickets)]
        self.take(name, self.tickets)
        return self.tickets


def plain(effects: tuple[Effect, ...]) -> list[Effect]:
    """Without the timer."""
    return [effect for effect in effects if not isinstance(effect, WakeAt)]


def refusal(effects: list[Effect]) -> Refuse:
    [refuse] = [effect for effect in effects if isinstance(effect, Refuse)]
    return refuse


# ------------------------------------------------------------ grants and queues


def test_a_cold_want_starts_a_load_and_all_who_come_join_it() -> None:
    play = Play(spec("a", slots=2))
    assert play.want("a") == [Start(deployment_id="a", life=1)]
    assert play.want("a") == []
    assert play.want("a") == []
    play.now_s += 3
    effects = play.started("a", measured=35)
    assert effects == [
        Loaded(deployment_id="a", model_id="model-a", load_s=3.0, memory_bytes=35),
        Grant(ticket=1),
        Grant(ticket=2),
    ]
    assert play.release("a", 1) == []  # not taken yet: nothing to release
    play.take("a", 1)
    assert play.release("a", 1) == [Grant(ticket=3)]


def test_a_grant_that_is_not_taken_returns_to_the_next_in_line() -> None:
    play = Play(spec("a"))
    play.want("a")
    play.want("a")
    assert Grant(ticket=1) in play.started("a")
    assert play.cancel("a", 1) == [Grant(ticket=2)]
    assert play.take("a", 1) == []
    assert play.of("a").leases == {}


def test_a_caller_that_left_causes_no_load() -> None:
    play = Play(spec("a"), spec("b", 80))
    play.ready("a")
    play.busy("a")
    assert play.want("b") == []
    assert play.cancel("b", play.tickets) == []
    assert play.release("a", 2) == []
    assert play.pause(60) == []
    assert play.of("b").phase is Phase.COLD


def test_a_start_that_nobody_wants_any_more_is_let_finish() -> None:
    play = Play(spec("a"))
    play.want("a")
    assert play.cancel("a", 1) == []
    play.started("a")
    assert play.of("a").phase is Phase.READY


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    play = Play(spec("a"))
    play.ready("a", load_s=2.0)
    for _ in range(5):
        ticket = play.busy("a")
        play.now_s += 10
        play.release("a", ticket)
    play.busy("a")
    for _ in range(3):
        assert play.want("a") == []
    refused = refusal(play.want("a"))
    assert refused.code == "queue_full"
    hold_s = play.of("a").hold_s
    assert 5 < hold_s < 10
    assert refused.retry_after_s == hold_s * 4


def test_a_want_whose_deadline_passes_is_refused_and_told_why() -> None:
    play = Play(spec("a"))
    play.ready("a")
    play.busy("a")
    play.want("a", patience_s=4)
    assert play.pause(3.9) == []
    refused = refusal(play.pause(0.2))
    assert refused.code == "deadline_exceeded"
    assert "all of its 1 slots busy" in refused.why
    play.want("a", patience_s=0)
    assert not play.of("a").queue


def test_a_want_for_a_load_needs_no_slot() -> None:
    play = Play(spec("a"))
    play.ready("a")
    play.busy("a")
    assert play.want("a", load=True) == [Grant(ticket=play.tickets)]
    assert play.of("a").in_flight == 1


# ------------------------------------------------------------ memory


def test_loads_run_in_parallel_as_memory_permits() -> None:
    play = Play(spec("a"), spec("b"), spec("c"))
    assert play.want("a") == [Start(deployment_id="a", life=1)]
    assert play.want("b") == [Start(deployment_id="b", life=1)]
    assert play.want("c") == []  # nobody is ready, so nobody can leave
    assert play.state.used_bytes == 80


def test_an_idle_model_leaves_for_a_wanted_one_and_memory_is_used_again_only_when_it_is_back() -> None:
    play = Play(spec("a", 60), spec("b", 60))
    play.ready("a")
    play.pause(20)
    effects = play.want("b")
    assert effects == [
        Stop(deployment_id="a", life=1),
        Unloading(deployment_id="a", model_id="model-a", why=Why.EVICTED, age_s=20.0, memory_bytes=60),
    ]
    assert play.of("a").phase is Phase.STOPPING
    assert play.state.used_bytes == 60
    assert play.stopped("a") == [Start(deployment_id="b", life=1)]


def test_memory_on_its_way_back_is_spoken_for() -> None:
    play = Play(spec("a", 60), spec("b", 60), spec("c", 40), spec("d", 40))
    play.ready("a", "c")
    play.pause(20)
    play.want("b")
    assert play.of("a").phase is Phase.STOPPING
    assert play.want("d")[0] == Stop(deployment_id="c", life=1)
    assert play.stopped("c") == []  # b is first, and needs more
    assert play.stopped("a") == [Start(deployment_id="b", life=1), Start(deployment_id="d", life=1)]


def test_a_model_just_loaded_is_not_evicted_until_the_churn_guard_ends() -> None:
    play = Play(spec("a", 60), spec("b", 60))
    play.ready("a")
    assert play.want("b") == []
    assert play.pause(4.9) == []
    assert play.pause(0.2)[0] == Stop(deployment_id="a", life=1)


def test_pins_stay_and_what_pins_leave_no_room_for_is_refused_with_the_figures() -> None:
    play = Play(spec("a", 60, pin=True), spec("b", 60))
    play.ready("a")
    play.pause(100)
    refused = refusal(play.want("b"))
    assert refused.code == "out_of_memory_budget"
    assert "`b` needs 0 MB" in refused.why
    assert "pinned by `a`" in refused.why


def test_what_can_never_fit_is_refused_at_once_with_the_bytes() -> None:
    play = Play(spec("a", 3_200_000_000), budget=2_000_000_000)
    refused = refusal(play.want("a"))
    assert refused.code == "out_of_memory_budget"
    assert "needs 3.20 GB of memory and the budget is 2.00 GB" in refused.why


def test_a_preload_evicts_nobody() -> None:
    play = Play(spec("a", 60), spec("b", 60))
    play.ready("a")
    play.pause(20)
    refused = refusal(play.want("b", load=True, polite=True))
    assert refused.code == "out_of_memory_budget"
    assert "a preload evicts nobody" in refused.why
    assert play.of("a").phase is Phase.READY


def test_a_measurement_corrects_the_reservation_and_the_overdraft_is_paid_back() -> None:
    play = Play(spec("a", 40), spec("b", 40))
    play.ready("a", "b")
    play.send(Measured(at_s=play.now_s, deployment_id="b", life=1, measured_bytes=70))
    assert play.state.used_bytes == 110
    assert play.of("a").phase is Phase.READY  # guarded
    effects = play.pause(6)
    assert [e.deployment_id for e in effects if isinstance(e, Stop)] == ["b"]  # the larger of two equally idle
    play.stopped("b")
    assert play.of("b").footprint_bytes == 70  # remembered


def test_the_model_that_waited_longest_is_loaded_first() -> None:
    play = Play(spec("a", 100), spec("b", 100), spec("c", 100))
    play.ready("a")
    ticket = play.busy("a")
    play.want("c")
    play.now_s += 1
    play.want("b")
    play.now_s += 10
    assert play.release("a", ticket)[0] == Stop(deployment_id="a", life=1)
    assert play.stopped("a") == [Start(deployment_id="c", life=1)]


def test_a_small_load_may_overtake_until_the_first_is_starved() -> None:
    play = Play(spec("a", 60), spec("big", 100), spec("b", 20), spec("c", 20))
    play.ready("a")
    ticket = play.busy("a")
    play.want("big")
    assert play.want("b") == [Start(deployment_id="b", life=1)]
    assert Grant(ticket=play.tickets) in play.started("b")
    play.take("b", play.tickets)
    assert play.pause(31) == []
    assert [play.of(name).closing for name in ("a", "b")] == [Why.EVICTED, Why.EVICTED]
    assert play.release("b", play.tickets)[0] == Stop(deployment_id="b", life=1)
    assert play.stopped("b") == []
    assert play.want("c") == []  # it would fit, but what is free is spoken for
    assert play.release("a", ticket)[0] == Stop(deployment_id="a", life=1)
    assert play.stopped("a") == [Start(deployment_id="big", life=1)]


def test_a_starved_want_closes_a_hot_model_which_finishes_and_then_leaves() -> None:
    play = Play(spec("hot", 60, slots=2), spec("b", 60))
    play.ready("hot")
    first, second = play.busy("hot"), play.busy("hot")
    play.want("b")
    waiting = play.tickets
    for _ in range(10):  # the hot model is never idle
        play.pause(2.9)
        assert play.release("hot", first) == []
        first = play.busy("hot")
    play.pause(2)
    assert play.of("hot").closing is Why.EVICTED
    assert ready_in_s(play.of("hot"), play.now_s) > 0
    assert play.want("hot") == []  # queued, not granted
    assert play.release("hot", first) == []
    assert play.release("hot", second)[0] == Stop(deployment_id="hot", life=1)
    assert play.stopped("hot") == [Start(deployment_id="b", life=1)]
    assert Grant(ticket=waiting) in play.started("b")


def test_a_closed_model_opens_again_when_the_starved_one_leaves() -> None:
    play = Play(spec("hot", 60), spec("b", 60))
    play.ready("hot")
    play.busy("hot")
    play.want("b")
    starved = play.tickets
    play.pause(31)
    play.want("hot")
    assert play.cancel("b", starved) == []
    assert play.of("hot").closing is None
    assert play.release("hot", 2) == [Grant(ticket=play.tickets)]


# ------------------------------------------------------------ failures and restarts


def test_the_first_crash_after_a_good_life_is_restarted_at_once_for_a_want() -> None:
    play = Play(spec("a"))
    play.ready("a")
    play.pause(60)
    assert play.died("a") == [
        Died(deployment_id="a", model_id="model-a", code=-9, why="", lived_s=60.0, leases=0),
    ]
    assert play.want("a") == [
        Start(deployment_id="a", life=2),
        Restarting(deployment_id="a", model_id="model-a", restarts=1),
    ]
    assert "signal 9" in play.of("a").last_error


def test_crash_upon_crash_waits_for_a_growing_back_off() -> None:
    play = Play(spec("a"))
    play.ready("a")
    play.died("a")
    play.want("a")
    play.started("a")
    play.died("a")
    assert play.want("a") == []
    assert play.pause(0.9) == []
    assert play.pause(0.2)[0] == Start(deployment_id="a", life=3)


def test_a_dead_preload_is_restarted_though_nobody_waits_and_another_is_not() -> None:
    play = Play(spec("a", preload=True), spec("b"))
    play.ready("a", "b")
    play.died("a")
    play.died("b")
    assert [e.deployment_id for e in play.pause(60) if isinstance(e, Start)] == ["a"]


def test_a_preload_that_was_evicted_or_unloaded_stays_away() -> None:
    play = Play(spec("a", 60, preload=True), spec("b", 60))
    play.ready("a")
    play.pause(20)
    play.want("b")
    play.stopped("a")
    assert play.pause(600) == []


def test_three_failed_starts_and_everybody_is_told_the_last_words() -> None:
    play = Play(spec("a"))
    play.want("a")
    assert play.failed("a") == [
        LoadFailed(deployment_id="a", model_id="model-a", why="bad magic", failures=1, retry_in_s=0.5)
    ]
    assert play.want("a") == []  # waits for the back-off: it never was ready
    play.pause(0.6)
    play.failed("a")
    play.pause(1.1)
    assert play.of("a").phase is Phase.STARTING
    effects = play.failed("a", code="fetch_failed")
    refused = [effect for effect in effects if isinstance(effect, Refuse)]
    assert [one.ticket for one in refused] == [1, 2]
    assert refused[0].code == "fetch_failed"
    assert "failed to start 3 times" in refused[0].why
    assert "bad magic" in refused[0].why
    assert play.of("a").phase is Phase.FAILED
    assert refusal(play.want("a")).retry_after_s >= 2.0
    play.pause(2.1)
    assert play.of("a").phase is Phase.COLD
    assert play.want("a")[0] == Start(deployment_id="a", life=4)


def test_an_operator_loads_what_has_failed_without_waiting() -> None:
    play = Play(spec("a"))
    play.want("a")
    for pause_s in (0.6, 1.1, 0.0):
        play.failed("a")
        play.pause(pause_s)
    assert play.of("a").phase is Phase.FAILED
    assert play.want("a", load=True) == [Start(deployment_id="a", life=4)]


def test_back_off_doubles_up_to_its_ceiling() -> None:
    play = Play(spec("a", preload=True))
    play.want("a", load=True, polite=True)
    pauses = []
    for _ in range(10):
        play.failed("a")
        pauses.append(round(play.of("a").retry_at_s - play.now_s, 3))
        play.pause(pauses[-1])
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_leases_of_a_dead_life_count_until_they_are_back_and_word_of_it_is_ignored() -> None:
    play = Play(spec("a"))
    play.ready("a")
    ticket = play.busy("a")
    play.died("a")
    play.want("a")
    assert Grant(ticket=play.tickets) not in play.started("a")
    play.send(Exited(at_s=play.now_s, deployment_id="a", life=1, code=-9))
    assert play.of("a").phase is Phase.READY
    assert play.release("a", ticket) == [Grant(ticket=play.tickets)]


# ------------------------------------------------------------ health, unload, time to live, drain


def test_a_sick_child_finishes_its_calls_then_is_stopped_and_restarted() -> None:
    play = Play(spec("a", preload=True))
    play.ready("a")
    ticket = play.busy("a")
    assert play.sick("a") == []
    assert play.want("a") == []
    assert play.release("a", ticket)[0] == Stop(deployment_id="a", life=1)
    assert play.stopped("a")[0] == Start(deployment_id="a", life=2)


def test_a_child_that_recovers_while_busy_is_opened_again() -> None:
    play = Play(spec("a", slots=2))
    play.ready("a")
    play.busy("a")
    play.sick("a")
    play.want("a")
    assert play.well("a") == [Grant(ticket=play.tickets)]


def test_an_attached_deployment_is_never_stopped_its_breaker_opens() -> None:
    play = Play(spec("far", 0, is_managed=False, slots=64))
    assert play.of("far").phase is Phase.STARTING  # attached by itself
    play.started("far")
    play.sick("far")
    assert play.of("far").phase is Phase.READY
    assert play.of("far").breaker.open_until_s == play.now_s + RULES.probe_hold_s
    play.send(Unload(at_s=play.now_s, deployment_id="far"))
    play.send(Estimated(at_s=play.now_s, deployment_id="far", footprint_bytes=7))
    assert play.of("far").footprint_bytes == 0
    assert play.want("far") == [Grant(ticket=1)]  # a last resort is not gated
    play.well("far")
    assert play.of("far").breaker.open_until_s is None


def test_reports_feed_the_breaker_and_a_new_life_starts_with_a_clean_one() -> None:
    play = Play(spec("a"))
    play.ready("a")
    for _ in range(5):
        play.send(Report(at_s=play.now_s, deployment_id="a", ok=False))
    assert mode_at(play.of("a").breaker, play.now_s) is Breaker.OPEN
    play.died("a")
    play.want("a")
    play.started("a")
    assert mode_at(play.of("a").breaker, play.now_s) is Breaker.CLOSED


def test_unload_waits_until_nobody_uses_it_and_later_wants_load_it_anew() -> None:
    play = Play(spec("a", slots=2))
    play.ready("a")
    ticket = play.busy("a")
    assert plain(play.send(Unload(at_s=play.now_s, deployment_id="a"))) == []
    assert play.want("a") == []
    assert play.release("a", ticket)[0] == Stop(deployment_id="a", life=1)
    assert play.stopped("a") == [Start(deployment_id="a", life=2)]


def test_unloading_what_is_starting_waits_for_it_unless_somebody_wants_it() -> None:
    play = Play(spec("a"), spec("b"))
    play.want("a", load=True)
    play.cancel("a", 1)
    play.send(Unload(at_s=play.now_s, deployment_id="a"))
    assert Stop(deployment_id="a", life=1) in play.started("a")
    play.want("b")
    play.send(Unload(at_s=play.now_s, deployment_id="b"))
    assert Grant(ticket=2) in play.started("b")
    assert play.of("b").closing is None


def test_a_model_unused_for_its_ttl_is_unloaded_a_pinned_one_never() -> None:
    play = Play(spec("a", ttl_s=60.0), spec("p", ttl_s=60.0, pin=True))
    play.ready("a", "p")
    play.pause(50)
    ticket = play.busy("a")
    play.pause(30)
    play.release("a", ticket)
    assert play.pause(59) == []
    stop, news = play.pause(2)
    assert stop == Stop(deployment_id="a", life=1)
    assert isinstance(news, Unloading)
    assert news.why is Why.EXPIRED
    assert play.pause(600) == []


def test_drain_refuses_who_waits_and_stops_each_as_it_falls_idle() -> None:
    play = Play(spec("a"), spec("b"), spec("c", 20))
    play.ready("a", "b")
    ticket = play.busy("a")
    play.want("a")
    play.want("c")
    effects = plain(play.send(Drain(at_s=play.now_s)))
    assert [e.ticket for e in effects if isinstance(e, Refuse)] == [play.tickets - 1, play.tickets]
    assert [e.deployment_id for e in effects if isinstance(e, Stop)] == ["b", "c"]  # c was still starting
    assert refusal(play.want("b")).code == "draining"
    play.stopped("b")
    play.stopped("c")
    before = play.state
    assert not before.is_drained
    assert play.release("a", ticket)[0] == Stop(deployment_id="a", life=1)
    play.stopped("a")
    assert play.state.is_drained
    assert play.pause(600) == []


def test_a_stop_that_is_overdue_is_said_and_keeps_its_memory() -> None:
    play = Play(spec("a", 60), spec("b", 60))
    play.ready("a")
    play.pause(20)
    play.want("b")
    play.send(StopOverdue(at_s=play.now_s, deployment_id="a", life=1, why="has not stopped after 15 s"))
    assert play.of("a").last_error == "has not stopped after 15 s"
    assert play.of("b").phase is Phase.COLD


# ------------------------------------------------------------ estimates


def test_ready_in_is_learned_from_the_last_load_and_counts_what_must_be_fetched() -> None:
    play = Play(spec("a", 300_000_000), budget=10**9)
    guess_s = ready_in_s(play.of("a"), play.now_s)
    assert 1.0 < guess_s < 3.0
    play.send(Estimated(at_s=play.now_s, deployment_id="a", footprint_bytes=1, missing_bytes=200_000_000))
    assert ready_in_s(play.of("a"), play.now_s) == guess_s + 10.0
    play.want("a", load=True)
    play.pause(12)
    play.started("a")  # a load that fetched teaches nothing about the next
    play.send(Unload(at_s=play.now_s, deployment_id="a"))
    play.stopped("a")
    assert ready_in_s(play.of("a"), play.now_s) == guess_s
    play.ready("a", load_s=4.0)
    assert ready_in_s(play.of("a"), play.now_s) == 0.0
    play.send(Unload(at_s=play.now_s, deployment_id="a"))
    play.stopped("a")
    assert ready_in_s(play.of("a"), play.now_s) == 4.0
    play.want("a")
    assert ready_in_s(play.of("a"), play.now_s + 3) == 1.0
    assert ready_in_s(play.of("a"), play.now_s + 40) == 4.0  # overdue: believed less and less
