"""Whether quality profiles choose better than dumb rules do, on questions they never saw.

    python -m train.measure_routing --data FOLDER [--seeds 5]

Prints figures as JSON lines. A profile sees prompts and scores alone: no subject, task or source. Controls `group mean`
are told the subject or task of each question; the profile is not. Every interval is a paired bootstrap over questions,
each with its five outcomes (one a seed) averaged first; seeds differ in how questions are split.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from train import routing_sets as sets
from train.measured import Figure, bootstrap, write

from pointsman.learning.evaluate import COST_WEIGHTS
from pointsman.learning.fit import fit_profile
from pointsman.learning.join import join_models
from pointsman.learning.measures import aiq, apgr, calls_needed
from pointsman.learning.rows import Graded
from pointsman.policy.quality import QualityProfile
from pointsman.settings import RoutingSettings
from pointsman.signals.classifier import Classifier
from pointsman.types import JsonPayload, Kind, Request, Turn

FOLDS = 5
CURVE_RESAMPLES = 200
JOINING_ANSWERS = 200
FAILED = 0.5  # a score below this
CELL = 30  # questions, by predicted quality, whose mean is held against their mean interval


class Asked(NamedTuple):
    """What profiles said of questions they had not seen: rows, means, guarded picks at weight 0."""

    rows: Any
    means: Any
    picks: Any
    profile: QualityProfile
    views: tuple[Any, ...]


def ask(table: Graded, train: Any, test: Any, seed: int) -> Asked:
    """Fit on some rows, ask about others; the profile sees no groups."""
    profile = QualityProfile(fit_profile(sets.without_groups(table.take(train)), seed=seed))
    views = tuple(profile.view(table.prompts[row]) for row in test)
    picks = [profile.models.index(profile.choose(view).model_id) for view in views]
    return Asked(
        rows=test, means=np.array([v.means for v in views]), picks=np.array(picks), profile=profile, views=views
    )


def folds(size: int, seed: int) -> list[tuple[Any, Any]]:
    """Five pairs (train, test) of question numbers."""
    fold = np.random.default_rng(seed).permutation(size) % FOLDS
    return [(np.flatnonzero(fold != at), np.flatnonzero(fold == at)) for at in range(FOLDS)]


def split(size: int, seed: int) -> tuple[Any, Any]:
    """One such pair."""
    return folds(size, seed)[0]


# ---------------------------------------------------------------- two models


def out_of_fold(table: Graded, seeds: int) -> dict[str, Any]:
    """Keys that order questions by expected gain of the second model, `(seeds, N)` each.

    A fold's own mean is taken off each key: it falls where the fold's outcomes rise, and would punish every learner.
    """
    size = len(table.prompts)
    weak, strong = table.models.index(sets.WEAK), table.models.index(sets.STRONG)
    rules = {"group mean": sets.group_means, "tfidf ridge": sets.word_ridge}
    keys = {name: np.zeros((seeds, size)) for name in ("profile", *rules)}
    for seed in range(seeds):
        for train, test in folds(size, seed):
            centre = table.scores[train].mean(0)
            said = {name: rule(table, train, test) for name, rule in rules.items()}
            said["profile"] = ask(table, train, test, seed).means
            for name, means in said.items():
                deviations = means - centre
                keys[name][seed, test] = deviations[:, strong] - deviations[:, weak]
    keys["length"] = np.tile([float(len(prompt)) for prompt in table.prompts], (seeds, 1))
    keys["random"] = np.random.default_rng(0).random((seeds, size))
    keys["shuffled labels"] = np.stack(
        [np.random.default_rng(s).permutation(row) for s, row in enumerate(keys["profile"])]
    )
    keys["oracle"] = np.tile(table.scores[:, strong] - table.scores[:, weak], (seeds, 1))
    return keys


def gap_figures(table: Graded, keys: dict[str, Any]) -> list[Figure]:
    """APGR, its paired lead over each control, and CPT."""
    weak, strong = (table.scores[:, table.models.index(one)].astype(float) for one in (sets.WEAK, sets.STRONG))
    size, name = len(table.prompts), "RouteLLM MMLU, 1,500 labels, out of fold"

    def area(key: Any, rows: Any) -> float:
        return float(np.mean([apgr(one[rows], weak[rows], strong[rows]) for one in key]))

    def lead_over(which: str) -> Callable[[Any], float]:
        return lambda rows: area(keys["profile"], rows) - area(keys[which], rows)

    every = np.arange(size)
    values = {which: area(key, every) for which, key in keys.items()}
    controls = {which: value for which, value in values.items() if which != "profile"}
    low, high = bootstrap(size, lambda rows: area(keys["profile"], rows), CURVE_RESAMPLES)
    found = [
        Figure(
            "APGR", name, size, values["profile"], low, high,
            controls | {"always cheapest (accuracy)": weak.mean(), "always strongest (accuracy)": strong.mean()},
            "≥ .66", values["profile"] >= 0.66,
        )
    ]  # fmt: skip
    for which in ("length", "tfidf ridge", "group mean"):
        low, high = bootstrap(size, lead_over(which), CURVE_RESAMPLES)
        lead = values["profile"] - values[which]
        found.append(Figure(f"APGR above {which}", name, size, lead, low, high, {}, "> 0", lead > 0))
    for share in (0.5, 0.8):
        needed = {w: float(np.mean([calls_needed(k, weak, strong, share) for k in key])) for w, key in keys.items()}
        mine = needed.pop("profile")
        found.append(Figure(f"CPT{100 * share:.0f}", name, size, mine, None, None, needed))
    return found


# ---------------------------------------------------------------- many models


def _score(table: Graded, rows: Any, picks: Any) -> Any:
    return table.scores[rows, picks].astype(float)


def quality_figures(table: Graded, asked: list[Asked], name: str, target: str, least: float) -> list[Figure]:
    """Gain of the guarded choice over the best single model of the training rows, paired, in points."""
    seen: dict[str, list[Any]] = {}
    questions = np.concatenate([one.rows for one in asked])
    for one in asked:
        train = np.setdiff1d(np.arange(len(table.prompts)), one.rows)
        for which, scores in _rules(table, train, one).items():
            seen.setdefault(which, []).append(scores)
    outcomes = {which: np.concatenate(parts) for which, parts in seen.items()}
    single = outcomes["best single"]
    gain = _by_question(questions, outcomes["profile"] - single)
    low, high = bootstrap(len(gain), lambda rows: 100 * float(gain[rows].mean()))
    controls = {
        which: 100 * float(_by_question(questions, out - single).mean())
        for which, out in outcomes.items()
        if which != "profile"
    }
    value = 100 * float(gain.mean())
    return [
        Figure(
            "points above best single",
            name,
            len(gain),
            value,
            low,
            high,
            controls,
            target,
            value >= least if target else None,
        )
    ]


def _by_question(questions: Any, values: Any) -> Any:
    """Mean of a question's values over the seeds that tested it."""
    _, index = np.unique(questions, return_inverse=True)
    return np.bincount(index, values) / np.bincount(index)


