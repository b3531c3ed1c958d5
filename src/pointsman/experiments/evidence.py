"""How strongly two arms' outcomes speak, in figures that stay valid however often one looks. Pure.

Knows: counts and moments of two arms. Does not know: what was measured, what is done about it.

Outcomes in [0, 1] (a verdict, a failure): testing by betting. For one arm and one assumed mean m the wealth of a
gambler who stakes λ on every outcome above m, Π(1 + λ(y − m)), or below it, Π(1 − λ(y − m)), is a martingale if m is
right; so is its mean over a fixed grid of λ (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random
variables by betting", JRSS-B 86(1); the method of mixtures is Robbins 1970). Two arms' wealths multiply, and where only
a relation between the means is assumed, the least product over all means that satisfy it is an e-process: the chance
that it ever reaches 1/α is at most α (Ville 1939). No sample is too small for that, and nothing is approximated; wealth
depends on the counts alone, so late outcomes may come in any order.

Positive outcomes without a ceiling (seconds, money): the mixture sequential probability ratio test on the mean of
logarithms (Johari, Koomen, Pekelis, Walsh 2022, "Always valid inference", Operations Research 70(3)), valid as samples
grow (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024, "Time-uniform central limit theory", Annals of Statistics
52(6)); it says nothing below LEAST_SAMPLES an arm.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

LEVELS = 1000
"""Outcomes in [0, 1] are kept to this many steps: counts are all that is stored."""
STAKES = tuple(float(stake) for stake in np.geomspace(0.02, 0.9, 8))
MOST_STEP = math.log1p(0.9)
"""One outcome changes the logarithm of the evidence by no more than this."""
LEAST_SAMPLES = 30
LOG_EFFECT = 0.15
"""The mixture's spread on logarithms: most sensitive to differences of about 15 %."""
LEAST_VARIANCE = 1e-12
HALVINGS = 20
COLUMN = np.array(STAKES)[:, None, None]
EVERYWHERE, BETWEEN = np.linspace(0, 1, 16), np.linspace(-0.25, 1.25, 36)
Array = Any  # numpy's arrays are generic over shapes nobody here needs


class Tally(msgspec.Struct):
    """Counts of outcomes in [0, 1], by thousandths."""

    counts: dict[int, int] = msgspec.field(default_factory=dict)
    n: int = 0
    total: int = 0

    def add(self, value: float, times: int = 1) -> None:
        level = _level(value)
        self.counts[level] = self.counts.get(level, 0) + times
        self.n += times
        self.total += level * times

    def take(self, value: float) -> None:
        """Take back an outcome; one that was never counted, such as from before a restart, is not missed."""
        level = _level(value)
        if level in self.counts:
            self.add(value, -1)
            if not self.counts[level]:
                del self.counts[level]

    def join(self, other: "Tally") -> None:
        """Count what another has counted, too."""
        counts = self.counts
        for level, times in other.counts.items():
            counts[level] = counts.get(level, 0) + times
        self.n += other.n
        self.total += other.total

    @property
    def mean(self) -> float:
        """0 before the first outcome."""
        return self.total / LEVELS / self.n if self.n else 0.0


def _level(value: float) -> int:
    return round(min(max(value, 0.0), 1.0) * LEVELS)


class Moments(msgspec.Struct):
    """Count, mean and sum of squared deviations of logarithms (Welford 1962)."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """`value` > 0; others have no logarithm and are left out."""
        if value <= 0:
            return
        step = math.log(value) - self.mean
        self.n += 1
        self.mean += step / self.n
        self.squares += step * (math.log(value) - self.mean)

    def join(self, other: "Moments") -> None:
        """Both together (Chan, Golub, LeVeque 1979)."""
        n = self.n + other.n
        if other.n:
            step = other.mean - self.mean
            self.squares += other.squares + step * step * self.n * other.n / n
            self.mean += step * other.n / n
        self.n = n

    @property
    def typical(self) -> float:
        """The geometric mean; 0 before the first outcome."""
        return math.exp(self.mean) if self.n else 0.0

    @property
    def variance(self) -> float:
        return self.squares / (self.n - 1) if self.n > 1 else 0.0


class Line(NamedTuple):
    """An assumed relation of the arms' means: treatment = `scale` · control + `offset`."""

    scale: float = 1.0
    offset: float = 0.0

    def at(self, mean: Any) -> Any:
        return self.scale * mean + self.offset


class Interval(NamedTuple):
    """Of a confidence sequence; all of it holds at once with the stated confidence."""

    low: float
    high: float


def loss_of(loss: float) -> Line:
    """The treatment's mean is less than the control's by this share."""
    return Line(scale=1.0 - loss)


def excess_of(excess: float) -> Line:
    """The treatment's mean is more than the control's by so much."""
    return Line(offset=excess)


