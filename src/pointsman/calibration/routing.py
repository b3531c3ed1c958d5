"""What would routing by the profile have saved, and at which quality? On items that the profile had not seen.

Knows: answers as a table (items × models), folds, policies and their controls. Does not know: how a profile is fitted
(`Learner`, handed in), how anything is shown. Pure; chance comes from a seed.
Invariants: no item's model is chosen by a profile that was fitted on the item or on one of its group (the same task in
another language); every figure of a policy stands beside its controls, resampled over the same items.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pointsman.calibration.items import Item
from pointsman.calibration.statistics import Floats, Interval, bounds, weights_of
from pointsman.types import Value

Ints = npt.NDArray[np.int64]

FOLDS, INNER_FOLDS, REPEATS = 5, 3, 3
COST_WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
SHRINK = 8.0  # answers that a group's mean is worth against the overall mean


class Row(Value, frozen=True):
    """One graded answer, as a profile is fitted on it."""

    item: str
    prompt: str
    model: str
    score: float
    cost: float
    latency_ms: float
    intent: str
    language: str
    complexity: str
    family: str
    group: str  # the family again, under the name by which `pointsman quality fit` knows groups of questions alike


class Table(Value, frozen=True):
    """The items that every model has answered. `score`, `cost`: items × models; `unit`: what cost is counted in."""

    items: tuple[Item, ...]
    models: tuple[str, ...]
    score: Floats
    cost: Floats
    seconds: Floats
    unit: str

    def rows(self, chosen: Ints) -> tuple[Row, ...]:
        """The answers of some items, one row each."""
        return tuple(
            Row(
                item=item.id,
                prompt=item.prompt,
                model=model,
                score=float(self.score[index, column]),
                cost=float(self.cost[index, column]),
                latency_ms=float(self.seconds[index, column] * 1e3),
                intent=item.intent,
                language=item.language,
                complexity=item.complexity,
                family=item.family,
                group=item.family,
            )
            for index, item in ((int(index), self.items[int(index)]) for index in chosen)
            for column, model in enumerate(self.models)
        )


class Chooser(Protocol):
    """A fitted profile."""

    def means(self, item: Item) -> Sequence[float]:
        """Expected score of each model, in the table's order."""
        ...

    def guarded(self, item: Item) -> int:
        """The model (its place in the table) that the guard allows: the incumbent unless the gain is certain."""
        ...


class Learner(Protocol):
    """Fits profiles."""

    def fit(self, rows: Sequence[Row], models: tuple[str, ...], seed: int) -> Chooser: ...


class Policy(Value, frozen=True):
    """How a way of choosing did on items held back: quality and cost per item, with the shares of the models."""

    name: str
    quality: Floats
    cost: Floats
    seconds: Floats
    shares: tuple[float, ...]


class Standing(Value, frozen=True):
    """A policy beside its controls, with 95 % intervals; `cost` and `answer_s` are means an item."""

    name: str
    quality: Interval
    cost: Interval
    answer_s: float
    over_best: Interval
    over_random: Interval
    over_shuffled: Interval
    cost_saved: Interval
    shares: tuple[float, ...]


def group_of(item: Item) -> str:
    """Items that ask the same in other languages share their number: `arithmetic-hi-07` and `arithmetic-en-07`."""
    family, _, number = item.id.rpartition("-")
    return f"{family.rpartition('-')[0] or family}-{number}"


def folds_of(items: Sequence[Item], seed: int, folds: int = FOLDS) -> Ints:
    """The fold of each item; a group stays together."""
    groups = sorted({group_of(item) for item in items})
    order = np.random.default_rng(seed).permutation(len(groups))
    fold = {group: int(place) % folds for group, place in zip(groups, order, strict=True)}
    return np.array([fold[group_of(item)] for item in items])


# ---------------------------------------------------------------- predictions on items held back


class Forecast(Value, frozen=True):
    """For each item what was expected of each model before seeing it, by profile and by group means."""

    profile: Floats
    guarded: Ints
    groups: Floats
    incumbent: Ints
    price: Floats


