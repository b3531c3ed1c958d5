"""`python -m bench.bandit --data FOLDER [--seeds 10] [--write]`: does learning pay? Written to docs/learning.md.

Questions with graded answers of many models, three in ten fit a quality profile, the others arrive one by one, in an
order drawn by the seed. Whoever is chosen is judged by its grade, on every request or on one in five. Compared on the
same questions: the static profile, as the router guards it; the bandit; the same without trying anything (greedy); any
model at random; and the one model that was best in hindsight, which nobody can know. Three worlds: as it is; without a
profile, so that all models are held to be equally good; and one where half-way through the profile's favourite and the
worst model change places, as when a bad build is rolled out. Prices play no part.

Scores are the bandit's own terms; the router's others (load, readiness …) are equal here, so they are left out.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from train import routing_sets as sets

from bench.fleet.page import rewrite
from pointsman.learning.fit import fit_profile
from pointsman.learning.rows import Graded
from pointsman.policy import bandit
from pointsman.policy.judged import judge
from pointsman.policy.quality import QualityProfile
from pointsman.settings import BanditSettings, RoutingSettings
from pointsman.signals.classifier import Classifier
from pointsman.testing.decisions import ask
from pointsman.types import Candidate, Signals
from pointsman.types_learned import Learned

PAGE = Path(__file__).resolve().parent.parent / "docs/learning.md"
PICTURE = PAGE.parent / "plots/bandit.png"
FITTED, LIKELY_T = 0.3, {4: 2.776, 9: 2.262, 19: 2.093}
EQUAL = 0.5
CHECKPOINTS = 40
Floats = npt.NDArray[np.float64]

TABLES: dict[str, Callable[[Path], Graded]] = {"MMLU-Pro": sets.mmlu_pro, "LLMRouterBench": sets.llmrouter}
BANDIT = BanditSettings(enabled=True)
GREEDY = BANDIT.model_copy(update={"epsilon_max": 0.0})


class Stream(NamedTuple):
    """Questions in order: `grades` and what models are held to be good at, `held`, (n, models)."""

    models: tuple[str, ...]
    signals: list[Signals]
    grades: Floats
    held: Floats


def stream_of(table: Graded, signals: list[Signals], seed: int) -> Stream:
    """The questions that the profile was not fitted on, as the router's guard sees them."""
    order = np.random.default_rng(seed).permutation(len(table.prompts))
    fitted, rest = np.split(order, [int(FITTED * len(order))])
    profile = QualityProfile(fit_profile(sets.without_groups(table.take(fitted)), seed=seed))
    held = np.zeros((len(rest), len(table.models)))
    for row, question in enumerate(rest):
        judged = judge(profile, ask(table.prompts[question]), signals[question])
        means = dict(profile.overall())
        for column, model in enumerate(table.models):
            verdict = judged.of(model)
            held[row, column] = verdict.quality if verdict else means[model]
    return Stream(
        models=table.models,
        signals=[signals[question] for question in rest],
        grades=table.scores[rest].astype(np.float64),
        held=held,
    )


def turned(stream: Stream) -> Stream:
    """Half-way the favourite and the worst change places, and nobody says so."""
    grades, half = stream.grades.copy(), len(stream.grades) // 2
    favourite = int(np.bincount(stream.held.argmax(1)).argmax())
    worst = int(grades.mean(0).argmin())
    grades[half:, [favourite, worst]] = grades[half:, [worst, favourite]]
    return stream._replace(grades=grades)


def blank(stream: Stream) -> Stream:
    return stream._replace(held=np.full_like(stream.held, EQUAL))


WORLDS: dict[str, Callable[[Stream], Stream]] = {
    "as it is": lambda stream: stream,
    "no profile": blank,
    "the favourite turns bad": turned,
}


def learned(stream: Stream, settings: BanditSettings, judged: float, seed: int) -> Floats:
    """The score of every choice, (n,), verdicts coming at once on a share of them."""
    chance = np.random.default_rng(seed)
    evidence = {model: bandit.nothing(model) for model in stream.models}
    known = {model: bandit.learned_of(one) for model, one in evidence.items()}
    ready = frozenset(stream.models)
    scores = np.zeros(len(stream.grades))
    for row, signals in enumerate(stream.signals):
        features = {model: _features(signals, stream.held[row, column]) for column, model in enumerate(stream.models)}
        ranked = _ranked(stream, row, features, known)
        odds = bandit.odds_of(ranked, ready, known.values(), settings)
        first = bandit.drawn(ranked, odds, ready, f"{seed} {row}")[0][0] if odds else ranked[0]
        column = stream.models.index(first.model_id)
        scores[row] = stream.grades[row, column]
        if chance.random() < judged:
            model = first.model_id
            difference = scores[row] - stream.held[row, column]
            evidence[model] = bandit.taught(evidence[model], features[model], difference, settings.half_life)
            known[model] = bandit.learned_of(evidence[model])
    return scores


def _features(signals: Signals, held: float) -> bandit.Features:
    label, language = signals.intent.label, signals.language.label
    return bandit.features_of(label, language, signals.complexity.label, signals.prompt_tokens, held)


