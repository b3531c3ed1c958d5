"""A profile beside its controls, on graded answers it should not have seen.

Knows: which figures are reported and which dumb rules stand beside them. Does not know: who shows the report.

Every question counts that all of the profile's graded models answered. Quality of a choice is the score of the answer
that it picked; every difference is paired by question.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pointsman.learning.measures import Array, Measured, aiq, apgr, calls_needed, resampled
from pointsman.learning.rows import Graded
from pointsman.policy.quality import QualityProfile, View
from pointsman.types import Value

COST_WEIGHTS = (0.0, *np.geomspace(0.003, 10, 40).tolist(), 1e6)
CURVE_RESAMPLES = 300


class EvaluationError(ValueError):
    """The rows and the profile have nothing in common to measure."""


class Figure(Value, frozen=True):
    """One line of the report. `low`, `high`: 95 % over resampled questions; NaN where there is none."""

    what: str
    value: float
    low: float = float("nan")
    high: float = float("nan")


class Report(Value, frozen=True):
    """All figures on `questions` questions; `strong` and `weak` are the pair of the recovered gap. `notes`: what was
    left out, and why."""

    questions: int
    models: tuple[str, ...]
    incumbent: str
    strong: str
    weak: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()

    def value(self, what: str) -> float:
        """One figure by name. KeyError where it is not in the report."""
        return {figure.what: figure.value for figure in self.figures}[what]


class Bench(Value, frozen=True):
    """Questions with everything that the figures need: scores and costs `(N, M)`, what the profile saw of each."""

    profile: QualityProfile
    prompts: tuple[str, ...]
    scores: Array
    costs: Array
    views: tuple[View, ...]
    columns: tuple[int, ...]

    def choices(self, cost_weight: float = 0.0) -> Array:
        """The column that the guarded choice picks, a question each."""
        index = {self.profile.models[column]: place for place, column in enumerate(self.columns)}
        picked = [self.profile.choose(view, cost_weight).model_id for view in self.views]
        return np.array([index[model] for model in picked])

    def means(self) -> Array:
        """Estimated quality, `(N, M)`."""
        return np.array([view.means for view in self.views], np.float64)[:, list(self.columns)]


def evaluate(profile: QualityProfile, graded: Graded, *, seed: int = 0) -> Report:
    """Every figure with its controls. Raises EvaluationError."""
    bench = _bench(profile, graded)
    means = bench.scores.mean(0)
    names = [profile.models[column] for column in bench.columns]
    strong = int(np.argmax(means))
    has_costs = bool(np.isfinite(bench.costs).all())
    weak = int(np.argmin(bench.costs.mean(0))) if has_costs else int(np.argmin(means))
    weak = weak if weak != strong else int(np.argmin(means))
    figures = [*_choice_figures(bench, names.index(profile.incumbent), seed), *_estimate_figures(bench)]
    if strong != weak:
        figures += _gap_figures(bench, strong, weak, seed)
    if has_costs and len(names) > 1:
        figures += _money_figures(bench, seed)
    return Report(
        questions=len(bench.scores), models=tuple(names), incumbent=profile.incumbent,
        strong=names[strong], weak=names[weak], figures=tuple(figures), notes=_notes(bench, graded),
    )  # fmt: skip


def _notes(bench: Bench, graded: Graded) -> tuple[str, ...]:
    """Questions and figures that incomplete rows cost."""
    notes = []
    if len(bench.scores) < len(graded.prompts):
        left = len(graded.prompts) - len(bench.scores)
        notes.append(f"{left} of {len(graded.prompts)} questions left out; {_coverage(bench.profile, graded)}")
    unpriced = np.isnan(bench.costs).sum(0)
    if 0 < unpriced.sum() < bench.costs.size:
        missing = (f"{model} on {count}" for model, count in zip(bench.profile.models, unpriced, strict=True) if count)
        notes.append(f"no AIQ: costs are missing of {', '.join(missing)} questions")
    return tuple(notes)


def _coverage(profile: QualityProfile, graded: Graded) -> str:
    """How many of the questions each model was graded on, where it was not on all."""
    here = [graded.models.index(model) for model in profile.models]
    counts = (~np.isnan(graded.scores[:, here])).sum(0)
    partly = [f"{model} on {n}" for model, n in zip(profile.models, counts, strict=True) if n < len(graded.prompts)]
    return f"not every model was graded on them: {', '.join(partly)} of {len(graded.prompts)}"


def _bench(profile: QualityProfile, graded: Graded) -> Bench:
    """The questions that every model of both was graded on."""
    missing = set(profile.models) - set(graded.models)
    if missing:
        raise EvaluationError(f"no answers of {', '.join(sorted(missing))}: a choice of theirs could not be graded")
    here = [graded.models.index(model) for model in profile.models]
    whole = np.flatnonzero(~np.isnan(graded.scores[:, here]).any(1))
    if len(whole) < 2:
        raise EvaluationError(
            f"no two questions were answered by every model of the profile; {_coverage(profile, graded)}"
        )
    prompts = tuple(graded.prompts[row] for row in whole)
    return Bench(
        profile=profile,
        prompts=prompts,
        scores=graded.scores[whole][:, here].astype(np.float64),
        costs=graded.costs[whole][:, here].astype(np.float64),
        views=tuple(profile.view(prompt) for prompt in prompts),
        columns=tuple(range(len(here))),
    )


def _figure(what: str, found: Measured) -> Figure:
    return Figure(what=what, value=found.value, low=found.low, high=found.high)


def _choice_figures(bench: Bench, incumbent: int, seed: int) -> list[Figure]:
    """Quality of the guarded choice beside single models, chance and the oracle."""
    scores, picked = bench.scores, bench.choices()
    size = len(scores)
    ours = scores[np.arange(size), picked]
    unguarded = scores[np.arange(size), bench.means().argmax(1)]
    mixed = scores @ np.bincount(picked, minlength=scores.shape[1]) / size
    kinds = (
        ("quality: guarded choice", ours),
        ("quality: without the guard", unguarded),
        ("quality: incumbent", scores[:, incumbent]),
        ("quality: best single here", scores[:, int(scores.mean(0).argmax())]),
        ("quality: random model", scores.mean(1)),
        ("quality: same shares at random", mixed),
        ("quality: oracle", scores.max(1)),
        ("gain over incumbent", ours - scores[:, incumbent]),
        ("gain over same shares at random", ours - mixed),
        ("regret to oracle", scores.max(1) - ours),
    )
    found = [_figure(what, resampled(_mean_of(one), size, seed)) for what, one in kinds]
    return [*found, Figure(what="share that left the incumbent", value=float((picked != incumbent).mean()))]


def _mean_of(values: Array) -> Callable[[Any], float]:
    return lambda rows: float(values[rows].mean())


def _estimate_figures(bench: Bench) -> list[Figure]:
    """How good the estimates are as numbers."""
    means, scores = bench.means(), bench.scores
    constant = scores - np.asarray(bench.profile.data.means)[None]
    return [
        Figure(what="squared error of estimates", value=float(((means - scores) ** 2).mean())),
        Figure(what="squared error of the models' means", value=float((constant**2).mean())),
        Figure(what="mean novelty", value=float(np.mean([view.novelty for view in bench.views]))),
    ]


def _gap_figures(bench: Bench, strong: int, weak: int, seed: int) -> list[Figure]:
    """APGR and CPT between the strongest and the cheapest (without costs: the weakest) model."""
    means = bench.means()
    scores = bench.scores[:, weak], bench.scores[:, strong]
    orders = {
        "profile": means[:, strong] - means[:, weak],
        "prompt length": np.array([float(len(prompt)) for prompt in bench.prompts]),
        "oracle": scores[1] - scores[0],
        "shuffled": np.random.default_rng(seed).permutation(means[:, strong] - means[:, weak]),
    }
    figures = []
    for name, order in orders.items():

        def measure(rows: Array, order: Array = order) -> float:
            return apgr(order[rows], scores[0][rows], scores[1][rows])

        figures.append(_figure(f"APGR: {name}", resampled(measure, len(order), seed)))
    for share in (0.5, 0.8):
        value = calls_needed(orders["profile"], *scores, share)
        figures.append(Figure(what=f"CPT{share * 100:.0f}", value=value))
    return figures


def _money_figures(bench: Bench, seed: int) -> list[Figure]:
    """AIQ of the choice as the cost weight grows, of single models and of the oracle."""
    size = len(bench.scores)
    every = np.arange(size)
    picks = [bench.choices(weight) for weight in COST_WEIGHTS]
    dearest = float(bench.costs.mean(0).max()) or 1.0
    wishes = [(bench.scores - weight * bench.costs / dearest).argmax(1) for weight in COST_WEIGHTS]
    singles = [np.full(size, column) for column in range(bench.scores.shape[1])]
    figures = []
    for name, ways in (("profile", picks), ("single models", singles), ("oracle", wishes)):
        quality = np.stack([bench.scores[every, way] for way in ways])
        cost = np.stack([bench.costs[every, way] for way in ways])

        def measure(rows: Array, quality: Array = quality, cost: Array = cost) -> float:
            single = bench.costs[rows].mean(0)
            return aiq(cost[:, rows].mean(1), quality[:, rows].mean(1), float(single.min()), float(single.max()))

        figures.append(_figure(f"AIQ: {name}", resampled(measure, size, seed, CURVE_RESAMPLES)))
    return figures
