"""The soak's judge: what leaks is seen, what only breathes is not."""

import os

import pytest
from bench.fleet.serving import Ended
from bench.soak import Findings, Sample, growth_mb, hears_hangup, label_values, new_values

WELL = Ended(code=0, took_s=0.1, left=())


def samples(*sizes_mb: float, values: int = 500, minted: int = 0) -> list[Sample]:
    return [
        Sample(at_s=2.0 * at, rss_bytes=int(size * 1e6), files=20, threads=5, series=900, values=values + minted * at)
        for at, size in enumerate(sizes_mb)
    ]


def test_growth_is_the_line_through_it() -> None:
    assert growth_mb(samples(100, 101, 102, 103)) == pytest.approx(3)
    assert growth_mb(samples(103, 102, 101)) == pytest.approx(-2)
    assert abs(growth_mb(samples(*[100, 104] * 100))) < 0.2  # it breathes
    assert growth_mb(samples(100)) == growth_mb([]) == 0


def test_each_violation_is_found() -> None:
    warm = [50, 90, 100]  # the first third is not looked at
    fine = Findings(samples=samples(*warm, *[100] * 6), ended=WELL)
    fine.said.update({"chat: answered": 5, "leave: left": 2, "chat: plan_exhausted": 3})
    assert fine.violations() == []
    for changes, words in (
        ({"samples": samples(*warm, 100, 102, 104, 106, 108, 110)}, "memory grew by 1"),
        ({"samples": samples(*[100] * 9, minted=10)}, "traffic minted 50 label values"),
        ({"left_over": (1, 0)}, "1 leases and 0 wants"),
        ({"ended": Ended(code=-9, took_s=1, left=())}, "exit code -9"),
        ({"tracebacks": 1}, "1 tracebacks"),
    ):
        found = Findings(samples=fine.samples, ended=WELL)
        for name, value in changes.items():
            setattr(found, name, value)
        assert [said for said in found.violations() if words in said], words
    for wrong in ("stream: ! torn", "chat: internal_error", "chat: ! TimeoutError"):
        found = Findings(samples=fine.samples, ended=WELL)
        found.said[wrong] += 1
        assert found.violations() == [f"1 times {wrong}"]


def test_values_are_counted_from_the_end_of_the_warm_up() -> None:
    assert new_values(Findings(samples=samples(*[100] * 9, minted=10)).later) == 50
    assert new_values([]) == 0
    lines = ['a{model="m",le="1"} 2', 'a{model="m",le="2"} 3', 'b{model="m",task="code"} 1', "c 1"]
    assert label_values(lines) == 2


def test_whether_a_process_hears_a_hangup() -> None:
    assert hears_hangup(os.getpid()) is False
