"""Every store of rows keeps the same promises: a file of SQLite's, and a real PostgreSQL that is killed and stalled."""

import importlib.util
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pointsman.ledger.store.base import Query, RowRefused, Store, StoreError, Verdict
from pointsman.ledger.store.sql import VERSION, SqlStore
from pointsman.ledger.store.sqlite import Sqlite
from pointsman.testing.postgres import PostgresServer, binaries
from pointsman.types_feedback import Feedback
from pointsman.types_record import Record

HAS_POSTGRES = importlib.util.find_spec("psycopg") is not None and binaries() is not None
needs_postgres = pytest.mark.skipif(not HAS_POSTGRES, reason="psycopg or the server's programs are absent")

BLANK: dict[str, Any] = {"str": "", "int": 0, "float": 0.0, "bool": False}


def row(request_id: str, at_s: float = 1000.0, tenant: str = "") -> Record:
    """A row with nothing in it but who and when."""
    blank: dict[str, Any] = {
        name: BLANK.get(getattr(kind, "__name__", "")) for name, kind in Record.__annotations__.items()
    }
    return Record(**(blank | {"request_id": request_id, "received_unix_s": at_s, "tenant": tenant}))


def given(request_id: str, value: float, source: str = "thumbs", tenant: str = "") -> Verdict:
    return Verdict(
        feedback=Feedback(request_id=request_id, value=value, source=source, tenant=tenant, given_unix_s=2000.0)
    )


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        made = SqlStore(Sqlite(tmp_path / "books" / "ledger.sqlite"))
    else:
        made = _emptied(request.getfixturevalue("server"))
    yield made
    made.close()


def _emptied(server: PostgresServer) -> SqlStore:
    import psycopg

    from pointsman.ledger.store.postgres import Postgres

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS pointsman CASCADE")
    return SqlStore(Postgres(server.url))


def ids(store: Store, query: Query | None = None) -> list[str]:
    return [found.request_id for found in store.read(query or Query())]


def test_rows_come_back_as_they_were(store: Store) -> None:
    odd = replace(row("a"), error="née ‘नमस्ते’; DROP TABLE outcomes; -- %s ?", stream=True, propensity=0.1 + 0.2)
    plain = replace(row("b"), confidence=None, feedback=None, cost=1e-9, prompt_tokens=2**40)
    store.write([odd, plain])
    assert list(store.read(Query())) == [odd, plain]


def test_an_empty_store_has_no_rows(store: Store) -> None:
    assert ids(store) == []
    assert store.judge(given("nobody", 1.0)) is None
    assert store.prune(1e12, 0) == 0


def test_which_rows(store: Store) -> None:
    store.write([row(f"r{at}", float(at)) for at in range(2500)])
    assert ids(store, Query(since_unix_s=2498.0)) == ["r2498", "r2499"]
    assert ids(store, Query(since_unix_s=3.0, until_unix_s=5.0)) == ["r3", "r4"]
    assert ids(store, Query(request_id="r7")) == ["r7"]
    assert ids(store, Query(latest_first=True, limit=2)) == ["r2499", "r2498"]
    assert ids(store, Query(latest_first=True)) == [f"r{at}" for at in reversed(range(2500))]
    assert len(ids(store)) == 2500


def test_a_verdict_is_kept_once_and_the_last_one_counts(store: Store) -> None:
    store.write([row("asked", tenant="t"), row("asked", at_s=1001.0, tenant="t")])
    first = store.judge(given("asked", 1.0, tenant="t"))
    assert first is not None
    assert (first.record.received_unix_s, first.before) == (1001.0, None)
    again = store.judge(given("asked", 1.0, tenant="t"))
    changed = store.judge(given("asked", 0.0, tenant="t"))
    other = store.judge(given("asked", 0.25, "score", tenant="t"))
    assert [found and found.before for found in (again, changed, other)] == [1.0, 1.0, None]
    assert [(one.feedback, one.feedback_source) for one in store.read(Query())] == [(None, ""), (0.25, "score")]


def test_nobody_judges_another_tenants_answer(store: Store) -> None:
    store.write([row("theirs", tenant="t")])
    assert store.judge(given("theirs", 0.0, tenant="else")) is None
    assert store.judge(given("theirs", 0.0)) is None


