"""The simulation: the same misses as a plain cache where that is meant to be so, and the trace's own times."""

from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.fleet.simulate import Trace, play
from pointsman.fleet.values import Rules

FAR_APART_S = 100.0
UNGUARDED = Rules(min_resident_s=0, eviction="lru")


def trace(models: str, *, every_s: float = FAR_APART_S, service_s: float = 1, load_s: float = 2) -> Trace:
    n = len(models)
    return Trace(
        at_s=[i * every_s for i in range(n)], models=list(models), service_s=[service_s] * n, load_s=[load_s] * n
    )


def lru_misses(models: str, slots: int) -> int:
    cache: OrderedDict[str, None] = OrderedDict()
    misses = 0
    for model in models:
        if model not in cache:
            misses += 1
            if len(cache) == slots:
                cache.popitem(last=False)
        cache[model] = None
        cache.move_to_end(model)
    return misses


@settings(deadline=None, max_examples=60)
@given(st.text("abcdef", max_size=60), st.integers(1, 4))
def test_far_apart_requests_miss_exactly_where_a_plain_cache_does(models: str, slots: int) -> None:
    played = play(trace(models), slots, UNGUARDED)
    assert played.misses == lru_misses(models, slots) == played.loads
    assert played.evictions == max(0, played.misses - slots)
    assert played.refused == 0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 200), st.sampled_from("abcd"), st.floats(0, 30), st.floats(0, 20)), max_size=40),
    st.sampled_from(["lru", "lfu", "cost_aware"]),
)
def test_everybody_is_served_whatever_the_policy(rows: list[tuple[float, str, float, float]], policy: str) -> None:
    rows.sort()
    at_s, models, service_s, load_s = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    one = Trace(at_s=at_s, models=models, service_s=service_s, load_s=load_s)
    played = play(one, 2, Rules(eviction=policy))
    assert (played.requests, played.refused) == (len(rows), 0)
    assert played.evictions <= played.misses == played.loads <= len(rows)
    assert 0 <= played.wait_s.p50 <= played.wait_s.p95 <= played.wait_s.p99 <= played.wait_s.max
    assert played.wait_s.max <= sum(service_s) + sum(load_s) + 60 * len(rows)


def test_times_are_the_traces_own() -> None:
    played = play(trace("aab", every_s=0.5, service_s=3, load_s=2), 1, Rules(min_resident_s=10))
    # a loads until 2, serves until 5 and 8; its churn guard ends at 12, b is there at 14, and came at 1
    assert (played.wait_s.max, played.misses, played.loads, played.load_s) == (13.0, 2, 2, 4.0)
    assert played.wait_s.p50 == 4.5
    assert played.wait_s.p95 == pytest.approx(4.5 + 0.9 * 8.5)


def test_parallel_requests_share_a_model() -> None:
    assert play(trace("aa", every_s=0, load_s=0), 1, UNGUARDED).wait_s.max == 1
    assert play(trace("aa", every_s=0, load_s=0), 1, UNGUARDED, slots=2).wait_s.max == 0


@pytest.mark.parametrize("policy", ["lru", "cost_aware"])
def test_a_model_that_is_never_idle_starves_nobody(policy: str) -> None:
    """The bound: max_wait_s until the hot one closes, its longest call, the load, all once more for who came back."""
    rows = sorted([(float(at_s), "hot") for at_s in range(300)] + [(50.5, "rare"), (120.5, "rare")])
    n = len(rows)
    one = Trace(
        at_s=[at_s for at_s, _ in rows], models=[name for _, name in rows], service_s=[3.0] * n, load_s=[2.0] * n
    )
    played = play(one, 1, Rules(eviction=policy), slots=8)
    assert played.loads == played.misses == 5
    assert 30 <= played.wait_s.max <= 30 + 3 + 2


def test_nobody_waits_past_a_deadline() -> None:
    late = Trace(at_s=[0, 1], models=["a", "a"], service_s=[50, 1], load_s=[2, 2], deadline_s=[100, 10])
    played = play(late, 1, UNGUARDED)
    assert (played.refused, played.wait_s.max, played.requests) == (1, 2.0, 2)


def test_sizes_count_against_a_budget_and_what_never_fits_is_refused() -> None:
    sized = Trace(
        at_s=[0, 100, 200, 300],
        models=["a", "b", "c", "a"],
        service_s=[1] * 4,
        load_s=[1] * 4,
        size_bytes=[60, 40, 200, 1],
    )
    played = play(sized, 100, UNGUARDED)
    assert (played.refused, played.evictions, played.loads) == (1, 0, 2)


def test_an_empty_trace_is_over_at_once() -> None:
    assert play(trace(""), 4, Rules()).miss_ratio == 0
