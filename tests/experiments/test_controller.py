"""All experiments together: the file they are kept in, reloads, operators, and what the world is told."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import RequestError
from pointsman.experiments.controller import Experiments
from pointsman.experiments.course import Change
from pointsman.settings_experiments import ExperimentSettings
from pointsman.testing.clock import FakeClock
from pointsman.testing.experiments import judged, outcome


def settings(name: str = "e", **more: Any) -> ExperimentSettings:
    tree = {"name": name, "kind": "small_large", "control": "old", "treatment": "new", "ratio": 0.4}
    return ExperimentSettings.model_validate_json(json.dumps(tree | more))


def made(path: Path | None = None, clock: FakeClock | None = None) -> tuple[Experiments, list[Change]]:
    heard: list[Change] = []
    return Experiments(clock or FakeClock(), path, heard.append), heard


def fed(controller: Experiments, clock: FakeClock) -> None:
    controller.closed(outcome("e", "small", received_unix_s=clock.unix()))
    controller.judged(judged("e", "small", 1.0, clock.unix()))


def test_state_outlasts_a_restart(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "deep" / "experiments.json"
    one, _ = made(path, clock)
    one.configure((settings(),))
    fed(one, clock)
    one.order("e", "ratio", 0.7, "test")
    fed(one, clock)
    one.write()
    other, heard = made(path, clock)
    other.configure((settings(),))
    assert heard == []
    assert other.standings() == one.standings()
    assert other.ratio() == 0.7
    assert other.standing("e").evidence.treatment_verdicts == 1
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == ["experiments.json"]


@pytest.mark.parametrize("text", ["", "{", '{"version": 1, "courses": 3}'])
def test_a_broken_file_costs_the_evidence_only(tmp_path: Path, text: str) -> None:
    path = tmp_path / "experiments.json"
    path.write_text(text)
    controller, heard = made(path)
    assert str(path) in controller.problem
    controller.configure((settings(),))
    assert [change.event for change in heard] == ["started"]


def test_a_reload_goes_on_where_it_stands_unless_the_experiment_is_another() -> None:
    clock = FakeClock()
    controller, heard = made(clock=clock)
    controller.configure((settings(), settings("f")))
    controller.order("e", "ratio", 0.9, "test")
    fed(controller, clock)
    controller.configure((settings(),))
    assert controller.ratio() == 0.9
    assert controller.standing("e").evidence.treatment_requests == 1
    controller.configure((settings(alpha=0.01), settings("f")))
    assert controller.ratio() == 0.4
    assert [(change.experiment, change.event) for change in heard] == [
        ("e", "started"), ("f", "started"), ("e", "ratio"), ("e", "started"),
    ]  # fmt: skip
    assert list(controller.standing("e").changes) == [change for change in heard if change.experiment == "e"]


def test_what_was_done_stays_on_record_while_the_experiment_is_away(tmp_path: Path) -> None:
    path = tmp_path / "experiments.json"
    controller, _ = made(path)
    controller.configure((settings(), settings("f")))
    controller.order("e", "rollback", None, "test")
    controller.configure((settings("f"),))
    controller.write()
    again, _ = made(path)
    again.configure((settings(ratio=0.2), settings("f")))
    assert [(change.event, change.ratio_before, change.ratio) for change in again.standing("e").changes] == [
        ("started", 0.0, 0.4), ("rolled_back", 0.4, 0.0), ("started", 0.0, 0.2),
    ]  # fmt: skip


def test_every_rollback_is_a_new_epoch_on_either_side_of_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "experiments.json"
    controller, _ = made(path)
    controller.configure((settings(),))
    epochs = [controller.epoch()]
    for action, ratio in (("rollback", None), ("ratio", 0.4), ("rollback", None)):
        controller.order("e", action, ratio, "test")
        epochs.append(controller.epoch())
    assert len(set(epochs)) == 3
    assert epochs[1] == epochs[2]  # what was kept before it stays out of sight
    controller.write()
    again, _ = made(path)
    again.configure((settings(),))
    assert again.epoch() == epochs[-1]


def test_what_is_paused_assigns_nobody_and_decides_nothing() -> None:
    controller, _ = made()
    controller.configure((settings(),))
    controller.order("e", "pause", None, "test")
    assert controller.trials() == ()
    controller.order("e", "resume", None, "test")
    assert [trial.ratio for trial in controller.trials()] == [0.4]
    controller.order("e", "rollback", None, "test")
    assert [trial.ratio for trial in controller.trials()] == [0.0]
    assert [change.by for change in controller.standing("e").changes][1:] == ["operator"] * 3


def test_orders_that_cannot_be_are_refused() -> None:
    controller, _ = made()
    controller.configure((settings(),))
    with pytest.raises(RequestError, match="no experiment `x`; there are e"):
        controller.order("x", "pause", None, "test")
    with pytest.raises(RequestError, match="from 0 to 1"):
        controller.order("e", "ratio", None, "test")


def test_strangers_are_not_counted() -> None:
    clock = FakeClock()
    controller, _ = made(clock=clock)
    fed(controller, clock)
    controller.configure((settings("other"),))
    fed(controller, clock)
    controller.look()
    assert controller.standing("other").evidence.treatment_requests == 0


def test_it_looks_marks_and_saves_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "experiments.json"

    async def scene() -> None:
        clock = FakeClock()
        controller, heard = made(path, clock)
        controller.configure((settings(min_samples=5),))
        task = asyncio.create_task(controller.watch())
        for _ in range(100):
            now = clock.unix()
            controller.judged(judged("e", "small", 0.0, now))
            controller.judged(judged("e", "large", 1.0, now))
        await clock.advance(1)
        assert heard[-1].event == "rolled_back"
        assert controller.standing("e").history[-1].verdicts == 200
        async with asyncio.timeout(10):
            while not path.exists():  # a thread writes
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(scene())
    assert json.loads(path.read_bytes())["courses"]["e"]["status"] == "rolled_back"
