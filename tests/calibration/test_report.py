"""From answers to claims: intervals, tests, routing on items held back, and the words and pictures that tell it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pointsman.calibration import statistics
from pointsman.calibration.items import FAMILIES, Item
from pointsman.calibration.journal import Answered, item_print
from pointsman.calibration.measured import (
    MONEY,
    SECONDS,
    WORK,
    Measured,
    cells,
    overall,
    pairs,
    profiles,
    speeds,
    table_of,
)
from pointsman.calibration.plots import draw
from pointsman.calibration.report import PICTURES, family, report
from pointsman.calibration.routing import (
    FOLDS,
    Row,
    Simulation,
    Table,
    affordable,
    area,
    folds_of,
    forecast,
    group_of,
    on_hull,
    simulate,
    standings,
    sweep,
)
from pointsman.calibration.runner import Failure, Target

SMALL, LARGE = (
    Target(model="small", model_print="a", size_bytes=100_000_000, concurrency=2),
    Target(model="large", model_print="b", size_bytes=1_000_000_000, concurrency=2),
)


# ---------------------------------------------------------------- statistics


def test_wilson_as_published() -> None:
    found = statistics.wilson([1.0] * 8 + [0.0] * 2)
    assert (found.mean, found.n) == (0.8, 10)
    assert (found.low, found.high) == pytest.approx((0.490, 0.943), abs=0.001)
    assert statistics.wilson([0.0] * 20).low == 0.0
    assert statistics.wilson([0.0] * 20).high == pytest.approx(0.161, abs=0.001)
    nothing = statistics.wilson([])
    assert (nothing.low, nothing.high, nothing.n) == (0.0, 1.0, 0)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"), [(10, 2, 0.0386), (2, 10, 0.0386), (5, 5, 1.0), (0, 0, 1.0), (0, 6, 0.03125)]
)
def test_mcnemar_as_published(only_first: int, only_second: int, p: float) -> None:
    assert statistics.mcnemar(only_first, only_second) == pytest.approx(p, abs=1e-4)


def test_holm_as_published() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert statistics.holm([]) == ()


def test_a_paired_difference_has_its_interval() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.random(400) < 0.7).astype(float), (rng.random(400) < 0.5).astype(float)
    found = statistics.paired(first, second)
    assert found.low < 0.2 < found.high
    assert found.is_significant()
    same = statistics.paired(first, first)
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    partial = statistics.paired(first * 0.5, second * 0.5)
    assert partial.p < 0.01
    assert statistics.paired(np.array([]), np.array([])).p == 1.0


def test_chance_alone_is_rarely_significant() -> None:
    rng = np.random.default_rng(1)
    tossed = [(rng.random((2, 60)) < 0.5).astype(float) for _ in range(100)]
    ps = [statistics.paired(first, second).p for first, second in tossed]
    assert sum(p < 0.05 for p in ps) <= 10


def test_profiles_that_differ_in_kind_are_told_from_those_that_differ_in_level() -> None:
    groups = ["a"] * 60 + ["b"] * 60
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.3, 120)
    assert statistics.interaction(np.where(np.array(groups) == "a", 0.5, -0.5) + noise, groups) < 0.01
    assert statistics.interaction(0.5 + noise, groups) > 0.05
    assert statistics.interaction(noise, ["a"] * 120) == 1.0


# ---------------------------------------------------------------- answers


def item(name: str, of_family: str, level: str = "low", language: str = "en") -> Item:
    return Item(
        id=f"{of_family}-{language}-{name}", family=of_family, language=language, intent="reasoning", complexity=level,
        prompt=f"{of_family} {name}?", max_tokens=8, grader="number", expected='{"answer": "2"}',
    )  # fmt: skip


def answer(asked: Item, target: Target, score: float, **changes: object) -> Answered:
    given = Answered(
        item=asked.id, item_print=item_print(asked), model=target.model, model_print=target.model_print, suite="v",
        score=score, prompt_tokens=30, completion_tokens=20, latency_ms=900.0, first_token_ms=100.0, concurrency=2,
        finish_reason="stop",
    )  # fmt: skip
    return msgspec.structs.replace(given, **changes)


def complementary(per_family: int = 40, strengths: tuple[float, float] = (0.9, 0.1), seed: int = 3) -> Measured:
    """`small` is good at arithmetic, `large` at code; nobody can translate."""
    rng = np.random.default_rng(seed)
    strong, weak = strengths
    shares = {"arithmetic": (strong, weak), "code": (weak, strong), "translation": (0.0, 0.0)}
    items = tuple(item(f"{number:02}", name) for name in shares for number in range(per_family))
    answers = tuple(
        answer(asked, target, float(rng.random() < share))
        for asked in items
        for target, share in zip((SMALL, LARGE), shares[asked.family], strict=True)
    )
    return Measured(items=items, targets=(SMALL, LARGE), answers=answers, errors=(0, 0), failures=(), suite="v1")


def test_cells_count_answers_and_not_questions() -> None:
    measured = complementary(4)
    measured = msgspec.structs.replace(measured, answers=measured.answers[1:])
    assert [cell.score.n for cell in overall(measured)] == [11, 12]
    assert [cell.group for cell in cells(measured, family)][:3] == ["arithmetic", "code", "translation"]


def test_pairs_claim_what_is_there() -> None:
    measured = complementary()
    found = {pair.group: pair for pair in pairs(measured, family)}
    assert found["arithmetic"].difference.mean > 0.5
    assert found["code"].p_adjusted < 0.001
    assert found["translation"].p_adjusted == 1.0
    (kind,) = profiles(measured)
    assert kind.p < 0.01


def test_speed_is_of_writing_and_of_whole_answers() -> None:
    small, _ = speeds(complementary(4))
    assert small.tokens_per_s == pytest.approx(19 / 0.8)
    assert (small.p50_s, small.first_token_p50_s, small.cut_off) == (0.9, 0.1, 0.0)


def test_cost_is_money_where_anything_has_a_price_else_work_else_time() -> None:
    measured = complementary(4)
    assert table_of(measured).unit == WORK
    assert table_of(measured).cost[0] == pytest.approx([0.1 * 50, 1.0 * 50])
    priced = msgspec.structs.replace(LARGE, cost_per_mtok=1.0)
    assert table_of(msgspec.structs.replace(measured, targets=(SMALL, priced))).unit == MONEY
    unknown = msgspec.structs.replace(LARGE, size_bytes=0)
    found = table_of(msgspec.structs.replace(measured, targets=(SMALL, unknown)))
    assert found.unit == SECONDS
    assert found.cost[0] == pytest.approx([0.9, 0.9])


def test_a_table_holds_what_all_have_answered() -> None:
    measured = complementary(4)
    assert len(table_of(msgspec.structs.replace(measured, answers=measured.answers[1:])).items) == 11


# ---------------------------------------------------------------- routing


class ByFamily:
    """A learner that reads the family off the prompt's first word, and remembers what it was fitted on."""

    def __init__(self) -> None:
        self.fitted: list[frozenset[str]] = []

    def fit(self, rows: Sequence[Row], models: tuple[str, ...], seed: int) -> "FamilyMeans":
        self.fitted.append(frozenset(row.item for row in rows))
        means = {
            name: [
                float(np.mean([row.score for row in rows if row.family == name and row.model == model] or [0.5]))
                for model in models
            ]
            for name in FAMILIES
        }
        return FamilyMeans(means, self.fitted[-1])


