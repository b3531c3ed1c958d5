"""What verdicts taught: joined to their requests, changed, too late, kept over a restart, a damaged file."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pointsman.ledger.learner import RECENT, SAVE_S, Learner, LearnerStatistics
from pointsman.policy import bandit
from pointsman.policy.router import Router
from pointsman.settings import BanditSettings, parse
from pointsman.testing.clock import FakeClock
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import Attempt, Kind, Outcome, Usage
from pointsman.types_feedback import Feedback, Judged

SETTINGS = parse(
    """
routing: {bandit: {enabled: true}}
models:
  - {id: a, backend: openai, url: "http://h/1", quality: {general: 0.6}}
  - {id: b, backend: openai, url: "http://h/2", quality: {general: 0.6}}
"""
)
ON = SETTINGS.routing.bandit
PLAIN = bandit.features_of("general", "en", "medium", 20, 0.6)
WORLD = world(hot("a"), hot("b"))


def outcome(request_id: str = "r1", model_id: str = "a", **changed: Any) -> Outcome:
    request = ask(request_id=request_id)
    made = Outcome(
        request_id=request_id,
        kind=Kind.CHAT,
        asked_model="auto",
        status="success",
        http_status=200,
        signals=measured(),
        plan=Router(SETTINGS).decide(request, measured(), WORLD),
        attempts=(Attempt(deployment_id=model_id, model_id=model_id, started_s=0.0),),
        usage=Usage(),
        stream=False,
        total_s=1.0,
        classify_s=0.0,
        decide_s=0.0,
        wait_s=0.0,
        upstream_s=1.0,
        first_byte_s=1.0,
    )
    return replace(made, **changed)


def verdict(value: float, request_id: str = "r1", model_id: str = "a", replaces: float | None = None) -> Judged:
    feedback = Feedback(request_id=request_id, value=value, source="thumbs")
    return Judged(feedback=feedback, model_id=model_id, replaces=replaces)


def answered(learner: Learner, value: float, times: int, model_id: str = "a") -> None:
    for number in range(times):
        learner.closed(outcome(f"{model_id}{number}", model_id))
        learner.judged(verdict(value, f"{model_id}{number}", model_id))


def believed(learner: Learner, model_id: str = "a") -> float:
    learned = next(one for one in learner.learned if one.model_id == model_id)
    return bandit.expected(learned, PLAIN)


def test_verdicts_reach_the_next_decision() -> None:
    learner = Learner(lambda: ON)
    answered(learner, 1.0, 300, "b")
    answered(learner, 0.1, 300, "a")
    assert 0.3 < believed(learner, "b") < 0.4
    assert -0.5 < believed(learner, "a") < -0.35
    plan = Router(SETTINGS).decide(ask(), measured(), replace(WORLD, learned=learner.learned))
    assert plan.candidates[0].model_id == "b"


def test_a_changed_verdict_is_as_if_it_had_been_so_from_the_first() -> None:
    changed, steady = Learner(lambda: ON), Learner(lambda: ON)
    for learner, first in ((changed, 1.0), (steady, 0.0)):
        learner.closed(outcome())
        learner.judged(verdict(first))
    changed.judged(verdict(0.0, replaces=1.0))
    assert believed(changed) == pytest.approx(believed(steady))
    assert dict(changed.counts()) == {"learned": 1, "changed": 1, "unknown": 0}
    assert changed.statistics() == LearnerStatistics(learned=1, changed=1, unknown=0)


def test_verdicts_on_what_nobody_remembers_are_counted() -> None:
    learner = Learner(lambda: ON)
    learner.judged(verdict(1.0))
    learner.closed(outcome())
    learner.judged(verdict(1.0, model_id="b"))
    assert learner.statistics().unknown == 2
    assert learner.learned == ()


def test_memory_is_bounded() -> None:
    learner, one = Learner(lambda: ON), outcome()
    for number in range(RECENT + 1):
        learner.closed(replace(one, request_id=f"r{number}"))
    learner.judged(verdict(1.0, "r0"))
    learner.judged(verdict(1.0, f"r{RECENT}"))
    assert learner.statistics() == LearnerStatistics(learned=1, changed=0, unknown=1)


@pytest.mark.parametrize(
    "of", [outcome(signals=None), outcome(plan=None), outcome(attempts=()), outcome(model_id="stranger")]
)
def test_what_says_nothing_is_not_remembered(of: Outcome) -> None:
    learner = Learner(lambda: ON)
    learner.closed(of)
    learner.judged(verdict(1.0))
    assert learner.statistics().unknown == 1


def test_off_it_keeps_nothing() -> None:
    settings = [BanditSettings()]
    learner = Learner(lambda: settings[-1])
    learner.closed(outcome())
    learner.judged(verdict(1.0))
    assert learner.learned == ()
    settings.append(ON)
    learner.judged(verdict(1.0))
    assert learner.statistics().unknown == 1


def test_callers_do_not_judge_each_others_answers() -> None:
    learner = Learner(lambda: ON)
    learner.closed(outcome(tenant="one"))
    learner.judged(verdict(1.0))
    assert learner.statistics().unknown == 1


def test_the_file_is_kept_fresh(tmp_path: Path) -> None:
    async def used() -> None:
        clock, learner = FakeClock(), Learner(lambda: ON, tmp_path / "learned.json")
        answered(learner, 1.0, 1)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(learner.watch(clock))
            await clock.advance(SAVE_S + 1)
            while not (tmp_path / "learned.json").exists():
                await asyncio.sleep(0.001)
            watching.cancel()

    asyncio.run(asyncio.wait_for(used(), 10))


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "learned.json"
    learner = Learner(lambda: ON, path)
    answered(learner, 1.0, 30)
    learner.write()
    again = Learner(lambda: ON, path)
    assert not again.problem
    assert believed(again) == pytest.approx(believed(learner), abs=1e-4)
    assert again.learned[0].n == pytest.approx(learner.learned[0].n)
    assert [found.name for found in path.parent.iterdir()] == ["learned.json"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"version": 9, "size": 1, "models": {}}', b'{"version": 1, "size": 27, "models": {"a": 1}}']
)
def test_a_damaged_file_counts_as_empty(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "learned.json"
    path.write_bytes(raw)
    learner = Learner(lambda: ON, path)
    assert learner.learned == ()
    assert str(path) in learner.problem
    answered(learner, 1.0, 1)
    learner.write()
    assert not Learner(lambda: ON, path).problem


def test_a_disk_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    learner = Learner(lambda: ON, tmp_path / "file" / "learned.json")
    answered(learner, 1.0, 3)
    learner.write()
    assert believed(learner) > 0
