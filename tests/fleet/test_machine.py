"""Each rule of the machine by an example; `tests/machine` tries every order of events."""

from tests.fleet.playing import Play, refusal, spec

from pointsman.fleet.estimates import ready_in_s
from pointsman.fleet.events import Grant, Loaded, Measured, Start, Stop, Unloading
from pointsman.fleet.values import Phase, Why

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