class FamilyMeans:
    def __init__(self, table: dict[str, list[float]], fitted: frozenset[str]) -> None:
        self.table, self.fitted = table, fitted

    def means(self, item: Item) -> Sequence[float]:
        assert item.id not in self.fitted, "chosen by a profile that was fitted on it"
        assert group_of(item) not in {_group(name) for name in self.fitted}, "or on its twin in another language"
        return self.table[item.prompt.split()[0]]

    def guarded(self, item: Item) -> int:
        return int(np.argmax(self.means(item)))


def _group(name: str) -> str:
    parts = name.split("-")
    return f"{parts[0]}-{parts[-1]}"


@pytest.fixture(scope="module")
def complements() -> Measured:
    return complementary()


@pytest.fixture(scope="module")
def simulation(complements: Measured) -> Simulation:
    return simulate(table_of(complements), ByFamily(), repeats=2)


def test_models_that_complement_each_other_are_routed_with_a_gain(simulation: Simulation) -> None:
    by_name = {one.name: one for one in standings(simulation, (*simulation.policies, simulation.oracle))}
    profile = by_name["profile"]
    assert profile.over_best.low > 0.1
    assert profile.over_random.low > 0.05
    assert profile.over_shuffled.low > 0.1
    assert sum(profile.shares) == pytest.approx(1.0)
    assert by_name["oracle"].quality.mean >= profile.quality.mean
    found = area(simulation)
    assert found.over_mixtures.low > 0
    assert found.over_singles.low > 0


def test_at_every_cost_weight_the_best_single_model_is_the_measure(simulation: Simulation) -> None:
    found = {one.weight: one for one in sweep(simulation)}
    assert found[0.2].over_best.low > 0
    assert found[0.2].standing.cost.mean <= found[0.05].standing.cost.mean
    assert found[0.8].standing.shares[0] >= found[0.05].standing.shares[0]


