"""What an Outcome says of itself follows from what happened, however it was made."""

import msgspec
import pytest
from msgspec.structs import replace
from tests.ledger.test_metrics import attempt, outcome

from pointsman.labels import TASKS
from pointsman.testing.decisions import measured
from pointsman.types import Outcome, Scored

FAILED, LARGE = attempt("small", "upstream_timeout"), attempt("large")


@pytest.mark.parametrize(
    ("made", "answered_by", "fallback_from", "model_id"),
    [
        (outcome(attempt("small")), "small", "", "small"),
        (outcome(FAILED, LARGE), "large", "small", "large"),
        (outcome(FAILED, attempt("small")), "small", "", "small"),
        (outcome(LARGE, FAILED), "", "", "small"),
        (outcome(LARGE, meant=""), "large", "", "large"),
        (outcome(), "", "", "small"),
        (outcome(meant="", asked="gone"), "", "", "gone"),
        (replace(outcome(), plan=None, asked_model="gone"), "", "", "gone"),
        (replace(outcome(), cached_model="large"), "", "", "large"),
    ],
)
def test_who_answered_and_for_whom(made: Outcome, answered_by: str, fallback_from: str, model_id: str) -> None:
    assert (made.answered_by, made.fallback_from, made.model_id) == (answered_by, fallback_from, model_id)


def test_an_agents_task_is_its_intent() -> None:
    spoken = replace(measured("code"), use_case=Scored(label="tts", p=1.0))
    odd = replace(measured("code"), intent=Scored(label="x", p=1.0))
    made = outcome(signals=measured("code"))
    assert {"code", "tts"} < TASKS
    assert [replace(made, signals=one).task for one in (made.signals, spoken, odd, None)] == [
        "code", "tts", "unknown", "unknown",
    ]  # fmt: skip


def test_what_is_read_or_changed_is_read_anew() -> None:
    made = outcome(FAILED, LARGE)
    assert replace(made, attempts=(FAILED,), answered_by="large").answered_by == ""
    assert msgspec.convert(msgspec.to_builtins(made), Outcome) == made