def _ranked(
    stream: Stream, row: int, features: dict[str, bandit.Features], known: dict[str, Learned]
) -> tuple[Candidate, ...]:
    """By quality and what is learned beyond it, weighted as the router does."""
    found = []
    for column, model in enumerate(stream.models):
        term = bandit.term_of(known[model], features[model], 1.0)
        score = (stream.held[row, column] + term.value * term.weight) / (1 + term.weight)
        found.append(Candidate(deployment_id=model, model_id=model, score=round(score, 6)))
    return tuple(sorted(found, key=lambda one: (-one.score, one.model_id)))


def policies(stream: Stream, seed: int) -> dict[str, Floats]:
    """The scores of every policy's choices, (n,) each."""
    rows = np.arange(len(stream.grades))
    anybody = np.random.default_rng(seed).integers(0, len(stream.models), len(rows))
    return {
        "static profile": stream.grades[rows, stream.held.argmax(1)],
        "bandit": learned(stream, BANDIT, 1.0, seed),
        "bandit, one in five judged": learned(stream, BANDIT, 0.2, seed),
        "greedy": learned(stream, GREEDY, 1.0, seed),
        "any model": stream.grades[rows, anybody],
        "best single, in hindsight": stream.grades[:, stream.grades.mean(0).argmax()],
    }


class Figure(NamedTuple):
    """Of one table, world and policy: by seed the mean score, its gain over the static profile, and the curve of what
    was gained up to each checkpoint, (seeds, CHECKPOINTS)."""

    scores: Floats
    gains: Floats
    curves: Floats


Figures = dict[tuple[str, str, str], Figure]


def measured(data: Path, seeds: int) -> Figures:
    classifier = Classifier(RoutingSettings.model_construct())
    found: Figures = {}
    for name, read in TABLES.items():
        table = read(data)
        signals = [classifier.measure(ask(prompt)) for prompt in table.prompts]
        streams = [stream_of(table, signals, seed) for seed in range(seeds)]
        for world, change in WORLDS.items():
            runs = [policies(change(stream), seed) for seed, stream in enumerate(streams)]
            for policy in runs[0]:
                found[name, world, policy] = _figure(
                    [run[policy] for run in runs], [run["static profile"] for run in runs]
                )
    return found


def _figure(ours: list[Floats], static: list[Floats]) -> Figure:
    n = min(map(len, ours))
    at = np.linspace(0, n - 1, CHECKPOINTS).astype(int)
    gained = np.stack([(one - other)[:n].cumsum()[at] for one, other in zip(ours, static, strict=True)])
    means = np.array([one.mean() for one in ours])
    return Figure(scores=means, gains=means - np.array([one.mean() for one in static]), curves=gained)


def reach(values: Floats) -> Floats:
    """Half of the 95 % interval of the mean over seeds."""
    n = len(values)
    found: Floats = LIKELY_T.get(n - 1, 1.96) * values.std(0, ddof=1) / math.sqrt(n)
    return found


def table_of(found: Figures) -> str:
    seeds = len(next(iter(found.values())).scores)
    lines = [
        f"Points of a hundred; gain over the static profile on the same questions, 95 % interval over {seeds} seeds."
    ]
    lines += ["", "| questions | world | policy | mean score | gain |", "|---|---|---|---|---|"]
    for (name, world, policy), one in found.items():
        gain = "–" if policy == "static profile" else f"{100 * one.gains.mean():+.1f} ± {100 * reach(one.gains):.1f}"
        lines.append(f"| {name} | {world} | {policy} | {100 * one.scores.mean():.1f} | {gain} |")
    return "\n".join(lines)


def draw(found: Figures) -> None:
    """Regret against the static profile: below zero is better than it."""
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(11, 6), layout="constrained")
    axes = picture.subplots(len(TABLES), len(WORLDS), squeeze=False)
    shown = {"bandit": "#0072B2", "bandit, one in five judged": "#56B4E9", "greedy": "#D55E00"}
    for row, name in enumerate(TABLES):
        for column, world in enumerate(WORLDS):
            place = axes[row][column]
            for policy, colour in shown.items():
                curves = -found[name, world, policy].curves
                mean, half, at = curves.mean(0), reach(curves), np.linspace(0, 100, CHECKPOINTS)
                place.plot(at, mean, color=colour, label=policy)
                place.fill_between(at, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
            place.axhline(0, color="#666666", linewidth=1)
            place.set_title(f"{name}: {world}", fontsize=9)
            place.set_xlabel("share of the questions (%)", fontsize=8)
            place.set_ylabel("regret against the static profile (answers)", fontsize=8)
    axes[0][0].legend(fontsize=8)
    PICTURE.parent.mkdir(exist_ok=True)
    picture.savefig(PICTURE, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the public sets that `train.routing_sets` reads")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="into the page, with a picture")
    arguments = parser.parse_args()
    found = measured(arguments.data, arguments.seeds)
    print(table_of(found))
    if arguments.write:
        rewrite(PAGE, "bandit", table_of(found))
        draw(found)


if __name__ == "__main__":
    main()