def evidence_below(control: Tally, treatment: Tally, line: Line, enough: float = -math.inf) -> float:
    """Logarithm of the evidence that the treatment's mean is below the line; where that is less than `enough`, perhaps
    a bound above it, which is cheaper to have."""
    if not control.n or not treatment.n or treatment.mean >= line.at(control.mean):
        return 0.0
    return _least(control, treatment, line, -1, enough)


def evidence_above(control: Tally, treatment: Tally, line: Line, enough: float = -math.inf) -> float:
    """The same, that it is above the line."""
    if not control.n or not treatment.n or treatment.mean <= line.at(control.mean):
        return 0.0
    return _least(control, treatment, line, 1, enough)


def _least(control: Tally, treatment: Tally, line: Line, side: int, enough: float) -> float:
    """The least product of both wealths over all means of the control: coarsely over all, finely between what the two
    arms suggest; but first where it is likely to be: if that is too little already, the least is too."""
    one, other = control.mean, (treatment.mean - line.offset) / line.scale
    guess = (control.n * one + treatment.n * other) / (control.n + treatment.n)
    if 0 <= guess <= 1 and 0 <= line.at(guess) <= 1:
        found = _wealth_at(control, guess, -side) + _wealth_at(treatment, line.at(guess), side)
        if found < enough:
            return found
    means = np.concatenate((EVERYWHERE, one + (other - one) * BETWEEN, (guess,)))
    partners = line.at(means)
    means = means[(means >= 0) & (means <= 1) & (partners >= 0) & (partners <= 1)]
    return float(np.min(_wealth(control, means, -side) + _wealth(treatment, line.at(means), side)))


def _wealth_at(tally: Tally, mean: float, side: int) -> float:
    """`_wealth` at one mean: for the few levels that there are, faster without arrays."""
    steps = [(side * (level / LEVELS - mean), count) for level, count in tally.counts.items()]
    logs = [sum(count * math.log1p(stake * step) for step, count in steps) for stake in STAKES]
    most = max(logs)
    return most + math.log(sum(math.exp(log - most) for log in logs) / len(logs))


def _wealth(tally: Tally, means: Array, side: int) -> Array:
    """Logarithm of the wealth of bets on outcomes above (`side` 1) or below (−1) each of the means."""
    levels = np.fromiter(tally.counts, float, len(tally.counts)) / LEVELS
    counts = np.fromiter(tally.counts.values(), float, len(tally.counts))
    logs = np.log1p(side * COLUMN * (levels - means[:, None])) @ counts
    most = logs.max(axis=0)
    return most + np.log(np.exp(logs - most).sum(axis=0) / len(STAKES))


def loss_interval(control: Tally, treatment: Tally, alpha: float) -> Interval:
    """The share by which the treatment's mean is below the control's, at most 1; negative for a gain."""
    loss, enough = 1 - treatment.mean / control.mean if control.total else 0.0, math.log(2 / alpha)
    least = min(-1.0, 3 * loss)
    low = _end(loss, least, lambda tried: evidence_below(control, treatment, loss_of(tried), enough), enough)
    return Interval(
        low, _end(loss, 1.0, lambda tried: evidence_above(control, treatment, loss_of(tried), enough), enough)
    )


def excess_interval(control: Tally, treatment: Tally, alpha: float) -> Interval:
    """By how much the treatment's mean is above the control's; within [−1, 1]."""
    excess, enough = treatment.mean - control.mean, math.log(2 / alpha)
    low = _end(excess, -1.0, lambda tried: evidence_above(control, treatment, excess_of(tried), enough), enough)
    return Interval(
        low, _end(excess, 1.0, lambda tried: evidence_below(control, treatment, excess_of(tried), enough), enough)
    )


def _end(near: float, far: float, evidence: Callable[[float], float], enough: float) -> float:
    """One end of an interval, by halving: the evidence against a value grows with its distance from the estimate."""
    for _ in range(HALVINGS):
        halfway = (near + far) / 2
        if evidence(halfway) >= enough:
            far = halfway
        else:
            near = halfway
    return far


def ratio_interval(control: Moments, treatment: Moments, alpha: float) -> Interval:
    """The treatment's geometric mean over the control's; (0, ∞) while there are too few."""
    if min(control.n, treatment.n) < LEAST_SAMPLES:
        return Interval(0.0, math.inf)
    variance = max(control.variance / control.n + treatment.variance / treatment.n, LEAST_VARIANCE)
    spread = LOG_EFFECT**2
    whole = variance + spread
    # Where the mixture's likelihood ratio, √(V/(V+τ²)) · exp(τ² d² / (2V(V+τ²))), reaches 1/α.
    width = math.sqrt(2 * variance * whole / spread * math.log(math.sqrt(whole / variance) / alpha))
    step = treatment.mean - control.mean
    return Interval(math.exp(step - width), math.exp(step + width))
