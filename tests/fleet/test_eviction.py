"""Who is worth keeping, and how long a load waits for it."""

from hypothesis import given
from hypothesis import strategies as st
from tests.fleet.playing import Play, spec

from pointsman.fleet.events import Start, Stop
from pointsman.fleet.eviction import POLICIES, Demand, Record
from pointsman.fleet.values import Rules, Why


def record(*uses: int, now: int = 100, idle_s: float = 10, size: int = 100, reload_s: float = 4) -> Record:
    demand = Demand()
    for use in uses:
        demand = demand.after(use)
    return Record(demand=demand, wants=now, idle_s=idle_s, size_bytes=size, reload_s=reload_s)


def worth(policy: str, one: Record) -> float:
    return POLICIES[policy].worth(one)


def test_lru_sees_recency_alone() -> None:
    assert worth("lru", record(1, 2, 3, idle_s=9)) < worth("lru", record(99, idle_s=1))


def test_lfu_counts_and_forgets() -> None:
    assert worth("lfu", record(80, 82, 84)) > worth("lfu", record(99))
    assert worth("lfu", record(1, 2, 3, now=400)) < worth("lfu", record(390, now=400))


def test_cost_aware_keeps_the_popular_one_over_the_one_just_used() -> None:
    popular = record(*range(0, 90, 3))
    assert worth("cost_aware", popular) > worth("cost_aware", record(93))
    assert worth("cost_aware", popular) < worth("cost_aware", record(94, 96, 98, 100))


def test_cost_aware_keeps_what_is_small_and_slow_to_load() -> None:
    assert worth("cost_aware", record(90, size=50)) == 2 * worth("cost_aware", record(90, size=100))
    assert worth("cost_aware", record(90, reload_s=64)) == 2 * worth("cost_aware", record(90, reload_s=4))


@given(st.lists(st.integers(1, 1000), max_size=20).map(sorted), st.sampled_from(["lfu", "cost_aware"]))
def test_worth_falls_with_age_and_rises_with_use(uses: list[int], policy: str) -> None:
    now, later = worth(policy, record(*uses, now=1000)), worth(policy, record(*uses, now=1010))
    assert now >= later >= 0
    assert worth(policy, record(*uses, 1000, now=1000)) > now


# ------------------------------------------------------------ in the machine


def popular_idle_and_rare_busy(rules: Rules) -> Play:
    """Room for two; `hot` has been asked for often and is idle, `rare` once and is busy."""
    play = Play(spec("hot", 50), spec("rare", 50), spec("new", 50), rules=rules)
    play.ready("hot", "rare", load_s=8)
    play.pause(10)
    for _ in range(5):
        play.release("hot", play.busy("hot"))
    play.busy("rare")
    return play


def test_a_load_waits_for_a_busy_one_that_is_worth_less_than_the_idle_one() -> None:
    play = popular_idle_and_rare_busy(Rules())
    rare = play.tickets
    assert play.want("new") == []
    play.now_s += 3
    assert play.release("rare", rare)[0] == Stop(deployment_id="rare", life=1)
    assert play.stopped("rare") == [Start(deployment_id="new", life=1)]


def test_it_waits_no_longer_than_loading_the_idle_one_again_would_take() -> None:
    play = popular_idle_and_rare_busy(Rules())
    assert play.want("new") == []
    assert play.pause(7.9) == []
    assert play.pause(0.2)[0] == Stop(deployment_id="hot", life=1)


def test_plain_policies_do_not_wait() -> None:
    for name in ("lru", "lfu"):
        play = popular_idle_and_rare_busy(Rules(eviction=name))
        assert play.want("new")[0] == Stop(deployment_id="hot", life=1)


def room_for_one_and_b_starves(*, before: int, after: int) -> Play:
    """`a` is busy, one slot; so many wait for it who came before `b` did, and after."""
    play = Play(spec("a", 60), spec("b", 60), rules=Rules(max_wait_s=4, min_resident_s=1))
    play.ready("a", load_s=1)
    play.busy("a")
    for _ in range(before):
        play.want("a")
    play.pause(0.1)
    play.want("b")
    play.pause(0.1)
    for _ in range(after):
        play.want("a")
    return play


def test_a_load_serves_its_queue_for_a_while_even_where_somebody_starves() -> None:
    play = room_for_one_and_b_starves(before=0, after=1)
    play.pause(4.5)  # b has starved since 4.1, but a was loaded 4.7 s ago: less than max_wait_s and its load time
    assert play.of("a").closing is None
    play.pause(0.5)
    assert play.of("a").closing is Why.EVICTED
    assert play.release("a", 2)[0] == Stop(deployment_id="a", life=1)
    assert play.stopped("a") == [Start(deployment_id="b", life=1)]
    assert play.of("a").queue


def test_the_starved_wait_for_those_who_came_first() -> None:
    play = room_for_one_and_b_starves(before=1, after=1)
    play.pause(20)
    assert play.of("a").closing is None
    assert play.release("a", 2)
    play.take("a", 3)
    assert play.of("a").closing is Why.EVICTED  # the next in line came after b
    assert play.release("a", 3)[0] == Stop(deployment_id="a", life=1)
    assert play.stopped("a") == [Start(deployment_id="b", life=1)]


def test_only_wants_for_managed_deployments_count() -> None:
    play = Play(spec("a"), spec("far", 0, is_managed=False))
    play.want("a")
    play.started("far")
    play.want("far")
    assert play.state.wants == 1
    play.want("a")
    assert (play.state.wants, play.of("a").demand.at, play.of("far").demand) == (2, 2, Demand())