def test_what_is_old_or_too_much_goes(store: Store) -> None:
    store.write([row(f"r{at}", float(at)) for at in range(3000)])
    store.judge(given("r1", 1.0))
    assert store.prune(100.0, 10_000) == 100
    assert store.judge(given("r1", 1.0)) is None
    assert store.prune(0.0, 50) == 2850
    assert ids(store) == [f"r{at}" for at in range(2950, 3000)]
    assert store.prune(0.0, 50) == 0


def test_a_row_no_store_can_hold_is_refused_and_the_others_too(store: Store) -> None:
    with pytest.raises(RowRefused):
        store.write([row("good"), replace(row("bad"), prompt="\ud800")])
    store.write([row("after")])
    assert ids(store) == ["after"]


def test_a_closed_store_opens_again(store: Store) -> None:
    store.write([row("a")])
    store.close()
    store.close()
    store.write([row("b")])
    assert ids(store) == ["a", "b"]


def test_writers_do_not_lose_each_others_rows(store: Store) -> None:
    """Two gateways on one store, which neither has made before."""
    others = [SqlStore(store._engine) for _ in range(3)]  # type: ignore[attr-defined]  # the same place again

    def write(other: Store, name: int) -> None:
        for at in range(20):
            other.write([row(f"{name}-{at}")])
        other.close()

    threads = [threading.Thread(target=write, args=(other, name)) for name, other in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids(store)) == sorted(f"{name}-{at}" for name in range(3) for at in range(20))


# ---------------------------------------------------------------- how a file is lost


def sqlite_at(path: Path, busy_s: float = 0.05) -> SqlStore:
    return SqlStore(Sqlite(path, busy_s))


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    store = sqlite_at(path)
    store.write([row("lost")])
    path.unlink()
    store.write([row("kept")])
    assert ids(sqlite_at(path)) == ["kept"]


def test_a_locked_file_is_an_error_that_passes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    store = sqlite_at(path)
    store.write([row("before")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        store.write([row("in between")])
    other.execute("COMMIT")
    other.close()
    store.write([row("after")])
    assert ids(store) == ["before", "after"]


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    store = sqlite_at(path)
    store.write([row("before")])
    store._connection.execute("PRAGMA max_page_count = 1")  # as a disk without another page
    with pytest.raises(StoreError, match="full"):
        store.write([replace(row("big"), plan="x" * 100_000)])
    assert ids(store) == ["before"]


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreError, match="not a database"):
        sqlite_at(path).write([row("a")])
    assert path.read_bytes().startswith(b"something else")


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    store = sqlite_at(path)
    store.write([row("a")])
    store._connection.execute("INSERT INTO ledger_version VALUES (?)", (VERSION + 1,))
    store.close()
    with pytest.raises(StoreError, match="update"):
        store.write([row("b")])


def test_an_older_store_gains_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    store = sqlite_at(path)
    store.write([row("old")])
    store._connection.execute("ALTER TABLE outcomes DROP COLUMN gpu_s")
    store.close()
    assert [one.gpu_s for one in store.read(Query())] == [0.0]
    store.write([replace(row("new"), gpu_s=1.5)])
    assert [one.gpu_s for one in store.read(Query())] == [0.0, 1.5]


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "books" / "ledger.sqlite"
    sqlite_at(path).write([row("a")])
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_pruning_gives_the_disk_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    store = sqlite_at(path)
    store.write([replace(row(f"r{at}"), plan="x" * 10_000) for at in range(200)])
    store.close()
    before = path.stat().st_size
    store.prune(0.0, 10)
    store.close()
    assert path.stat().st_size < before / 4


# ---------------------------------------------------------------- how a server is lost


@needs_postgres
def test_a_server_that_dies_is_an_error_and_its_return_is_noticed(server: PostgresServer) -> None:
    store = _emptied(server)
    store.write([row("before")])
    server.kill()
    with pytest.raises(StoreError, match="PostgreSQL"):
        store.write([row("in between")])
    with pytest.raises(StoreError):
        ids(store)
    server.start()
    store.write([row("after")])
    assert ids(store) == ["before", "after"]
    store.close()
