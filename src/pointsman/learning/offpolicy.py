"""What a figure would have been, had another policy chosen: estimates from a log of what one policy did.

Knows: arrays of choices, probabilities and outcomes. Does not know: requests, files, what an outcome means.

Three estimators (Dudík, Langford & Li 2011; Swaminathan & Joachims 2015): IPS weighs every outcome by how much likelier
the new policy is to choose so than the old one was; SNIPS divides by the weights' own sum; the doubly robust estimate
(DR) starts from the mean outcome of the model that would have been chosen, in the same context cell, and corrects it by
IPS on what that got wrong. Where chance had no say the weights are 0 or 1 and DR is the mean of the cell: right only if
within a cell the old policy did not send the easier requests to one model. `Support` tells how much rests on which.

Means leave out the answer they are used for (cross-fitting, a fold each). A cell is the finest in which a model has
LEAST outcomes. Outcomes that are missing count by the share that is there, in the same cell and of the same model.

Intervals are those of estimating equations (Stefanski & Boos 2002): the spread of every request's own influence, by
way of the means too, with Student's t at Satterthwaite's degrees of freedom, few where few requests carry much. Of a
difference to what did happen, a request that stays where it was contributes exactly nothing. In closed form: the same
log gives the same interval. `bernstein` is wider and holds for every sample size (Maurer & Pontil 2009).

Shapes: n requests, M models, L levels of cells from fine to coarse.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.types import Value

LEAST = 20  # outcomes of a model in a cell, for their mean to stand for others
LEAST_REQUESTS = 30
CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Log(Value, frozen=True):
    """`chosen` (n,): the column of the model that the old policy put first; `old`, `new` (n, M): with which
    probability each policy would; `cells` (L, n): the context cell of every request, numbered on each level."""

    chosen: Ints
    old: Floats
    new: Floats
    cells: Ints

    def take(self, rows: Any) -> "Log":
        """These requests alone."""
        return Log(chosen=self.chosen[rows], old=self.old[rows], new=self.new[rows], cells=self.cells[:, rows])


class Interval(Value, frozen=True):
    """A mean with its interval (`CONFIDENCE`)."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        return Interval(value=self.value * factor, low=self.low * factor, high=self.high * factor)


class Support(Value, frozen=True):
    """On what an estimate rests. Shares of all that the new policy would choose, adding up to one: `stays` where the
    old one had gone, sure of it; `chance`: what it would have chosen too, with a probability that is known; `model`:
    what it never would have, estimated from other requests of the cell; `none`: what nothing in the log speaks of.

    `ess`: effective number of the outcomes behind IPS (Kish 1965); `mean_weight`: 1 where chance reaches everything;
    `largest_weight`: one request counts as so many; `clipped`: share of the weights that were cut.
    """

    stays: float
    chance: float
    model: float
    none: float
    ess: float
    mean_weight: float
    largest_weight: float
    clipped: float


class Estimates(Value, frozen=True):
    """Of one figure, the mean over `requests`: as it was (`old`), and as it would have been by three estimators.

    `change`: DR less old, request by request. `refused`: why there are no figures (they are NaN then), empty where
    there are.
    """

    requests: int
    outcomes: int
    old: Interval
    dr: Interval
    change: Interval
    ips: Interval
    snips: Interval
    support: Support
    refused: str = ""


def supported(log: Log, outcomes: Floats) -> Flags:
    """Which requests can be estimated: every model that the new policy may choose was possible under the old one, or
    has outcomes enough in some cell of the request."""
    means = _Means(log, outcomes)
    found: Flags = np.all((log.new <= 0) | (log.old > 0) | means.known, axis=1)
    return found