def forecast(table: Table, learner: Learner, seed: int, chosen: Ints | None = None, folds: int = FOLDS) -> Forecast:
    """Cross-fitted over the chosen items (None: all); rows of others stay zero."""
    chosen = np.arange(len(table.items)) if chosen is None else chosen
    fold = folds_of([table.items[index] for index in chosen], seed, folds)
    shape = (len(table.items), len(table.models))
    profile, groups, price = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    guarded, incumbent = np.zeros(shape[0], int), np.zeros(shape[0], int)
    for number in range(folds):
        train, test = chosen[fold != number], chosen[fold == number]
        if not len(test) or not len(train):
            continue
        chooser = learner.fit(table.rows(train), table.models, seed)
        profile[test] = [chooser.means(table.items[index]) for index in test]
        guarded[test] = [chooser.guarded(table.items[index]) for index in test]
        groups[test] = _group_means(table, train, test)
        incumbent[test] = int(table.score[train].mean(axis=0).argmax())
        price[test] = table.cost[train].mean(axis=0)
    return Forecast(profile=profile, guarded=guarded, groups=groups, incumbent=incumbent, price=price)


def _group_means(table: Table, train: Ints, test: Ints) -> Floats:
    """Mean score by intent and language, shrunken to the overall mean: the control that reads no words."""
    overall = table.score[train].mean(axis=0)
    keys = [(item.intent, item.language) for item in table.items]
    means = []
    for index in test:
        alike = table.score[[other for other in train if keys[other] == keys[index]]]
        means.append((alike.sum(axis=0) + SHRINK * overall) / (len(alike) + SHRINK))
    return np.array(means)


# ---------------------------------------------------------------- policies


def by_choice(name: str, table: Table, choice: Ints) -> Policy:
    """The policy that gives each item to the model at `choice`."""
    every = np.arange(len(choice))
    shares = np.bincount(choice, minlength=len(table.models)) / len(choice)
    return Policy(
        name=name,
        quality=table.score[every, choice],
        cost=table.cost[every, choice],
        seconds=table.seconds[every, choice],
        shares=tuple(float(share) for share in shares),
    )


def averaged(policies: Sequence[Policy]) -> Policy:
    """The same policy under several divisions into folds: what it does on average."""
    first = policies[0]
    return Policy(
        name=first.name,
        quality=np.mean([one.quality for one in policies], axis=0),
        cost=np.mean([one.cost for one in policies], axis=0),
        seconds=np.mean([one.seconds for one in policies], axis=0),
        shares=tuple(float(share) for share in np.mean([one.shares for one in policies], axis=0)),
    )


def choose(expected: Floats, price: Floats, cost_weight: float) -> Ints:
    """Best expected score less the weighted price, prices on a scale where the dearest model costs 1."""
    scale = price.max(axis=1, keepdims=True)
    relative = np.divide(price, scale, out=np.zeros_like(price), where=scale > 0)
    found: Ints = (expected - cost_weight * relative - 1e-9 * relative).argmax(axis=1)
    return found


def oracle(table: Table) -> Policy:
    """Of the models that do best on an item, the cheapest: a bound that nobody reaches."""
    best = table.score >= table.score.max(axis=1, keepdims=True) - 1e-9
    return by_choice("oracle", table, np.where(best, table.cost, np.inf).argmin(axis=1))


def thrifty(table: Table, learner: Learner, ahead: Forecast, seed: int) -> Ints:
    """Choices at the largest cost weight that keeps the quality of the best single model, chosen without the item's
    fold: for each fold, predictions inside the rest are cross-fitted once more."""
    fold = folds_of(table.items, seed)
    choice = np.zeros(len(table.items), int)
    for number in range(FOLDS):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        inner = forecast(table, learner, seed + 1, train, INNER_FOLDS)
        wanted = table.score[train].mean(axis=0).max()
        weight = 0.0
        for candidate in COST_WEIGHTS:
            tried = choose(inner.profile[train], inner.price[train], candidate)
            if table.score[train, tried].mean() >= wanted:
                weight = candidate
        choice[test] = choose(ahead.profile[test], ahead.price[test], weight)
    return choice


class Simulation(Value, frozen=True):
    """Every policy on the same items. `sweep`, `group_sweep`: profile and group means at rising cost weights."""

    table: Table
    singles: tuple[Policy, ...]
    best_single: Policy
    policies: tuple[Policy, ...]
    sweep: tuple[Policy, ...]
    group_sweep: tuple[Policy, ...]
    oracle: Policy


