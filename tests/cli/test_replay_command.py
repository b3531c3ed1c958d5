"""`pointsman replay` from every kind of log: the same bytes twice, and what it says of logs it cannot read."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.learning.test_replay import MODELS, TRIES, rows
from tests.ledger.test_learner import ON, answered
from typer.testing import CliRunner, Result

from pointsman.cli import app
from pointsman.clock import SystemClock
from pointsman.ledger import export
from pointsman.ledger.learner import Learner
from pointsman.ledger.store.sql import SqlStore
from pointsman.ledger.store.sqlite import Sqlite
from pointsman.types_record import Record


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "new.yaml"
    path.write_text("routing: {strategy: cost}" + MODELS, encoding="utf-8")
    return path


def replay(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def as_lines(path: Path, log: list[Record]) -> None:
    with path.open("wb") as file:
        export.write(log, file, ".jsonl")


def as_store(path: Path, log: list[Record]) -> None:
    store = SqlStore(Sqlite(path))
    store.write(log)
    store.close()


def as_parquet(path: Path, log: list[Record]) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra learn")
    with path.open("wb") as file:
        export.write(log, file, ".parquet")


@pytest.mark.parametrize("write", [as_lines, as_store, as_parquet])
def test_every_kind_of_log_gives_the_same_report_twice(
    tmp_path: Path, policy: Path, write: Callable[[Path, list[Record]], None]
) -> None:
    log, lines = tmp_path / "log", tmp_path / "lines"
    write(log, rows(TRIES, 120))
    as_lines(lines, rows(TRIES, 120))
    first, again = (replay(log, "--policy", policy) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout_bytes == again.stdout_bytes
    assert first.stdout.replace(str(log), str(lines)) == replay(lines, "--policy", policy).stdout
    assert "120 rows, 120 of them decided again" in first.stdout
    assert "| large | small |" in first.stdout


def test_the_report_can_be_kept_and_read_by_programs(tmp_path: Path, policy: Path) -> None:
    as_lines(tmp_path / "log", rows(TRIES, 120))
    out = tmp_path / "report.md"
    assert replay(tmp_path / "log", "--policy", policy, "--out", out).stdout == ""
    assert out.read_text(encoding="utf-8") == replay(tmp_path / "log", "--policy", policy).stdout
    said = json.loads(replay(tmp_path / "log", "--policy", policy, "--json").stdout)
    cost = next(figure for figure in said["figures"] if figure["name"] == "cost")["estimates"]
    assert cost["change"]["high"] < 0
    verdicts = next(figure for figure in said["figures"] if figure["name"] == "verdicts")["estimates"]
    assert verdicts["dr"]["value"] is None
    assert "at least 30 are needed" in verdicts["refused"]


def test_a_day_of_many(tmp_path: Path, policy: Path) -> None:
    log = [msgspec.structs.replace(one, received_unix_s=86400.0 * number) for number, one in enumerate(rows(TRIES, 90))]
    as_lines(tmp_path / "log", log)
    found = replay(tmp_path / "log", "--policy", policy, "--since", "1970-01-11", "--until", "1970-03-02T00:00")
    assert "50 rows from 1970-01-11 00:00:00 before 1970-03-02 00:00:00 UTC, " in found.stdout
    nothing = replay(tmp_path / "log", "--policy", policy, "--since", "2001-01-01")
    assert (nothing.exit_code, "no rows from 2001-01-01 00:00:00 UTC" in nothing.stderr) == (2, True)


def test_without_a_log_it_is_yesterday_in_the_ledger_of_the_configuration(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POINTSMAN_LEDGER__URL")
    config = tmp_path / "now.yaml"
    config.write_text(f"ledger: {{url: 'sqlite:{tmp_path / 'kept'}'}}" + MODELS, encoding="utf-8")
    arguments = ("--policy", policy, "--config", config)
    assert "there is no ledger yet" in replay(*arguments).stderr.replace("\n", " ")
    day, today = 86_400.0, SystemClock().unix() // 86_400 * 86_400
    ages_s = [-1.0, 1.0, day - 1, day, day + 1, 3 * day] * 10  # today, thrice yesterday, twice before
    log = [
        msgspec.structs.replace(one, received_unix_s=today - age_s)
        for one, age_s in zip(rows(TRIES, 60), ages_s, strict=True)
    ]
    as_store(tmp_path / "kept", log)
    found = replay(*arguments)
    yesterday, now = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}" for at in (today - day, today))
    said = f"rows from {yesterday} before {now} UTC"
    assert (found.exit_code, f"30 {said}, " in found.stdout, said in found.stderr) == (0, True, True)
    everything = replay(*arguments, "--since", "1970-01-01")
    assert "60 rows from 1970-01-01 00:00:00 UTC, " in everything.stdout


def test_what_verdicts_taught_may_be_brought_along(tmp_path: Path) -> None:
    policy, learned = tmp_path / "new.yaml", tmp_path / "learned.json"
    policy.write_text("routing: {strategy: quality, bandit: {enabled: true}}" + MODELS, encoding="utf-8")
    learned.write_bytes(b'{"version": 1, "size": 1, "models": {}}')
    as_lines(tmp_path / "log", rows(TRIES, 40))
    wrong = replay(tmp_path / "log", "--policy", policy, "--learned", learned)
    assert (wrong.exit_code, "features" in wrong.stderr) == (2, True)
    learned.unlink()
    learner = Learner(lambda: ON, learned)
    answered(learner, 1.0, 3)
    learner.write()
    assert replay(tmp_path / "log", "--policy", policy, "--learned", learned).exit_code == 0


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()


def newer(path: Path) -> None:
    as_store(path, [])
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO ledger_version VALUES (99)")
    connection.close()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "cannot be read (No such file or directory); name a log of outcomes"),
        (lambda path: path.mkdir(), "cannot be read (Is a directory)"),
        (lambda path: path.write_text(""), "no rows"),
        (lambda path: path.write_text("nonsense\n"), "line 1: not JSON"),
        (lambda path: path.write_text('{"request_id": "r"}\n'), "line 1: not an outcome of this version"),
        (lambda path: path.write_bytes(b"PAR1 and no more"), "not Parquet"),
        (lambda path: path.write_bytes(b"SQLite format 3\0 and no more"), "cannot be read"),
        (foreign, "holds no outcomes"),
        (newer, "of version 99"),
    ],
)
def test_logs_that_cannot_be_read(tmp_path: Path, policy: Path, write: Callable[[Path], object], said: str) -> None:
    if said == "not Parquet":
        pytest.importorskip("pyarrow", reason="needs the extra learn")
    write(tmp_path / "log")
    found = replay(tmp_path / "log", "--policy", policy)
    assert found.exit_code == 2
    assert said in found.stderr.replace("\n", " ")
    assert not found.stdout


def test_settings_that_are_wrong(tmp_path: Path) -> None:
    policy = tmp_path / "new.yaml"
    policy.write_text("models: [{id: a}]", encoding="utf-8")
    as_lines(tmp_path / "log", rows(TRIES, 1))
    found = replay(tmp_path / "log", "--policy", policy)
    assert (found.exit_code, "new.yaml" in found.stderr) == (2, True)