def estimate(
    log: Log,
    outcomes: Floats,
    before: Floats | None = None,
    known: Floats | None = None,
    clip: float = math.inf,
) -> Estimates:
    """`outcomes` (n,): NaN where there is none. `before`: what `old` is a mean of, where that is something else: the
    same outcome at other prices. `known` (n, M): the part of a model's outcome that is known beforehand, such as the
    price of the prompt. Requests that nothing speaks of are left out, on both sides."""
    before = outcomes if before is None else before
    rows = supported(log, outcomes)
    left_out = float((~rows).mean()) if len(rows) else 0.0
    log, outcomes, before = log.take(rows), outcomes[rows], before[rows]
    known = np.zeros(log.new.shape) if known is None else known[rows]
    seen = ~np.isnan(outcomes)
    support = _support(log, _weights(log), clip, left_out)
    if seen.sum() < LEAST_REQUESTS:
        return _refusal(len(outcomes), int(seen.sum()), support)
    own = (np.arange(len(outcomes)), log.chosen)
    means = _Means(log, outcomes - known[own])
    weights = np.minimum(_weights(log), clip)
    reach = np.where(seen, weights / means.shares, 0.0)
    filled = np.where(seen, outcomes, 0.0)
    ips = reach * filled
    mean_reach = reach.mean()
    snips = ips.sum() / reach.sum() if reach.sum() else math.nan
    dr, dr_influence = means.doubly_robust(log.new, reach, known)
    old, old_influence = _old(np.where(seen, before, 0.0), seen, means.shares)
    return Estimates(
        requests=len(outcomes),
        outcomes=int(seen.sum()),
        old=_interval(old, old_influence),
        dr=_interval(dr, dr_influence),
        change=_interval(dr - old, dr_influence - old_influence),
        ips=_interval(float(ips.mean()), ips - ips.mean()),
        snips=_interval(float(snips), reach * (filled - snips) / mean_reach if mean_reach else np.full(1, math.nan)),
        support=support,
    )


def bernstein(values: Floats, width: float, confidence: float = CONFIDENCE) -> Interval:
    """Mean of values that lie within `width`, with an interval that holds for every n (empirical Bernstein)."""
    n, log_term = len(values), math.log(4 / (1 - confidence))
    mean = float(values.mean())
    reach = math.sqrt(2 * float(values.var(ddof=1)) * log_term / n) + 7 * width * log_term / (3 * (n - 1))
    return Interval(value=mean, low=mean - reach, high=mean + reach)


class _Means:
    """Mean outcome of a model in the cell of a request. `known` (n, M): where there are enough; elsewhere the model's
    mean over everything is what IPS corrects. `shares` (n,): of the requests like this one, of the same choice, that
    have an outcome.

    Whether a cell has enough is decided by how many outcomes it was to have, not by how many it has: else means would
    be used where a model happened to be chosen often, and what is used elsewhere would not make up for that.
    """

    def __init__(self, log: Log, outcomes: Floats) -> None:
        self._chosen, self._seen = log.chosen, ~np.isnan(outcomes)
        self._filled = np.where(self._seen, outcomes, 0.0)
        self._cells = np.vstack([log.cells, np.zeros_like(log.cells[:1])])  # the last holds everything
        rate = max(float(self._seen.mean()), 1e-9) if len(outcomes) else 1.0
        self._level = np.full(log.new.shape, -1)
        self._mean = np.zeros(log.new.shape)
        self.shares = np.full(len(outcomes), rate)
        self._counts: list[Floats] = []
        for level, cell in reversed(list(enumerate(self._cells))):  # the finest comes last and wins
            count, total, hoped, asked = self._sums(cell, log, rate)
            is_last = level == len(log.cells)
            enough = (count[cell] >= 2) & ((hoped[cell] >= LEAST) | is_last)
            self._level = np.where(enough, level, self._level)
            self._mean = np.where(enough, total[cell] / np.maximum(count[cell], 1.0), self._mean)
            alike, there = asked[cell, log.chosen], count[cell, log.chosen]
            self.shares = np.where((alike * rate >= LEAST) & (there > 0), there / np.maximum(alike, 1.0), self.shares)
            self._counts.insert(0, count)
        self.known: Flags = (self._level >= 0) & (self._level < len(log.cells))

    def _sums(self, cell: Ints, log: Log, rate: float) -> tuple[Floats, Floats, Floats, Floats]:
        """By cell and model: outcomes, their total, how many there were to be, and how often it was chosen."""
        shape = (int(cell.max()) + 1 if len(cell) else 0, log.new.shape[1])
        count, total, hoped, asked = (np.zeros(shape) for _ in range(4))
        np.add.at(count, (cell, log.chosen), self._seen)
        np.add.at(total, (cell, log.chosen), self._filled)
        np.add.at(hoped, cell, log.old * rate)
        np.add.at(asked, (cell, log.chosen), 1.0)
        return count, total, hoped, asked

    def doubly_robust(self, new: Floats, reach: Floats, known: Floats) -> tuple[float, Floats]:
        """The estimate, and each request's influence on it, `(n,)`."""
        own = (np.arange(len(reach)), self._chosen)
        mean = self._without_own()
        residual = np.where(self._seen, self._filled - mean[own], 0.0)
        values = (new * (mean + known)).sum(1) + reach * residual
        pull = new.copy()  # of each mean on the estimate: what it is counted for, less what corrects it
        pull[own] -= reach
        return float(values.mean()), values - values.mean() + self._through_means(pull)

    def _without_own(self) -> Floats:
        """The means, each request's own outcome left out of its own."""
        mean, own = self._mean.copy(), (np.arange(len(self._chosen)), self._chosen)
        counts = self._own_counts()
        without = (mean[own] * counts - self._filled) / np.maximum(counts - 1, 1.0)
        mean[own] = np.where(self._seen & (counts > 1), without, mean[own])
        return mean

    def _own_counts(self) -> Floats:
        """How many outcomes stand behind the mean of a request's own choice."""
        level = self._level[np.arange(len(self._chosen)), self._chosen]
        found = np.zeros(len(level))
        for at, count in enumerate(self._counts):
            found = np.where(level == at, count[self._cells[at], self._chosen], found)
        return found

    def _through_means(self, pull: Floats) -> Floats:
        """What an outcome moves by moving the mean of its cell, on every level where that mean is used."""
        found = np.zeros(len(self._chosen))
        for at, (cell, count) in enumerate(zip(self._cells, self._counts, strict=True)):
            total, pulls = np.zeros_like(count), np.zeros_like(count)
            np.add.at(total, (cell, self._chosen), self._filled)
            np.add.at(pulls, cell, np.where(self._level == at, pull, 0.0))
            here, of = np.maximum(count, 1.0)[cell, self._chosen], (cell, self._chosen)
            found += np.where(self._seen, pulls[of] / here * (self._filled - total[of] / here), 0.0)
        return found


