"""Recovered gap, quality for money, resampling: checked against cases with known answers."""

import numpy as np
import pytest

from pointsman.learning.measures import aiq, apgr, calls_needed, hull, recovered, resampled

WEAK = np.array([1.0, 0.0, 1.0, 0.0])
STRONG = np.array([1.0, 1.0, 1.0, 1.0])


def test_the_oracle_recovers_the_gap_first() -> None:
    oracle = STRONG - WEAK
    assert recovered(oracle, WEAK, STRONG).tolist() == [0, 0.5, 1, 1, 1]
    assert apgr(oracle, WEAK, STRONG) == pytest.approx(0.75)
    assert apgr(-oracle, WEAK, STRONG) == pytest.approx(0.25)
    assert calls_needed(oracle, WEAK, STRONG, 0.5) == 0.25
    assert calls_needed(oracle, WEAK, STRONG, 0.8) == 0.5


def test_a_key_that_knows_nothing_recovers_as_chance_does() -> None:
    assert apgr(np.zeros(4), WEAK, STRONG) == pytest.approx(0.5)
    assert recovered(np.zeros(4), WEAK, STRONG) == pytest.approx(np.linspace(0, 1, 5))


def test_ties_do_not_depend_on_the_order_of_rows() -> None:
    key = np.array([2.0, 1.0, 1.0, 0.0])
    backwards = apgr(key[::-1], WEAK[::-1], STRONG[::-1])
    assert apgr(key, WEAK, STRONG) == pytest.approx(backwards)


def test_no_gap_has_no_share() -> None:
    assert np.isnan(apgr(np.arange(4.0), WEAK, WEAK))


def test_the_hull_leaves_out_what_mixtures_beat() -> None:
    costs, qualities = hull(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.2, 0.3, 0.8, 0.7]))
    assert costs.tolist() == [1, 3]
    assert qualities.tolist() == [0.2, 0.8]


def test_aiq_is_the_mean_height_of_the_hull() -> None:
    assert aiq(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.0, 1.0) == pytest.approx(0.5)
    assert aiq(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]), 0.0, 1.0) == pytest.approx(0.75, abs=1e-3)
    assert aiq(np.array([0.0]), np.array([0.4]), 0.0, 1.0) == pytest.approx(0.4)


def test_intervals_cover_and_are_seeded() -> None:
    values = np.random.default_rng(0).random(400)
    found = resampled(lambda rows: float(values[rows].mean()), 400, seed=1)
    assert found == resampled(lambda rows: float(values[rows].mean()), 400, seed=1)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
