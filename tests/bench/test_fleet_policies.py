"""The comparisons of eviction policies: the plain caches are right, and the fleet beats a plain swapper."""

from itertools import pairwise, product
from pathlib import Path

import pytest
from bench.fleet.caches import belady, by_policy, by_rates, prewarmed
from bench.fleet.page import rewrite
from bench.fleet.speed import CASES, DEADLINE_S, table
from bench.fleet.swapper import PLAIN, fleet, swapper
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


def test_plain_lru_in_the_machine_stands_between_the_two() -> None:
    """Answered: as many as the fleet; loaded: more often, for it never waits for the better victim."""
    trace = abcabc(100, every_s=2, patience_s=60)
    plain, middle, ours = swapper(trace, 2), fleet(trace, 2, PLAIN), fleet(trace, 2)
    assert (plain.answered, middle.answered, ours.answered) == (300, 300, 300)
    assert ours.thrash < middle.thrash <= plain.thrash == 297


def test_both_agree_where_there_is_room_for_all() -> None:
    trace = abcabc(50, every_s=1, patience_s=60)
    assert swapper(trace, 3) == fleet(trace, 3)
    assert all(later > earlier for earlier, later in pairwise(trace.at_s))


def test_rates_of_forgetting() -> None:
    """A count that forgets at once knows the last use alone: LRU."""
    assert by_rates(ZIPF, 4, {0.05: 1.0}) == by_policy(ZIPF, 4, "lru")
    assert by_rates(ZIPF, 4, {40.0: 1.0}) == by_policy(ZIPF, 4, "lfu")
    assert belady(ZIPF, 4) <= by_rates(ZIPF, 4, {4.0: 1.0, 40.0: 0.2}) <= len(ZIPF)


def test_tables_stand_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a:begin -->\nold\n<!-- a:end -->\nafter\n<!-- b:begin -->\n<!-- b:end -->\n")
    rewrite(page, "b", "| x |\n")
    rewrite(page, "a", "new")
    assert page.read_text() == (
        "before\n<!-- a:begin -->\nnew\n<!-- a:end -->\nafter\n<!-- b:begin -->\n| x |\n<!-- b:end -->\n"
    )
    with pytest.raises(ValueError, match="substring"):
        rewrite(page, "c", "lost")


def test_speed_is_a_row_a_trace_and_nobody_waits_beyond_the_deadline() -> None:
    head, _, *rows = table(1000)
    assert len(rows) == len(CASES)
    assert {row.count("|") for row in rows} == {head.count("|")}
    assert all(float(row.split("|")[5]) <= DEADLINE_S for row in rows)