def _weights(log: Log) -> Floats:
    own = (np.arange(len(log.chosen)), log.chosen)
    found: Floats = log.new[own] / log.old[own]
    return found


def _old(filled: Floats, seen: Flags, shares: Floats) -> tuple[float, Floats]:
    """Mean of what did happen, and the influences; what is missing counts as what is there in the same cell."""
    reach = np.where(seen, 1.0 / shares, 0.0)
    mean = float((reach * filled).sum() / reach.sum())
    return mean, reach * (filled - mean) / reach.mean()


def _support(log: Log, weights: Floats, clip: float, left_out: float) -> Support:
    if not len(weights):
        return Support(
            stays=0.0, chance=0.0, model=0.0, none=left_out, ess=0.0, mean_weight=0.0, largest_weight=0.0, clipped=0.0
        )
    kept = 1 - left_out
    sure = log.old >= 1.0
    stays = float((log.new * sure).sum(1).mean())
    chance = float((log.new * ((log.old > 0) & ~sure)).sum(1).mean())
    total = float(weights.sum())
    return Support(
        stays=kept * stays,
        chance=kept * chance,
        model=max(0.0, kept * (1 - stays - chance)),
        none=left_out,
        ess=total**2 / float((weights**2).sum()) if total else 0.0,
        mean_weight=float(weights.mean()),
        largest_weight=float(weights.max()),
        clipped=float((weights > clip).mean()),
    )


def _refusal(requests: int, outcomes: int, support: Support) -> Estimates:
    nothing = Interval(value=math.nan, low=math.nan, high=math.nan)
    why = f"{outcomes} outcomes that speak of what would be chosen; at least {LEAST_REQUESTS} are needed"
    return Estimates(
        requests=requests, outcomes=outcomes, old=nothing, dr=nothing, change=nothing, ips=nothing, snips=nothing,
        support=support, refused=why,
    )  # fmt: skip


def _interval(value: float, influence: Floats) -> Interval:
    squares = influence**2
    total, n = float(squares.sum()), len(influence)
    if not total:
        return Interval(value=value, low=value, high=value)
    uneven = float((squares**2).sum()) - total**2 / n
    freedom = min(max(2 * total**2 / uneven, 1.0), n - 1.0) if uneven > 0 else n - 1.0
    reach = _student((1 + CONFIDENCE) / 2, freedom) * math.sqrt(total) / n
    return Interval(value=value, low=value - reach, high=value + reach)


def _student(p: float, freedom: float) -> float:
    """Student's quantile, by expansion around the normal one (Abramowitz & Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
