"""Breakers, learned limits and outliers in the machine: who is let through, what is told."""

from msgspec.structs import replace
from tests.fleet.playing import RULES, Play, refusal, spec

from pointsman.fleet.breaker import BreakerRules, mode_at
from pointsman.fleet.events import BreakerMoved, Effect, Force, Grant, Refuse, Report
from pointsman.fleet.values import DeploymentSpec
from pointsman.types import Breaker


def far(name: str = "far", **more: object) -> DeploymentSpec:
    return spec(name, 0, is_managed=False, **{"slots": 8, **more})


def play_of(*specs: DeploymentSpec, breaker: BreakerRules | None = None) -> Play:
    play = Play(*specs, rules=replace(RULES, breaker=breaker or BreakerRules()))
    for one in specs:
        play.started(one.id)
    return play


def report(play: Play, outcomes: str, name: str = "far", took_s: float = 0.1) -> list[Effect]:
    """`.` is a success, `x` a failure, `o` an overload, `t` a time-out."""
    effects: list[Effect] = []
    for outcome in outcomes:
        first_byte_s = took_s if outcome == "." else None
        event = Report(
            at_s=play.now_s,
            deployment_id=name,
            ok=outcome == ".",
            first_byte_s=first_byte_s,
            is_overload=outcome == "o",
            is_late=outcome == "t",
            began_s=play.now_s - took_s,
        )
        effects += play.send(event)
    return effects


def moves(effects: list[Effect]) -> list[tuple[Breaker, Breaker]]:
    return [(effect.before, effect.after) for effect in effects if isinstance(effect, BreakerMoved)]


def grants(effects: list[Effect]) -> int:
    return sum(isinstance(effect, Grant) for effect in effects)


def test_every_move_of_a_breaker_is_told_once_and_why() -> None:
    play = play_of(far())
    effects = report(play, "xxxxxx")
    assert moves(effects) == [(Breaker.CLOSED, Breaker.OPEN)]
    [opened] = [effect for effect in effects if isinstance(effect, BreakerMoved)]
    assert (opened.why, opened.retry_in_s) == ("5 calls in a row failed", 10.0)
    assert moves(play.pause(20)) == [(Breaker.OPEN, Breaker.HALF_OPEN)]
    assert moves(report(play, "....")) == [(Breaker.HALF_OPEN, Breaker.CLOSED)]


def test_a_half_open_breaker_lets_few_trials_through_and_the_others_wait_for_them() -> None:
    play = play_of(far())
    old = [play.busy("far") for _ in range(4)]  # streams from before: no trials
    report(play, "xxxxx")
    play.pause(10)
    assert [grants(play.want("far")) for _ in range(5)] == [1, 1, 1, 0, 0]
    for ticket in old:
        assert not grants(play.release("far", ticket))
    assert not grants(report(play, ".."))
    assert grants(report(play, ".")) == 2  # closed: whoever waits is let through


def test_a_last_resort_is_let_through_an_open_breaker() -> None:
    play = play_of(far())
    report(play, "xxxxx")
    assert [grants(play.want("far")) for _ in range(5)] == [1] * 5


def test_an_operator_closes_one_off_and_whoever_waits_is_told() -> None:
    play = play_of(far(slots=1))
    play.busy("far")
    assert not play.want("far")
    effects = play.send(Force(at_s=play.now_s, deployment_id="far", state=Breaker.FORCED_OPEN))
    assert moves(list(effects)) == [(Breaker.CLOSED, Breaker.FORCED_OPEN)]
    assert refusal(list(effects)).code == "upstream_unreachable"
    assert isinstance(play.want("far")[0], Refuse)
    report(play, "xxxxx")
    play.well("far")
    assert mode_at(play.of("far").breaker, play.now_s) is Breaker.FORCED_OPEN
    play.send(Force(at_s=play.now_s, deployment_id="far", state=None))
    assert mode_at(play.of("far").breaker, play.now_s) is Breaker.CLOSED


def test_one_forced_closed_is_asked_however_it_fails() -> None:
    play = play_of(far())
    play.send(Force(at_s=play.now_s, deployment_id="far", state=Breaker.FORCED_CLOSED))
    assert moves(report(play, "x" * 30)) == []


def test_slots_are_learned_from_where_it_says_enough() -> None:
    play = play_of(far(slots=16, min_slots=2))
    assert [grants(play.want("far")) for _ in range(3)] == [1, 1, 0]
    assert grants(report(play, ".")) == 1  # at the limit, and well: one more, who waits
    report(play, "oo")
    assert play.of("far").slots == 2
    assert mode_at(play.of("far").breaker, play.now_s) is Breaker.CLOSED
    play.pause(2)
    report(play, "ooooo")  # asked as little as may be, and still too much: now it is ill
    assert mode_at(play.of("far").breaker, play.now_s) is Breaker.OPEN


def test_a_server_that_hangs_is_ill_however_many_slots_it_has() -> None:
    play = play_of(far(slots=16, min_slots=4))
    while play.of("far").slots < 8:
        while play.of("far").in_flight < play.of("far").slots:
            play.busy("far")
        report(play, ".")
    before = play.of("far").slots
    report(play, "ttttt")
    assert play.of("far").slots < before
    assert mode_at(play.of("far").breaker, play.now_s) is Breaker.OPEN


def test_a_slow_answer_lowers_the_limit_where_slow_is_said_what_is() -> None:
    play = play_of(far(slots=16, min_slots=1), breaker=BreakerRules(slow_call_s=1.0))
    for _ in range(4):
        play.busy("far")
        report(play, ".")
    assert play.of("far").slots == 5
    report(play, ".", took_s=2.0)
    assert play.of("far").slots == 3


def test_usual_latency_believes_a_worse_call_at_once_and_better_ones_by_and_by() -> None:
    play = play_of(far())
    report(play, ".", took_s=1.0)
    play.pause(1)
    report(play, ".", took_s=0.1)
    assert 0.9 < (play.of("far").latency_s or 0) < 1.0
    play.pause(60)
    report(play, ".", took_s=0.1)
    assert (play.of("far").latency_s or 0) < 0.11
    report(play, ".", took_s=3.0)
    assert play.of("far").latency_s == 3.0


def test_one_of_three_instances_that_fails_far_more_is_left_alone() -> None:
    names = ("m-1", "m-2", "m-3")
    play = play_of(*(replace(far(name), model_id="m", instances=3) for name in names))
    for _ in range(6):
        report(play, "..", "m-1")
        report(play, ".x", "m-2")
        report(play, "..", "m-3")
    play.pause(10)
    effects = report(play, ".", "m-1")
    assert moves(effects) == [(Breaker.CLOSED, Breaker.OPEN)]
    assert mode_at(play.of("m-2").breaker, play.now_s) is Breaker.OPEN
    assert "an outlier: 6 of its last 12 calls failed" in play.of("m-2").breaker.why
    play.pause(10)
    assert moves(report(play, "...", "m-2")) == [(Breaker.HALF_OPEN, Breaker.CLOSED)]
