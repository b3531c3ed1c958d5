"""What a calibration has measured, as values that the report and the plots read. Pure.

Knows: answers, items, models, in which unit cost is counted. Does not know: words, pictures, where anything is kept.
Invariant: an error is no answer: it is counted, never averaged in.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pointsman.calibration.items import FAMILIES, LANGUAGES, Item
from pointsman.calibration.journal import Answered
from pointsman.calibration.routing import Row, Table
from pointsman.calibration.runner import Failure, Target
from pointsman.calibration.statistics import Difference, Floats, Interval, holm, interaction, paired, wilson
from pointsman.types import Complexity, Value

MONEY, WORK, SECONDS = "price", "GB·tokens", "s"
GIGABYTE = 1e9
Key = Callable[[Item], str]


class Measured(Value, frozen=True):
    """One calibration. `answers` hold no errors; `errors` counts them by model, in the order of `targets`."""

    items: tuple[Item, ...]
    targets: tuple[Target, ...]
    answers: tuple[Answered, ...]
    errors: tuple[int, ...]
    failures: tuple[Failure, ...]
    suite: str
    remarks: tuple[str, ...] = ()
    seed: int = 0

    @property
    def models(self) -> tuple[str, ...]:
        """Those that have answered anything."""
        answering = {one.model for one in self.answers}
        return tuple(target.model for target in self.targets if target.model in answering)

    def of(self, model: str) -> dict[str, Answered]:
        return {one.item: one for one in self.answers if one.model == model}


class Cell(Value, frozen=True):
    """How one model did on one group of items."""

    model: str
    group: str
    score: Interval


class Pair(Value, frozen=True):
    """`first` less `second` on the items of a group that both have answered; p adjusted for all pairs of the table."""

    first: str
    second: str
    group: str
    difference: Difference
    p_adjusted: float


class Profiles(Value, frozen=True):
    """Whether two models differ in kind: the p-value of one and the same gap in every family."""

    first: str
    second: str
    p: float


class Speed(Value, frozen=True):
    """How fast one model answered, at `concurrency` questions at a time. Latencies at percentiles, in seconds."""

    model: str
    concurrency: int
    tokens_per_s: float
    p50_s: float
    p95_s: float
    first_token_p50_s: float | None
    tokens_per_answer: float
    cut_off: float


def cells(measured: Measured, key: Key) -> tuple[Cell, ...]:
    """Score of every model in every group, groups in the suite's order."""
    groups: dict[str, list[str]] = {}
    for item in sorted(measured.items, key=_rank):
        groups.setdefault(key(item), []).append(item.id)
    return tuple(
        Cell(model=model, group=group, score=wilson([by[item].score for item in members if item in by]))
        for model, by in ((model, measured.of(model)) for model in measured.models)
        for group, members in groups.items()
    )


def _rank(item: Item) -> tuple[int, int, int, str]:
    """Families and languages as the suite lists them, complexity rising."""
    levels = tuple(Complexity)
    return (
        FAMILIES.index(item.family),
        LANGUAGES.index(item.language),
        levels.index(Complexity(item.complexity)),
        item.id,
    )


def overall(measured: Measured) -> tuple[Cell, ...]:
    return cells(measured, lambda _: "all")


def pairs(measured: Measured, key: Key) -> tuple[Pair, ...]:
    """Every two models in every group."""
    found: list[tuple[str, str, str, Difference]] = []
    for group in dict.fromkeys(key(item) for item in sorted(measured.items, key=_rank)):
        members = [item for item in measured.items if key(item) == group]
        for first, second in _two(measured.models):
            ours, theirs, _ = _both(measured, first, second, members)
            found.append((first, second, group, paired(ours, theirs, measured.seed)))
    adjusted = holm([difference.p for *_, difference in found])
    return tuple(
        Pair(first=first, second=second, group=group, difference=difference, p_adjusted=p)
        for (first, second, group, difference), p in zip(found, adjusted, strict=True)
    )


def profiles(measured: Measured) -> tuple[Profiles, ...]:
    """Every two models: is one simply better throughout, or are they good at different things?"""
    found = []
    for first, second in _two(measured.models):
        ours, theirs, items = _both(measured, first, second, measured.items)
        p = interaction(ours - theirs, [item.family for item in items], measured.seed) if len(items) else 1.0
        found.append(Profiles(first=first, second=second, p=p))
    return tuple(
        Profiles(first=one.first, second=one.second, p=p)
        for one, p in zip(found, holm([one.p for one in found]), strict=True)
    )