def simulate(table: Table, learner: Learner, seed: int = 0, repeats: int = REPEATS) -> Simulation:
    """Cross-fit the profile `repeats` times and let every policy choose on items held back."""
    heads: dict[str, list[Policy]] = {}
    swept: list[list[Policy]] = [[] for _ in COST_WEIGHTS]
    grouped: list[list[Policy]] = [[] for _ in COST_WEIGHTS]
    for repeat in range(repeats):
        ahead = forecast(table, learner, seed + 100 * repeat)
        choices = {
            "best single model": ahead.incumbent,
            "profile": choose(ahead.profile, ahead.price, 0.0),
            "profile, guarded": ahead.guarded,
            "profile, as cheap as the quality allows": thrifty(table, learner, ahead, seed + 100 * repeat),
            "group means (intent, language)": choose(ahead.groups, ahead.price, 0.0),
        }
        for name, choice in choices.items():
            heads.setdefault(name, []).append(by_choice(name, table, choice))
        for place, weight in enumerate(COST_WEIGHTS):
            for expected, into in ((ahead.profile, swept), (ahead.groups, grouped)):
                into[place].append(by_choice(f"cost weight {weight:g}", table, choose(expected, ahead.price, weight)))
    singles = tuple(
        by_choice(model, table, np.full(len(table.items), column)) for column, model in enumerate(table.models)
    )
    means = {name: averaged(found) for name, found in heads.items()}
    return Simulation(
        table=table,
        singles=singles,
        best_single=means.pop("best single model"),
        policies=tuple(means.values()),
        sweep=tuple(averaged(found) for found in swept),
        group_sweep=tuple(averaged(found) for found in grouped),
        oracle=oracle(table),
    )


# ---------------------------------------------------------------- beside the controls


def standings(simulation: Simulation, policies: Sequence[Policy], seed: int = 0) -> tuple[Standing, ...]:
    """Each policy with intervals over the items, beside best single, random at its cost, and its shares shuffled."""
    weights = weights_of(len(simulation.table.items), seed)
    whole = np.full((1, weights.shape[1]), 1 / weights.shape[1])
    return tuple(
        Standing(
            name=policy.name,
            quality=_interval(_mean(policy.quality), weights, whole),
            cost=_interval(_mean(policy.cost), weights, whole),
            answer_s=float(policy.seconds.mean()),
            over_best=_interval(_mean(policy.quality - simulation.best_single.quality), weights, whole),
            over_random=_interval(_OverRandom(simulation, policy), weights, whole),
            over_shuffled=_interval(_mean(policy.quality - _shuffled(simulation.table, policy)), weights, whole),
            cost_saved=_interval(_Saved(simulation, policy), weights, whole),
            shares=policy.shares,
        )
        for policy in policies
    )


class _Statistic(Protocol):
    def __call__(self, weights: Floats) -> Floats: ...


def _interval(statistic: _Statistic, weights: Floats, whole: Floats) -> Interval:
    low, high = bounds(statistic(weights))
    return Interval(mean=float(statistic(whole)[0]), low=low, high=high, n=weights.shape[1])


def _mean(values: Floats) -> _Statistic:
    def statistic(weights: Floats) -> Floats:
        return weights @ values

    return statistic


def _shuffled(table: Table, policy: Policy) -> Floats:
    """The policy's shares dealt out by chance: what each item scores on average."""
    mixed: Floats = table.score @ np.array(policy.shares)
    return mixed


class _OverRandom:
    """Quality less that of the best random mixture of single models at the same mean cost, in each resample."""

    def __init__(self, simulation: Simulation, policy: Policy) -> None:
        self._score, self._cost = simulation.table.score, simulation.table.cost
        self._policy = policy

    def __call__(self, weights: Floats) -> Floats:
        qualities, costs = weights @ self._score, weights @ self._cost
        budgets = weights @ self._policy.cost
        matched = [
            on_hull(cost, quality, float(budget))
            for cost, quality, budget in zip(costs, qualities, budgets, strict=True)
        ]
        difference: Floats = weights @ self._policy.quality - np.array(matched)
        return difference


class _Saved:
    """Share of the best single model's cost that is saved."""

    def __init__(self, simulation: Simulation, policy: Policy) -> None:
        self._best, self._policy = simulation.best_single, policy

    def __call__(self, weights: Floats) -> Floats:
        spent, before = weights @ self._policy.cost, weights @ self._best.cost
        saved: Floats = 1 - np.divide(spent, before, out=np.ones_like(spent), where=before > 0)
        return saved


