"""Off-policy estimates where the truth is known: covered, exact where nothing moves, refused without data."""

import math

import numpy as np
import pytest

from pointsman.learning import offpolicy
from pointsman.learning.offpolicy import LEAST, LEAST_REQUESTS, Floats, Interval, Log, bernstein, estimate, supported

TRUTH = np.array([[0.8, 0.6, 0.3], [0.4, 0.7, 0.6]])  # mean outcome by cell and model


def day(seed: int, n: int = 600, epsilon: float = 0.3, judged: float = 1.0) -> tuple[Log, Floats]:
    """Two cells, three models. The old policy prefers model 0 and tries the others; the new one prefers model 1."""
    chance = np.random.default_rng(seed)
    cell = chance.integers(0, 2, n)
    old = np.tile([1 - epsilon, 0.6 * epsilon, 0.4 * epsilon], (n, 1))
    new = np.tile([0.1, 0.9, 0.0], (n, 1))
    chosen = (chance.random(n)[:, None] > old.cumsum(1)).sum(1)
    outcomes = (chance.random(n) < TRUTH[cell, chosen]).astype(float)
    outcomes[chance.random(n) >= judged] = math.nan
    return Log(chosen=chosen, old=old, new=new, cells=np.stack([cell, np.zeros(n, int)])), outcomes


VALUE = float((TRUTH @ [0.1, 0.9, 0.0]).mean())
CHANGE = VALUE - float((TRUTH @ [0.7, 0.18, 0.12]).mean())


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("judged", [1.0, 0.4])
def test_intervals_hold_the_truth_as_often_as_they_say(judged: float) -> None:
    found = [estimate(*day(seed, judged=judged)) for seed in range(300)]
    for name, truth in (("dr", VALUE), ("ips", VALUE), ("snips", VALUE), ("change", CHANGE)):
        share = sum(holds(getattr(one, name), truth) for one in found) / len(found)
        assert 0.91 <= share <= 0.99, name
    widths = {
        name: np.mean([getattr(one, name).high - getattr(one, name).low for one in found]) for name in ("dr", "ips")
    }
    assert widths["dr"] < widths["ips"]
    assert abs(np.mean([one.dr.value for one in found]) - VALUE) < 0.01


def test_without_chance_the_means_of_the_cells_speak_and_their_own_error_counts() -> None:
    """Old: model 0 or 1 by the order of arrival, no chance told; new: always 1."""
    covered = 0
    for seed in range(300):
        log, _ = day(seed)
        chance = np.random.default_rng(seed)
        chosen = np.arange(600) % 10 // 9  # one in ten
        sure = np.eye(3)[chosen]
        outcomes = (chance.random(600) < TRUTH[log.cells[0], chosen]).astype(float)
        found = estimate(
            Log(chosen=chosen, old=sure, new=np.tile([0.0, 1.0, 0.0], (600, 1)), cells=log.cells), outcomes
        )
        covered += holds(found.dr, float(TRUTH[:, 1].mean()))
        assert found.support.model == pytest.approx(0.9)
    assert 0.91 <= covered / 300 <= 0.99


def test_what_stays_is_known_exactly() -> None:
    log, outcomes = day(0)
    same = estimate(
        Log(chosen=log.chosen, old=np.eye(3)[log.chosen], new=np.eye(3)[log.chosen], cells=log.cells), outcomes
    )
    assert (same.change.value, same.change.low, same.change.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert same.dr.value == pytest.approx(outcomes.mean())
    assert same.support.stays == 1.0


def test_other_prices_are_a_change_without_chance() -> None:
    log, outcomes = day(0)
    sure = np.eye(3)[log.chosen]
    doubled = estimate(Log(chosen=log.chosen, old=sure, new=sure, cells=log.cells), 2 * outcomes, before=outcomes)
    assert doubled.change.value == pytest.approx(outcomes.mean())
    assert doubled.old.value == pytest.approx(outcomes.mean())


def test_what_is_known_beforehand_need_not_be_estimated() -> None:
    """An outcome that is nothing but a known price is carried over to the other model without any error."""
    log, _ = day(0)
    size = 1000 * np.random.default_rng(1).random(600)
    prices = size[:, None] * [1.0, 3.0, 9.0]
    found = estimate(log, prices[np.arange(600), log.chosen], known=prices)
    assert found.dr.value == pytest.approx((log.new * prices).sum(1).mean())
    blind = estimate(log, prices[np.arange(600), log.chosen])
    assert blind.dr.high - blind.dr.low > found.dr.high - found.dr.low


def test_what_nothing_speaks_of_is_left_out() -> None:
    """Model 2 was never tried in cell 1, nor anywhere else often enough."""
    log, outcomes = day(0)
    chosen = np.zeros(600, int)
    new = np.where(log.cells[0][:, None] == 1, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    never = Log(chosen=chosen, old=np.eye(3)[chosen], new=new, cells=log.cells)
    assert (supported(never, outcomes) == (log.cells[0] == 0)).all()
    found = estimate(never, outcomes)
    assert found.support.none == pytest.approx(log.cells[0].mean())
    assert found.requests == (log.cells[0] == 0).sum()


def test_a_mean_needs_enough_outcomes() -> None:
    _, outcomes = day(0, n=200)
    for count, enough in ((LEAST - 1, False), (LEAST, True)):
        chosen = np.zeros(200, int)
        chosen[:count] = 1
        flat = Log(
            chosen=chosen, old=np.eye(3)[chosen], new=np.tile([0.0, 1.0, 0.0], (200, 1)), cells=np.zeros((1, 200), int)
        )
        assert supported(flat, outcomes)[count:].all() == enough


def test_too_few_outcomes_are_refused() -> None:
    log, outcomes = day(0)
    outcomes[LEAST_REQUESTS - 1 :] = math.nan
    found = estimate(log, outcomes)
    assert "at least 30 are needed" in found.refused
    assert math.isnan(found.dr.value)
    assert estimate(log.take(slice(0, 0)), outcomes[:0]).refused


def test_clipping_is_told() -> None:
    log, outcomes = day(0)
    free, cut = estimate(log, outcomes), estimate(log, outcomes, clip=2.0)
    assert free.support.largest_weight == pytest.approx(0.9 / 0.18)
    assert free.support.clipped == 0
    assert cut.support.clipped == pytest.approx((log.chosen == 1).mean())
    assert cut.ips.value < free.ips.value
    assert free.support.ess < 600


def test_the_sure_interval_is_wider() -> None:
    values = np.random.default_rng(0).random(400)
    sure = bernstein(values, width=1.0)
    assert sure.low < values.mean() - 2 * values.std() / 20
    assert sure.high > 0.5 > sure.low
    assert sure.value == pytest.approx(values.mean())


@pytest.mark.parametrize(("freedom", "quantile"), [(4, 2.776), (10, 2.228), (30, 2.042), (1e6, 1.960)])
def test_students_quantiles(freedom: float, quantile: float) -> None:
    assert offpolicy._student(0.975, freedom) == pytest.approx(quantile, abs=0.02)
