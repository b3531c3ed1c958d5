"""Evidence: exact where outcomes are bounded, whatever the number of looks; as good as its paper where they are not."""

import itertools
import math
import random
from functools import partial

import pytest

from pointsman.experiments.evidence import (
    Line,
    Moments,
    Tally,
    evidence_above,
    evidence_below,
    excess_interval,
    excess_of,
    loss_interval,
    loss_of,
    ratio_interval,
)
from pointsman.experiments.verdict import Patience


def tally(ones: int, n: int) -> Tally:
    found = Tally()
    if ones:
        found.add(1.0, ones)
    if n - ones:
        found.add(0.0, n - ones)
    return found


def chance(ones: int, n: int, p: float) -> float:
    return math.comb(n, ones) * p**ones * (1 - p) ** (n - ones)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("line", [loss_of(0.0), loss_of(0.2), excess_of(0.05)])
def test_the_smallest_samples_err_no_more_than_said(p: float, line: Line) -> None:
    """Exactly, by enumeration of all outcomes of two small arms on the line itself."""
    n, alpha = 14, 0.2
    for evidence in (evidence_below, evidence_above):
        wrong = sum(
            chance(one, n, p) * chance(other, n, line.at(p))
            for one, other in itertools.product(range(n + 1), repeat=2)
            if evidence(tally(one, n), tally(other, n), line) >= math.log(1 / alpha)
        )
        assert wrong <= alpha


def test_watching_after_every_outcome_does_not_find_what_is_not_there() -> None:
    """200 pairs of equal arms, 400 looks each, at 20 %: a fixed-sample test at that level errs in most of them."""
    chances, alpha, found, naive = random.Random(7), 0.2, 0, 0
    for _ in range(200):
        arms = (Tally(), Tally())
        patience, evidence = Patience(), partial(evidence_below, *arms, Line())
        is_found = is_naive = False
        for n in range(400):
            arms[n % 2].add(float(chances.random() < 0.3))
            is_found = is_found or patience.proves("worse", n, alpha, evidence)
            z = (arms[0].mean - arms[1].mean) / math.sqrt(2 * 0.21 / max(1, n / 2))
            is_naive = is_naive or (n > 20 and z > 0.84)
        found, naive = found + is_found, naive + is_naive
    assert found / 200 <= alpha
    assert naive / 200 > 2 * alpha


def test_patience_decides_as_if_one_looked_each_time() -> None:
    chances = random.Random(3)
    for _ in range(20):
        arms = (Tally(), Tally())
        patience, evidence = Patience(), partial(evidence_below, *arms, Line())
        first = second = 0
        for n in range(1, 600):
            arms[n % 2].add(float(chances.random() < (0.8, 0.5)[n % 2]))
            first = first or (n if evidence() >= math.log(100) else 0)
            second = second or (n if patience.proves("x", n, 0.01, evidence) else 0)
        assert first
        assert abs(first - second) <= 1


def test_intervals_hold_the_estimate_and_shrink() -> None:
    widths = []
    for n in (50, 500, 5000):
        found = loss_interval(tally(8 * n // 10, n), tally(7 * n // 10, n), 0.05)
        assert found.low < 0.125 < found.high
        widths.append(found.high - found.low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]
    assert found.low > 0.08
    excess = excess_interval(tally(10, 1000), tally(60, 1000), 0.05)
    assert 0.02 < excess.low < 0.05 < excess.high < 0.09


def test_a_gain_may_be_more_than_all_there_was() -> None:
    found = loss_interval(tally(100, 1000), tally(500, 1000), 0.05)
    assert found.low < -4 < found.high < -2


def test_nothing_known_is_everything_possible() -> None:
    assert loss_interval(Tally(), Tally(), 0.05) == (-1.0, 1.0)
    assert ratio_interval(Moments(), Moments(), 0.05) == (0.0, math.inf)


def test_what_is_taken_back_never_was() -> None:
    one, two = tally(3, 5), tally(3, 5)
    one.add(0.25)
    one.take(0.25)
    one.take(0.5)
    assert one == two
    assert one.mean == 0.6


def test_scores_between_speak_as_their_mean_with_less_noise() -> None:
    scores, thumbs = Tally(), tally(6, 10)
    scores.add(0.6, 10)
    better = tally(9, 10)
    assert scores.mean == thumbs.mean
    assert evidence_below(better, scores, Line()) > evidence_below(better, thumbs, Line())


def test_the_typical_ratio_is_covered_though_watched() -> None:
    chances, missed = random.Random(5), 0
    for _ in range(100):
        arms = Moments(), Moments()
        is_missed = False
        for n in range(1500):
            arms[n % 2].add(math.exp(chances.gauss((0.0, 0.3)[n % 2], 0.6)))
            if n % 5 == 0:
                found = ratio_interval(*arms, 0.1)
                is_missed = is_missed or not found.low <= math.exp(0.3) <= found.high
        missed += is_missed
        assert found.high / found.low < 1.5
    assert missed <= 10
    arms[0].add(0.0)
    assert arms[0].n == 750