def _rules(table: Graded, train: Any, one: Asked) -> dict[str, Any]:
    """Score of what every rule picks, a question each."""
    test = one.rows
    generator = np.random.default_rng(len(train))
    single = np.full(len(test), int(table.scores[train].mean(0).argmax()))
    prices = np.nan_to_num(np.nanmean(table.costs[train], 0))
    picks = {
        "profile": one.picks,
        "profile without guard": one.means.argmax(1),
        "random": generator.integers(0, len(table.models), len(test)),
        "shuffled at matched cost": generator.permutation(one.picks),
        "always cheapest": np.full(len(test), int(prices.argmin())),
        "always dearest": np.full(len(test), int(prices.argmax())),
        "best single": single,
        "length": sets.length_line(table, train, test).argmax(1),
        "group mean": sets.group_means(table, train, test).argmax(1),
        "tfidf ridge": sets.word_ridge(table, train, test).argmax(1),
        "oracle": table.scores[test].argmax(1),
    }
    return {which: _score(table, test, pick) for which, pick in picks.items()}


def money_figure(table: Graded, asked: list[Asked], name: str, target: str = "", least: float = 0.0) -> Figure:
    """AIQ as the cost weight grows, against hulls of the same costs."""
    curves: dict[str, list[tuple[Any, Any]]] = {}
    for one in asked:
        train = np.setdiff1d(np.arange(len(table.prompts)), one.rows)
        for which, picks in _sweeps(table, train, one).items():
            points = [(table.costs[one.rows, p], table.scores[one.rows, p]) for p in picks]
            curves.setdefault(which, []).append((np.array([c for c, _ in points]), np.array([q for _, q in points])))

    def area(which: str, generator: np.random.Generator | None = None) -> float:
        found = []
        for one, (costs, scores) in zip(asked, curves[which], strict=True):
            size = len(one.rows)
            rows = np.arange(size) if generator is None else generator.integers(0, size, size)
            single = table.costs[one.rows[rows]].mean(0)
            low, high = float(single.min()), float(single.max())
            found.append(aiq(costs[:, rows].mean(1), scores[:, rows].mean(1), low, high))
        return float(np.mean(found))

    values = {which: area(which) for which in curves}
    mine = values.pop("profile")
    generator = np.random.default_rng(0)
    low, high = np.percentile([area("profile", generator) for _ in range(CURVE_RESAMPLES)], [2.5, 97.5])
    size = sum(len(one.rows) for one in asked)
    return Figure("AIQ", name, size, mine, float(low), float(high), values, target, mine >= least if target else None)


