"""The benchmark of experiments, small: a hundred runs of what must not be found, and of what must."""

import msgspec
import pytest
from bench.experiments import ROLLED_BACK, SCENARIOS, Scenario, between, others, places, run, table, wilson

RUNS = 100
WHERE = places()


def share(scenario: Scenario, *events: str) -> float:
    ran = [run(scenario, WHERE, seed) for seed in range(RUNS)]
    return sum(any(event in one.first for event in events) for one in ran) / RUNS


@pytest.mark.parametrize("name", ["same", "late"])
def test_without_a_difference_none_is_found(name: str) -> None:
    scenario = msgspec.structs.replace(SCENARIOS[name], requests=400)
    assert share(scenario, *scenario.wrong) <= 0.05


@pytest.mark.parametrize("name", ["much", "slow"])
def test_what_is_bad_is_rolled_back(name: str) -> None:
    assert share(SCENARIOS[name], ROLLED_BACK) >= 0.95


def test_a_watched_z_test_finds_what_is_not_there() -> None:
    found = others(RUNS, 0.0, 2000)
    assert found["z"] > 0.2
    assert found["msprt"] <= 0.05


def test_the_page_is_rewritten_between_its_marks() -> None:
    page = "a\n<!-- figures:begin -->\nold\n<!-- figures:end -->\nb\n"
    assert between(page, "new\n") == page.replace("old", "new")
    rows = table({"same": [run(msgspec.structs.replace(SCENARIOS["same"], requests=20), WHERE, 1)]}).splitlines()
    assert len({line.count("|") for line in rows}) == 1
    assert wilson(0, 2000) == "0.0% (0.0%–0.2%)"
