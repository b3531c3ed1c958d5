"""`pointsman outcomes`: rows out of the store, into files and onto the screen."""

import json
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.ledger.test_record import NOTHING, outcome
from typer.testing import CliRunner

from pointsman.cli import app
from pointsman.ledger.record import record_of
from pointsman.ledger.store.sql import SqlStore
from pointsman.ledger.store.sqlite import Sqlite

DAY_S = 86_400.0
START_S = 1_800_000_000.0  # 2027-01-15T08:00 UTC


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings whose store holds ten days, a row a day."""
    rows = [replace(record_of(outcome(), NOTHING), request_id=f"r{day}") for day in range(10)]
    store = SqlStore(Sqlite(tmp_path / "ledger.sqlite"))
    store.write([replace(row, received_unix_s=START_S + day * DAY_S) for day, row in enumerate(rows)])
    store.close()
    path = tmp_path / "pointsman.yaml"
    path.write_text(
        f"cache_dir: {tmp_path}\nmodels: [{{id: a, backend: openai, url: 'http://127.0.0.1:9/v1', model: a}}]\n"
    )
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner(env={"POINTSMAN_LEDGER__URL": ""}).invoke(app, ["outcomes", *map(str, arguments)])
    return result.exit_code, result.output


def test_json_lines_of_some_days(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    code, said = run("export", out, "--since", "2027-01-17", "--until", "2027-01-19T08:00", "-c", config)
    assert (code, [json.loads(line)["request_id"] for line in out.read_text().splitlines()]) == (0, ["r2", "r3"])
    assert "2 rows" in said


def test_parquet_has_every_column(config: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `learn` is absent")
    out = tmp_path / "out.parquet"
    assert run("export", out, "-c", config)[0] == 0
    rows = parquet.read_table(out).to_pylist()
    assert [row["request_id"] for row in rows] == [f"r{day}" for day in range(10)]
    assert (rows[0]["propensity"], rows[0]["feedback"], rows[0]["stream"]) == (0.25, None, False)
    assert json.loads(rows[0]["plan"])["strategy"] == "balanced"


def test_a_whole_story(config: Path) -> None:
    code, said = run("show", "r3", "-c", config)
    assert code == 0
    for part in ("r3", "2027-01-18T08:00:00", "success 200", "balanced:", "small: timeout", "large: answered"):
        assert part in said
    assert json.loads(run("show", "r3", "--json", "-c", config)[1])["request_id"] == "r3"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "nobody"), "knows no request"),
        (("export", "out.csv"), "*.parquet or *.jsonl"),
        (("export", "/nonexistent/out.jsonl"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told(config: Path, arguments: tuple[str, ...], told: str) -> None:
    code, said = run(*arguments, "-c", config)
    assert code == 2
    assert told in said.replace("\n", " ")


def test_where_there_is_no_ledger_none_is_made(config: Path, tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").unlink()
    code, said = run("show", "r3", "-c", config)
    assert (code, (tmp_path / "ledger.sqlite").exists()) == (2, False)
    assert "no ledger yet" in said


def test_a_broken_store_is_told(config: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("INSERT INTO ledger_version VALUES (99)")
    connection.close()
    assert "update it" in run("show", "r3", "-c", config)[1].replace("\n", " ")