SHOWN_WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
BUDGETS = 25


class Swept(Value, frozen=True):
    """The profile at one cost weight. `over_best`: its utility (quality less weighted cost, the dearest model's mean
    cost being 1) less that of the single model with the most utility, found in hindsight; `groups_over_best`: that of
    the group means."""

    weight: float
    standing: Standing
    over_best: Interval
    groups_over_best: Interval


def sweep(simulation: Simulation, seed: int = 0) -> tuple[Swept, ...]:
    """The profile at the weights that are shown."""
    weights = weights_of(len(simulation.table.items), seed)
    whole = np.full((1, weights.shape[1]), 1 / weights.shape[1])
    shown = [COST_WEIGHTS.index(weight) for weight in SHOWN_WEIGHTS]
    found = standings(simulation, [simulation.sweep[place] for place in shown], seed)

    def over_best(policy: Policy, place: int) -> Interval:
        return _interval(_UtilityGain(simulation.table, policy, COST_WEIGHTS[place]), weights, whole)

    return tuple(
        Swept(
            weight=COST_WEIGHTS[place],
            standing=standing,
            over_best=over_best(simulation.sweep[place], place),
            groups_over_best=over_best(simulation.group_sweep[place], place),
        )
        for place, standing in zip(shown, found, strict=True)
    )


class _UtilityGain:
    def __init__(self, table: Table, policy: Policy, weight: float) -> None:
        scale = float(table.cost.mean(axis=0).max()) or 1.0
        self._ours = policy.quality - weight * policy.cost / scale
        self._singles = table.score - weight * table.cost / scale

    def __call__(self, weights: Floats) -> Floats:
        gain: Floats = weights @ self._ours - (weights @ self._singles).max(axis=1)
        return gain


class Area(Value, frozen=True):
    """The profile at every budget from the cheapest to the dearest model, averaged: how many points it is above the
    best random mixtures, and above the best single model that the budget affords."""

    over_mixtures: Interval
    over_singles: Interval


def area(simulation: Simulation, seed: int = 0) -> Area:
    """Between two cost weights lies what choosing the weight by chance gives."""
    weights = weights_of(len(simulation.table.items), seed)
    whole = np.full((1, weights.shape[1]), 1 / weights.shape[1])
    return Area(
        over_mixtures=_interval(_OverBudgets(simulation, on_hull), weights, whole),
        over_singles=_interval(_OverBudgets(simulation, affordable), weights, whole),
    )


class _OverBudgets:
    def __init__(self, simulation: Simulation, control: "_Control") -> None:
        self._table, self._control = simulation.table, control
        self._quality = np.array([one.quality for one in simulation.sweep]).T
        self._cost = np.array([one.cost for one in simulation.sweep]).T

    def __call__(self, weights: Floats) -> Floats:
        sides = (self._table.score, self._table.cost, self._quality, self._cost)
        return np.array([self._mean(*one) for one in zip(*(weights @ side for side in sides), strict=True)])

    def _mean(self, singles: Floats, prices: Floats, qualities: Floats, costs: Floats) -> float:
        order = costs.argsort(kind="stable")
        budgets = np.linspace(prices.min(), prices.max(), BUDGETS)
        ours = np.interp(budgets, costs[order], qualities[order])
        return float(np.mean(ours - [self._control(prices, singles, budget) for budget in budgets.tolist()]))


class _Control(Protocol):
    def __call__(self, costs: Floats, qualities: Floats, budget: float) -> float: ...


def affordable(costs: Floats, qualities: Floats, budget: float) -> float:
    """Quality of the best single model whose mean cost is at most `budget` (of the cheapest where none is)."""
    within = costs <= budget + 1e-9
    return float(qualities[within].max() if within.any() else qualities[costs.argmin()])


def on_hull(costs: Floats, qualities: Floats, budget: float) -> float:
    """Quality of the best random mixture of two models whose mean cost is at most `budget` (of the cheapest model
    where the budget is below all)."""
    best = float(qualities[costs.argmin()])
    for cost, quality in zip(costs, qualities, strict=True):
        if cost <= budget + 1e-12:
            best = max(best, float(quality))
            for dearer, better in zip(costs, qualities, strict=True):
                if dearer > max(budget, cost):
                    best = max(best, float(quality + (budget - cost) / (dearer - cost) * (better - quality)))
    return best
