"""The benchmark of replays counts what it says: its truth is the generator's, its table speaks of the days it ran."""

import pytest
from bench.replay import Kept, coverage, page_of, table, true_change, true_means
from bench.replay_world import FIGURES, IDS, JUDGED, NEW, OLD, day_of, expected

from pointsman.learning.replay import Again, Replayer
from pointsman.settings import parse


def test_a_day_is_what_the_generator_says() -> None:
    day = day_of(7, 300, parse(OLD))
    mean = expected(day.asked)
    for name in FIGURES:
        assert day.given[name].mean() == pytest.approx(mean[name].mean(), rel=0.1)
    answered = [record for record in day.records if record.status == "success" and not record.cached_model]
    for record in answered[:50]:
        row, column = int(record.request_id.partition("-")[2]), IDS.index(record.model_id)
        assert record.cost == pytest.approx(day.given["cost"][row, column])
        assert record.total_s == pytest.approx(day.given["latency"][row, column])
    judged = sum(record.feedback is not None for record in answered)
    assert judged == pytest.approx(JUDGED * len(answered), rel=0.25)
    assert any(record.propensity and record.propensity < 0.2 for record in answered)


def test_the_truth_of_a_day_is_what_the_other_model_gives() -> None:
    day = day_of(8, 200, parse(OLD))
    done = [one for one in map(Replayer(parse(NEW)).again, day.records) if isinstance(one, Again)]
    moved = sum(one.first != one.new[0][0] for one in done)
    assert 0 < moved < len(done)
    assert true_change(day, done)["cost"] < 0


def test_the_table_speaks_of_the_days_that_were_run() -> None:
    found = coverage(2, n=200)
    text = page_of("# title\n\nbody\n", True, found)
    assert "the same bytes both times" in text
    assert "Share of 2 days" in table(found)
    assert all(set(found[name]["dr"]) <= {0, 1} for name in FIGURES)
    assert set(true_means(NEW)) == set(FIGURES)


def test_wilsons_interval() -> None:
    assert Kept(475, 500).shown() == "95.0% (92.7% to 96.6%)"
