"""One experiment from outcome to decision: what counts, what is concluded, what happens to the ratio."""

import asyncio
import json
import random

import pytest

from pointsman.experiments.controller import Experiments, Standing
from pointsman.experiments.course import Change
from pointsman.settings_experiments import ExperimentSettings
from pointsman.testing.clock import FakeClock
from pointsman.testing.experiments import judged, outcome


def settings(**more: object) -> ExperimentSettings:
    tree = {"name": "e", "kind": "canary", "control": "old", "treatment": "new", "min_samples": 20}
    return ExperimentSettings.model_validate_json(json.dumps(tree | more))


class Bench:
    """An experiment with its clock and all that was heard of it."""

    def __init__(self, **more: object) -> None:
        self.clock = FakeClock()
        self.heard: list[Change] = []
        self.controller = Experiments(self.clock, None, self.heard.append)
        self.controller.configure((settings(**more),), {"old": 2.0, "new": 1.0})

    def feed(self, n: int, control: float, treatment: float, seed: int = 1, **more: object) -> None:
        """`n` requests of each arm with a verdict each, looked at after every one."""
        chances = random.Random(seed)
        for _ in range(n):
            for arm, quality in (("control", control), ("treatment", treatment)):
                now = self.clock.unix()
                self.controller.closed(outcome("e", arm, received_unix_s=now, **more))  # type: ignore[arg-type]  # by name
                self.controller.judged(judged("e", arm, float(chances.random() < quality), now))
                self.controller.look()

    @property
    def events(self) -> list[str]:
        return [change.event for change in self.heard]

    def standing(self) -> Standing:
        return self.controller.standing("e")


def test_a_great_loss_is_rolled_back_with_its_evidence() -> None:
    bench = Bench()
    bench.feed(600, 0.9, 0.6)
    assert bench.events == ["started", "review", "rolled_back"]
    change = bench.heard[-1]
    assert (change.by, change.ratio_before, change.ratio) == ("controller", 0.5, 0.0)
    assert change.evidence.loss is not None
    assert change.evidence.loss.low > 0.05
    assert "lower" in change.why
    assert bench.controller.trials()[0].ratio == 0.0
    seen = bench.standing().evidence
    bench.feed(50, 0.9, 0.6)
    assert bench.standing().evidence == seen


def test_a_loss_in_between_is_for_a_person() -> None:
    bench = Bench()
    bench.feed(9000, 0.9, 0.9 * 0.93)
    assert bench.events == ["started", "review"]
    assert bench.standing().ratio == 0.5


def test_no_loss_passes_and_a_gain_is_better() -> None:
    bench = Bench()
    bench.feed(2500, 0.9, 0.9)
    assert bench.events == ["started", "passed"]
    bench = Bench()
    bench.feed(800, 0.7, 0.9)
    assert bench.events[-1] == "better"


def test_a_rollout_goes_through_its_gates_on_new_evidence_each() -> None:
    bench = Bench(rollout=[0.1, 0.5, 0.8])
    assert bench.standing().ratio == 0.1
    bench.feed(900, 0.8, 0.99)
    assert bench.events[:3] == ["started", "step", "step"]
    assert [change.ratio for change in bench.heard[:3]] == [0.1, 0.5, 0.8]
    assert bench.standing().evidence.control_verdicts < 900


@pytest.mark.parametrize(("ratio", "following"), [(0.05, 0.1), (0.1, 0.5), (0.6, 0.8), (0.9, 0.9)])
def test_a_rollout_goes_on_from_where_an_operator_put_it(ratio: float, following: float) -> None:
    bench = Bench(rollout=[0.1, 0.5, 0.8])
    bench.controller.order("e", "ratio", ratio, "test")
    while len(bench.heard) < 3:
        bench.feed(50, 0.5, 0.99)
    assert bench.heard[2].ratio == following


def test_late_verdicts_on_an_earlier_step_change_nothing() -> None:
    bench = Bench(rollout=[0.1, 0.5])
    then = bench.clock.unix() - 60
    for _ in range(100):
        bench.controller.judged(judged("e", "treatment", 0.0, then))
    assert bench.standing().late_verdicts == 100
    assert bench.standing().evidence.treatment_verdicts == 0


def test_errors_break_a_guard_rail_and_fallbacks_count_as_errors() -> None:
    bench = Bench()
    for _ in range(300):
        now = bench.clock.unix()
        bench.controller.closed(outcome("e", "control", received_unix_s=now))
        bench.controller.closed(outcome("e", "treatment", received_unix_s=now, answered_by="old"))
        bench.controller.look()
    assert bench.events == ["started", "rolled_back"]
    assert "fail" in bench.heard[-1].why


def test_slow_answers_break_the_other() -> None:
    bench, chances = Bench(), random.Random(2)
    for _ in range(400):
        now = bench.clock.unix()
        for arm, usual_s in (("control", 1.0), ("treatment", 2.5)):
            total_s = usual_s * chances.lognormvariate(0, 0.4)
            bench.controller.closed(outcome("e", arm, received_unix_s=now, total_s=total_s))
        bench.controller.look()
    assert bench.events == ["started", "rolled_back"]
    assert "times as long" in bench.heard[-1].why


def test_a_callers_second_word_replaces_the_first() -> None:
    bench = Bench()
    now = bench.clock.unix()
    bench.controller.judged(judged("e", "treatment", 1.0, now))
    bench.controller.judged(judged("e", "treatment", 0.0, now, replaces=1.0))
    evidence = bench.standing().evidence
    assert (evidence.treatment_verdicts, evidence.treatment_quality) == (1, 0.0)


@pytest.mark.parametrize("status", ["refused", "client_error", "client_closed"])
def test_what_is_no_models_doing_does_not_count(status: str) -> None:
    bench = Bench()
    bench.controller.closed(outcome("e", "treatment", received_unix_s=bench.clock.unix(), status=status))
    assert bench.standing().evidence.treatment_requests == 0


def test_the_horizon_ends_the_waiting() -> None:
    bench = Bench(horizon=200)
    bench.feed(150, 0.9, 0.88)
    assert bench.events == ["started", "review"]
    assert bench.standing().why == "horizon"


def test_cost_is_told_as_a_ratio() -> None:
    bench = Bench()
    bench.feed(40, 0.9, 0.9, tokens=100)
    cost = bench.standing().evidence.cost
    assert cost is not None
    assert cost.value == pytest.approx(0.5)


def test_a_switchback_counts_a_turn_once() -> None:
    bench = Bench(kind="switchback", window_s=10)
    for _ in range(40):
        (trial,) = bench.controller.trials()
        for _ in range(5):
            now = bench.clock.unix()
            bench.controller.closed(outcome("e", trial.arm, received_unix_s=now))
            bench.controller.judged(judged("e", trial.arm, 1.0, now))
        asyncio.run(bench.clock.advance(10))
        bench.controller.look()
    evidence = bench.standing().evidence
    assert evidence.control_requests + evidence.treatment_requests == 5 * 38
    assert evidence.control_verdicts == evidence.treatment_verdicts == 19
