"""Each rule of the machine by an example; `tests/machine` tries every order of events. When things break or end."""

from tests.fleet.playing import RULES, Play, plain, refusal, spec

from pointsman.fleet.breaker import mode_at
from pointsman.fleet.estimates import ready_in_s
from pointsman.fleet.events import (
    Died,
    Drain,
    Estimated,
    Exited,
    Grant,
    LoadFailed,
    Refuse,
    Report,
    Restarting,
    Start,
    Stop,
    StopOverdue,
    Unload,
    Unloading,
)
from pointsman.fleet.values import Phase, Why
from pointsman.types import Breaker

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
