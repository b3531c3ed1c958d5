"""The comparisons of eviction policies: the plain caches are right, and the fleet beats a plain swapper."""

from itertools import pairwise, product

import pytest
from bench.fleet.caches import belady, by_policy, prewarmed
from bench.fleet.swapper import fleet, swapper
from bench.fleet.traces import abcabc, part

ZIPF = [chr(97 + (i * i * 7919 + i // 3) % (1 + i % 9)) for i in range(400)]


def test_belady_and_lru_by_hand() -> None:
    models = list("abcabcabc")
    assert by_policy(models, 2, "lru") == 9
    assert belady(models, 2) == 6
    assert by_policy(models, 3, "lru") == belady(models, 3) == 3


@pytest.mark.parametrize(("policy", "slots"), [*product(["lru", "lfu", "cost_aware"], [1, 2, 4])])
def test_nobody_beats_the_bound(policy: str, slots: int) -> None:
    assert len(set(ZIPF)) <= belady(ZIPF, slots) <= by_policy(ZIPF, slots, policy) <= len(ZIPF)
    misses, loads = prewarmed(ZIPF, slots, sure=0.5)
    assert misses <= loads


def test_a_sure_successor_is_loaded_before_it_is_asked_for() -> None:
    turns = list("abcabc" * 20)
    misses, loads = prewarmed(turns, 2, sure=0.9)
    assert misses < by_policy(turns, 2, "cost_aware")
    assert loads > misses


def test_part_takes_rows_in_a_row() -> None:
    some = part(abcabc(4, every_s=1, patience_s=9), 3, 6)
    assert (list(some.at_s), some.models) == ([3, 4, 5], ["A", "B", "C"])


def test_the_fleet_answers_what_a_plain_swapper_thrashes_on() -> None:
    trace = abcabc(100, every_s=1, patience_s=60)
    plain, ours = swapper(trace, 2), fleet(trace, 2)
    assert plain.answered + plain.refused == ours.answered + ours.refused == 300
    assert (ours.answered, ours.refused) == (300, 0)
    assert plain.refused > 0
    assert ours.loads < plain.loads / 2
    assert ours.p95_wait_s < plain.p95_wait_s / 4


def test_both_agree_where_there_is_room_for_all() -> None:
    trace = abcabc(50, every_s=1, patience_s=60)
    assert swapper(trace, 3) == fleet(trace, 3)
    assert all(later > earlier for earlier, later in pairwise(trace.at_s))