def _sweeps(table: Graded, train: Any, one: Asked) -> dict[str, list[Any]]:
    """Picks at every cost weight, by rule."""
    profile, test = one.profile, one.rows
    dearest = float(table.costs[train].mean(0).max())
    flat = table.costs[train].mean(0) / dearest
    column = {model: place for place, model in enumerate(table.models)}
    found = {
        "profile": [
            np.array([column[profile.choose(view, weight).model_id] for view in one.views]) for weight in COST_WEIGHTS
        ],
        "single models": [np.full(len(test), place) for place in range(len(table.models))],
        "oracle": [(table.scores[test] - w * table.costs[test] / dearest).argmax(1) for w in COST_WEIGHTS],
    }
    rules: dict[str, Callable[..., Any]] = {
        "length": sets.length_line, "group mean": sets.group_means, "tfidf ridge": sets.word_ridge,
    }  # fmt: skip
    for which, rule in rules.items():
        means = rule(table, train, test)
        found[which] = [(means - weight * flat).argmax(1) for weight in COST_WEIGHTS]
    return found


def coverage_figure(table: Graded, asked: list[Asked], name: str) -> Figure:
    """Share of cells, CELL questions of like estimate and one model, whose mean score lies within their interval.

    A cell's own sampling noise is allowed for on top of the interval: an outcome is right or wrong, never .7.
    """
    inside = []
    for one in asked:
        for column in range(len(table.models)):
            told = [one.profile.estimates(view)[column] for view in one.views]
            order = np.argsort([estimate.mean for estimate in told])
            for part in np.array_split(order, max(1, len(order) // CELL)):
                mean = float(np.mean([told[at].mean for at in part]))
                reach = float(np.mean([(told[at].high - told[at].low) / 2 for at in part]))
                scores = table.scores[one.rows[part], column]
                noise = 1.645 * float(scores.std()) / len(part) ** 0.5
                inside.append(abs(float(scores.mean()) - mean) <= float(np.hypot(reach, noise)))
    value = float(np.mean(inside))
    low, high = bootstrap(len(inside), lambda rows: float(np.array(inside)[rows].mean()))
    return Figure(
        "coverage of 90 % intervals",
        name,
        len(inside),
        value,
        low,
        high,
        {},
        ".9 or more, or within the interval",
        high >= 0.9,
    )


def join_figure(table: Graded, train: Any, test: Any, seed: int) -> Figure:
    """Each model in turn joins a profile of the others from 200 answers; its estimates' squared error on the test."""
    joined, mean, full = [], [], []
    whole = ask(table, train, test, seed)
    few = np.random.default_rng(seed).permutation(train)[:JOINING_ANSWERS]
    for column in range(0, len(table.models), 3):
        others = [at for at in range(len(table.models)) if at != column]
        base = QualityProfile(fit_profile(_columns(table.take(train), others), seed=seed))
        profile = QualityProfile(join_models(base, _columns(table.take(few), [column])))
        truth = table.scores[test, column]
        told = np.array([profile.view(table.prompts[row]).means[-1] for row in test])
        joined.append((told - truth) ** 2)
        mean.append((table.scores[few, column].mean() - truth) ** 2)
        full.append((whole.means[:, column] - truth) ** 2)
    ours = np.mean(joined, axis=0)
    low, high = bootstrap(len(test), lambda rows: float(ours[rows].mean()))
    controls = {"mean of the 200": float(np.mean(mean)), "fitted with all answers": float(np.mean(full))}
    return Figure(
        f"squared error of a model that joined from {JOINING_ANSWERS} answers", "LLMRouter, 11 tasks", len(test),
        float(ours.mean()), low, high, controls, "< mean", float(ours.mean()) < float(np.mean(mean)),
    )  # fmt: skip


def _columns(table: Graded, columns: list[int]) -> Graded:
    return Graded(
        prompts=table.prompts, models=tuple(table.models[at] for at in columns), scores=table.scores[:, columns],
        costs=table.costs[:, columns], latencies_ms=table.latencies_ms[:, columns],
    )  # fmt: skip


# ---------------------------------------------------------------- complexity and transfer


def hardness(prompts: tuple[str, ...]) -> Any:
    """What the classifier's complexity says: expected place on low 0, medium 1, high 2."""
    classifier = Classifier(RoutingSettings())
    places = {"low": 0.0, "medium": 1.0, "high": 2.0}
    found = []
    for prompt in prompts:
        request = Request(
            id="0",
            kind=Kind.CHAT,
            model="auto",
            payload=JsonPayload(members=()),
            turns=(Turn(role="user", text=prompt),),
        )
        told = classifier.measure(request).complexity
        found.append(told.p * places[told.label] + sum(p * places[label] for label, p in told.alternatives))
    return np.array(found)


def ranked(key: Any, positive: Any) -> float:
    """AUROC by ranks, ties counting half."""
    _, index, counts = np.unique(key, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    n = positive.sum()
    if n in {0, len(positive)}:
        return float("nan")
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def complexity_figures(what: str, positive: Any, keys: dict[str, Any], name: str) -> list[Figure]:
    """How well each key, higher is harder, tells the positive questions; and what it adds to length and group mean
    together (a logistic regression, out of fold)."""
    size = len(positive)

    def ranking(key: Any, less: Any = None) -> Callable[[Any], float]:
        def lead(rows: Any) -> float:
            return ranked(key[rows], positive[rows]) - (0.0 if less is None else ranked(less[rows], positive[rows]))

        return lead

    alone = {which: ranked(key, positive) for which, key in keys.items()}
    base = [keys[which] for which in ("length", "group mean") if which in keys]
    before = _logistic(base, positive)
    found = []
    for which in ("complexity signal", "profile"):
        low, high = bootstrap(size, ranking(keys[which]), 300)
        others = {other: value for other, value in alone.items() if other != which} | {"random": 0.5}
        found.append(Figure(f"AUROC of {what}, by {which}", name, size, alone[which], low, high, others))
        after = _logistic([*base, keys[which]], positive)
        low, high = bootstrap(size, ranking(after, before), 300)
        gain = ranked(after, positive) - ranked(before, positive)
        beside = {"length and group mean": ranked(before, positive)}
        found.append(Figure(f"AUROC of {what}, added by {which}", name, size, gain, low, high, beside, "> 0", low > 0))
    return found


def _logistic(columns: list[Any], positive: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    return cross_val_predict(model, np.column_stack(columns), positive, cv=FOLDS, method="decision_function")


def pair_figures(data: Path, table: Graded, seed: int) -> list[Figure]:
    """Complexity on MMLU-Pro between two sizes of one model, and the same profile carried to hard mathematics."""
    columns = [table.models.index(sets.SMALL), table.models.index(sets.LARGE)]
    pair = Graded(
        prompts=table.prompts, models=(sets.SMALL, sets.LARGE), scores=table.scores[:, columns],
        costs=table.costs[:, columns], latencies_ms=table.latencies_ms[:, columns], groups=table.groups,
    )  # fmt: skip
    train, test = split(len(pair.prompts), seed)
    asked = ask(pair, train, test, seed)
    keys = {
        "complexity signal": hardness(tuple(pair.prompts[row] for row in test)),
        "profile": np.diff(asked.means, axis=1)[:, 0],
        "length": np.array([float(len(pair.prompts[row])) for row in test]),
        "group mean": np.diff(sets.group_means(pair, train, test), axis=1)[:, 0],
        "tfidf ridge": np.diff(sets.word_ridge(pair, train, test), axis=1)[:, 0],
    }
    small, large = pair.scores[test].T
    name = "MMLU-Pro, Llama 3.1 8B and 70B"
    column = asked.profile.models.index(sets.SMALL)
    failing = keys | {
        "profile": -asked.means[:, column],
        "group mean": -sets.group_means(pair, train, test)[:, 0],
        "tfidf ridge": -sets.word_ridge(pair, train, test)[:, 0],
    }
    return [
        *complexity_figures("needing the large model", large > small, keys, name),
        *complexity_figures("the small model failing", small < FAILED, failing, name),
        transfer_figure(data, asked),
    ]


def transfer_figure(data: Path, asked: Asked) -> Figure:
    """APGR of a profile of other subjects on hard mathematics: no label of that set was seen."""
    table = sets.zeroeval(data)
    small, large = (table.scores[:, table.models.index(one)].astype(float) for one in (sets.SMALL, sets.LARGE))
    whole = np.flatnonzero(~np.isnan(small) & ~np.isnan(large))
    small, large = small[whole], large[whole]
    means = np.array([asked.profile.view(table.prompts[row]).means for row in whole])
    column = {model: place for place, model in enumerate(asked.profile.models)}
    key = means[:, column[sets.LARGE]] - means[:, column[sets.SMALL]]
    low, high = bootstrap(len(key), lambda rows: apgr(key[rows], small[rows], large[rows]), 300)
    length = np.array([float(len(table.prompts[row])) for row in whole])
    controls = {"random": 0.5, "length": apgr(length, small, large), "oracle": apgr(large - small, small, large)}
    return Figure(
        "APGR without labels of the set", "from MMLU-Pro to MATH level 5, Llama 3.1 8B and 70B", len(key),
        apgr(key, small, large), low, high, controls,
    )  # fmt: skip


def gold_complexity(table: Graded, keys: dict[str, Any]) -> list[Figure]:
    """Complexity on the 1,500 questions of MMLU, from the same out-of-fold keys."""
    weak, strong = (table.scores[:, table.models.index(one)] for one in (sets.WEAK, sets.STRONG))
    chosen = {which: keys[which].mean(0) for which in ("profile", "length", "group mean", "tfidf ridge")}
    chosen["complexity signal"] = hardness(table.prompts)
    return complexity_figures("needing the large model", strong > weak, chosen, "MMLU, Mixtral-8x7B and GPT-4")


# ---------------------------------------------------------------- all of it


def held_out_tasks(table: Graded) -> list[tuple[Any, Any]]:
    """Two tasks at a time are never seen."""
    groups = np.array(table.groups)
    names = sorted(set(table.groups))
    held = [np.isin(groups, names[at : at + 2]) for at in range(0, len(names), 2)]
    return [(np.flatnonzero(~one), np.flatnonzero(one)) for one in held]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data sets")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry: the output is always JSON lines")
    options = parser.parse_args()

    gold = sets.gold(options.data)
    keys = out_of_fold(gold, options.seeds)
    write(gap_figures(gold, keys))

    tasks = sets.llmrouter(options.data)
    inside = [ask(tasks, *split(len(tasks.prompts), seed), seed) for seed in range(options.seeds)]
    name = "LLMRouter, 11 tasks, 9 models"
    write(quality_figures(tasks, inside, f"{name}, in distribution", "≥ +2", 2.0))
    write([money_figure(tasks, inside, f"{name}, list prices"), coverage_figure(tasks, inside, name)])
    outside = [ask(tasks, *pair, 0) for pair in held_out_tasks(tasks)]
    write(quality_figures(tasks, outside, f"{name}, tasks never seen", "≥ -0.3", -0.3))
    write([join_figure(tasks, *split(len(tasks.prompts), 0), 0)])

    pro = sets.mmlu_pro(options.data)
    asked = [ask(pro, *split(len(pro.prompts), seed), seed) for seed in range(min(options.seeds, 3))]
    name = "MMLU-Pro, 9 subjects, 11 models"
    write(quality_figures(pro, asked, f"{name}, in distribution", "", -100.0))
    write([money_figure(pro, asked, f"{name}, real answer lengths"), coverage_figure(pro, asked, name)])
    write(pair_figures(options.data, pro, 0))
    write(gold_complexity(gold, keys))


if __name__ == "__main__":
    main()
