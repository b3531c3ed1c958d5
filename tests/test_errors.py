"""The error tree and its one table: every code has a row, every row a use, every class a code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman import errors
from pointsman.errors import (
    TABLE,
    ConfigError,
    DeadlineExceeded,
    Declined,
    NoCapableModel,
    PlanExhausted,
    PointsmanError,
    Refused,
    RequestError,
    UpstreamError,
)
from pointsman.types import Attempt, Rejected

SOURCE = Path(errors.__file__).parent
CLASSES = (ConfigError, DeadlineExceeded, Declined, NoCapableModel, PlanExhausted, Refused, RequestError, UpstreamError)

# Known to the table before the rooms that will raise them: keys and rate limits.
AHEAD = {"invalid_api_key", "permission_denied", "rate_limit_exceeded", "length_required"}


def codes_raised() -> Iterator[tuple[str, str]]:
    """(file, code) of every literal `code="…"` and of every string that is a code of the table."""
    for path in SOURCE.rglob("*.py"):
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                if isinstance(node.value.value, str) and node.value.value:
                    yield path.name, node.value.value
            elif isinstance(node, ast.Constant) and node.value in TABLE:
                yield path.name, str(node.value)


def test_every_code_raised_has_a_row() -> None:
    assert not {(name, code) for name, code in codes_raised() if code not in TABLE}


def test_every_row_has_a_use() -> None:
    used = {code for _, code in codes_raised()} | {error.default_code for error in CLASSES} | {"internal_error"}
    assert set(TABLE) - used == AHEAD - used


@pytest.mark.parametrize("error", [*CLASSES, PointsmanError], ids=lambda error: error.__name__)
def test_every_class_has_a_code_of_the_table(error: type[PointsmanError]) -> None:
    assert error.default_code in TABLE


def test_statuses_say_who_is_at_fault() -> None:
    for code, row in TABLE.items():
        assert 400 <= row.http_status < 600, code
        is_callers = row.http_status < 500 and row.http_status != 429
        assert is_callers == (
            row.openai_type in {"invalid_request_error", "authentication_error", "permission_error"}
        ), code
        assert not (is_callers and row.retryable), code


def test_an_error_knows_its_row() -> None:
    error = UpstreamError("`m` sent nothing for 60 s", code="upstream_timeout", upstream_status=0)
    assert (error.http_status, error.row.openai_type, error.retryable) == (504, "upstream_error", True)
    assert str(error) == error.message == "`m` sent nothing for 60 s"


def test_a_code_may_be_given_and_a_field_named() -> None:
    error = RequestError("model: there is none", code="model_not_found", param="model")
    assert (error.http_status, error.code, error.param) == (404, "model_not_found", "model")
    assert RequestError("x").code == "invalid_value"


def test_errors_keep_what_happened() -> None:
    attempt = Attempt(deployment_id="a", model_id="a", started_s=0.0, error="upstream_cut")
    rejected = Rejected(deployment_id="a", model_id="a", code="tools", why="cannot call tools")
    assert PlanExhausted("x", attempts=(attempt,)).attempts == (attempt,)
    assert NoCapableModel("x", rejected=(rejected,)).rejected == (rejected,)
    assert Refused("x", retry_after_s=2.5).retry_after_s == 2.5
    assert ConfigError(("a: wrong", "b: wrong")).problems == ("a: wrong", "b: wrong")
    assert str(ConfigError(("a: wrong", "b: wrong"))) == "a: wrong\nb: wrong"


def test_a_message_is_no_longer_than_anybody_reads() -> None:
    error = RequestError(f"There is no model `{'m' * 1_000_000}`")
    assert 4000 < len(error.message) == len(str(error)) < 4010