def _two(models: Sequence[str]) -> list[tuple[str, str]]:
    return [(first, second) for place, first in enumerate(models) for second in models[place + 1 :]]


def _both(
    measured: Measured, first: str, second: str, items: Sequence[Item]
) -> tuple[Floats, Floats, tuple[Item, ...]]:
    ours, theirs = measured.of(first), measured.of(second)
    shared = tuple(item for item in items if item.id in ours and item.id in theirs)
    scores = [np.array([side[item.id].score for item in shared], float) for side in (ours, theirs)]
    return scores[0], scores[1], shared


def speeds(measured: Measured) -> tuple[Speed, ...]:
    """Of every model that has answered."""
    return tuple(_speed(model, list(measured.of(model).values())) for model in measured.models)


def _speed(model: str, answers: list[Answered]) -> Speed:
    latencies_s = np.array([one.latency_ms for one in answers]) / 1e3
    tokens = np.array([one.completion_tokens for one in answers])
    # Writing only: from the first token to the last.
    writing = [
        ((one.completion_tokens - 1) / (one.latency_ms - one.first_token_ms) * 1e3)
        for one in answers
        if one.first_token_ms is not None and one.completion_tokens > 4 and one.latency_ms > one.first_token_ms
    ]
    firsts = [one.first_token_ms / 1e3 for one in answers if one.first_token_ms is not None]
    return Speed(
        model=model,
        concurrency=max(one.concurrency for one in answers),
        tokens_per_s=float(np.median(writing)) if writing else 0.0,
        p50_s=float(np.percentile(latencies_s, 50)),
        p95_s=float(np.percentile(latencies_s, 95)),
        first_token_p50_s=float(np.median(firsts)) if firsts else None,
        tokens_per_answer=float(tokens.mean()),
        cut_off=float(np.mean([one.finish_reason == "length" for one in answers])),
    )


def table_of(measured: Measured) -> Table:
    """The items that every answering model has answered, with cost in money where any model has a price, else in
    gigabytes of weights × tokens (what writing on a machine's memory costs), else in seconds."""
    by_model = [measured.of(model) for model in measured.models]
    items = tuple(item for item in measured.items if all(item.id in by for by in by_model))
    answers = [[by[item.id] for by in by_model] for item in items]
    shape = (len(items), len(by_model))

    def grid(value: Callable[[Answered], float]) -> Floats:
        return np.array([[value(one) for one in row] for row in answers], float).reshape(shape)

    unit, cost = costing(measured)
    return Table(
        items=items,
        models=measured.models,
        score=grid(lambda one: one.score),
        cost=grid(cost),
        seconds=grid(lambda one: one.latency_ms / 1e3),
        unit=unit,
    )


def rows_of(measured: Measured) -> tuple[Row, ...]:
    """Every graded answer, whether or not the other models answered the same question."""
    _, cost = costing(measured)
    by_model = [(model, measured.of(model)) for model in measured.models]
    return tuple(
        Row(
            item=item.id,
            prompt=item.prompt,
            model=model,
            score=by[item.id].score,
            cost=cost(by[item.id]),
            latency_ms=by[item.id].latency_ms,
            intent=item.intent,
            language=item.language,
            complexity=item.complexity,
            family=item.family,
            group=item.family,
        )
        for item in measured.items
        for model, by in by_model
        if item.id in by
    )


def costing(measured: Measured) -> tuple[str, Callable[[Answered], float]]:
    """The unit in which answers cost something here, and what one cost."""
    size = {target.model: target.size_bytes / GIGABYTE for target in measured.targets}
    costs: dict[str, Callable[[Answered], float]] = {
        MONEY: lambda one: one.cost,
        WORK: lambda one: size[one.model] * (one.prompt_tokens + one.completion_tokens),
        SECONDS: lambda one: one.latency_ms / 1e3,
    }
    unit = _unit(measured)
    return unit, costs[unit]


def _unit(measured: Measured) -> str:
    targets = [target for target in measured.targets if target.model in measured.models]
    if any(target.cost_per_mtok for target in targets):
        return MONEY
    return WORK if all(target.size_bytes for target in targets) else SECONDS
