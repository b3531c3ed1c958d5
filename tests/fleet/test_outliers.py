"""Which instance is far off the others."""

import random

from hypothesis import given
from hypothesis import strategies as st

from pointsman.fleet.outliers import FEWEST_CALLS, Figures, outliers


def seen(name: str, failed: int = 0, latency_s: float | None = 0.2, calls: int = 20, *, out: bool = False) -> Figures:
    return Figures(id=name, seen=calls, failed=failed, latency_s=latency_s, is_out=out)


def names(*instances: Figures, share: float = 0.3) -> list[str]:
    return [name for name, _ in outliers(instances, share)]


def test_who_fails_far_more_than_the_others_stands_out_and_why_is_said() -> None:
    [(name, why)] = outliers([seen("a"), seen("b", failed=7), seen("c", failed=1)], 0.3)
    assert name == "b"
    assert why == "7 of its last 20 calls failed, of the other instances' 1 of 40"
    assert names(seen("a"), seen("b", failed=3), seen("c")) == []  # chance
    assert names(seen("a", failed=9), seen("b", failed=9), seen("c", failed=8)) == []  # all of them: no outlier


def test_who_lags_far_behind_stands_out() -> None:
    assert names(seen("a"), seen("b", latency_s=0.3), seen("c", latency_s=2.0)) == ["c"]
    assert names(seen("a", latency_s=0.01), seen("b", latency_s=0.01), seen("c", latency_s=0.1)) == []  # who would care
    assert names(seen("a", latency_s=None), seen("b"), seen("c", latency_s=9.0)) == []  # too few to compare with


def test_two_can_tell_nothing_nor_can_a_few_calls() -> None:
    assert names(seen("a"), seen("b", failed=20)) == []
    assert names(seen("a"), seen("b", failed=9, calls=FEWEST_CALLS - 1), seen("c")) == []


def test_no_more_than_a_share_is_out_but_one_may_be_the_worst_first() -> None:
    crowd = [seen(f"well{i}") for i in range(8)]
    ill = [seen("bad", failed=10), seen("worse", failed=20)]
    assert names(*crowd, *ill, share=0.3) == ["worse", "bad"]
    assert names(*crowd, *ill, share=0.1) == ["worse"]
    assert names(*crowd, *ill, seen("gone", out=True), share=0.1) == []
    assert names(seen("a"), seen("b", failed=20), seen("c"), share=0.01) == ["b"]


figures = st.builds(
    seen,
    name=st.uuids().map(str),
    failed=st.integers(0, 20),
    latency_s=st.none() | st.floats(0.001, 30),
    out=st.booleans(),
)


@given(st.lists(figures, max_size=12), st.floats(0.05, 0.9))
def test_most_instances_are_always_left(instances: list[Figures], share: float) -> None:
    found = names(*instances, share=share)
    out = {one.id for one in instances if one.is_out}
    assert not out & set(found)
    assert len(found) + len(out) <= max(1, len(out), int(share * len(instances)))
    if len(instances) < 3:
        assert not found


@given(st.integers(3, 9), st.integers(0, 20), st.floats(0.001, 30))
def test_none_of_those_that_are_alike_stands_out(count: int, failed: int, latency_s: float) -> None:
    assert names(*(seen(str(i), failed, latency_s) for i in range(count)), share=0.9) == []


@given(st.permutations([seen("a"), seen("b", failed=20), seen("c"), seen("d", latency_s=5.0), seen("e")]))
def test_the_order_does_not_matter(instances: list[Figures]) -> None:
    assert names(*instances, share=0.5) == ["b", "d"]


def test_chance_alone_seldom_leaves_anybody_out() -> None:
    """Instances that fail alike, 20 calls each, looked at 4,000 times: fewer than one look in a hundred errs."""
    rng = random.Random(5)
    for share in (0.05, 0.2, 0.5):
        looks = [[seen(str(i), sum(rng.random() < share for _ in range(20))) for i in range(3)] for _ in range(4000)]
        assert sum(bool(names(*look)) for look in looks) < 40