def test_where_there_is_nothing_to_learn_nothing_is_claimed() -> None:
    alike = complementary(40, strengths=(0.5, 0.5))
    found = simulate(table_of(alike), ByFamily(), repeats=2)
    (profile, *_) = standings(found, found.policies)
    assert profile.over_shuffled.low <= 0
    assert profile.over_random.low <= 0


def test_thrift_keeps_the_quality_and_saves(simulation: Simulation) -> None:
    """`large` costs ten times `small` and is needed for code alone."""
    thrifty = next(one for one in standings(simulation, simulation.policies) if "cheap" in one.name)
    assert thrifty.over_best.high > 0
    assert thrifty.cost.mean < simulation.singles[1].cost.mean() / 1.5


def test_twins_in_other_languages_stay_in_one_fold() -> None:
    items = [item(f"{number:02}", "code", language=language) for number in range(30) for language in ("en", "hi")]
    folds = folds_of(items, seed=4)
    assert list(folds[::2]) == list(folds[1::2])
    assert set(folds.tolist()) == set(range(FOLDS))
    scores = np.ones((60, 2))
    table = Table(items=tuple(items), models=("small", "large"), score=scores, cost=scores, seconds=scores, unit="s")
    forecast(table, ByFamily(), seed=4)  # its chooser asserts


def test_the_hull_of_single_models() -> None:
    costs, qualities = np.array([1.0, 2.0, 4.0]), np.array([0.2, 0.3, 0.8])
    assert on_hull(costs, qualities, 1.0) == pytest.approx(0.2)
    assert on_hull(costs, qualities, 2.0) == pytest.approx(0.4)  # a third of the way from first to last
    assert on_hull(costs, qualities, 4.0) == pytest.approx(0.8)
    assert on_hull(costs, qualities, 9.0) == pytest.approx(0.8)
    assert on_hull(costs, qualities, 0.5) == pytest.approx(0.2)
    assert affordable(costs, qualities, 3.9) == pytest.approx(0.3)
    assert affordable(costs, qualities, 0.5) == pytest.approx(0.2)


# ---------------------------------------------------------------- words and pictures


def test_a_report_says_what_was_found(complements: Measured, simulation: Simulation) -> None:
    text = report(complements, simulation, "", "2026-01-01")
    assert "Suite version `v1`: 120 questions to 2 models, 240 of 240 answered and graded." in text
    assert "**Out of reach of all these models** (by family): translation." in text
    assert "their strengths differ in kind" in text
    assert "| `small` − `large` | translation | +0.0 [+0.0, +0.0] | 40 | 1.000 | no difference can be claimed |" in text
    assert "**profile**: better than the best single model" in text
    assert "| family: code | `large`" in text
    for picture in PICTURES.values():
        assert f"](plots/{picture})" in text
    assert "nan" not in text


@pytest.mark.parametrize(("per_family", "taken"), [(20, "large"), (80, "small")])
def test_a_smaller_model_is_taken_only_on_enough_answers(per_family: int, taken: str) -> None:
    """Both always right at arithmetic; `large` better at code."""
    measured = complementary(per_family)
    alike = tuple(
        msgspec.structs.replace(one, score=1.0) if one.item.startswith("arithmetic") else one
        for one in measured.answers
    )
    text = report(msgspec.structs.replace(measured, answers=alike), None, "", "2026-01-01")
    (row,) = (line for line in text.splitlines() if line.startswith("| family: arithmetic |"))
    assert row.split(" | ")[2] == f"`{taken}`"


def test_a_report_of_a_broken_run_says_so(complements: Measured) -> None:
    broken = msgspec.structs.replace(
        complements,
        answers=tuple(one for one in complements.answers if one.model == "small"),
        errors=(0, 5),
        failures=(Failure(model="large", why="given up after 5 errors in a row"),),
        remarks=("3 earlier answers are torn lines and are left out",),
    )
    text = report(broken, None, "Nothing can be said of routing: one model.", "2026-01-01")
    assert "**large could not be measured to the end**: given up after 5 errors in a row" in text
    assert "120 questions have no answer (5 of them were asked and failed)" in text
    assert "3 earlier answers are torn lines" in text
    assert "Nothing can be said of routing: one model." in text
    assert "there is nothing to compare" in text


def test_every_picture_is_drawn(complements: Measured, simulation: Simulation, tmp_path: Path) -> None:
    paths = draw(complements, simulation, tmp_path / "plots")
    assert {path.name for path in paths} == set(PICTURES.values())
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000 for path in paths)


def test_pictures_of_one_model_and_few_answers(tmp_path: Path) -> None:
    few = complementary(1)
    one = msgspec.structs.replace(few, targets=(SMALL,), errors=(0,), answers=few.answers[::2])
    assert len(draw(one, None, tmp_path)) == len(PICTURES) - 1
