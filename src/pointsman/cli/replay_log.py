"""Reading a log of outcomes, wherever it lies: the store (SQLite, PostgreSQL) or an export (Parquet, JSON lines).

Knows: how each is told from the others, what is wrong with it in words. Does not know: what becomes of the rows.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.cli.common import complain
from pointsman.types_record import Record

if TYPE_CHECKING:
    from pointsman.ledger.store.base import Store

SQLITE_MARK = b"SQLite format 3\0"
POSTGRES = ("postgresql://", "postgres://")
UPDATE = "export it anew with the program that wrote it, or replay it with that version"


def records_of(source: str, since_unix_s: float = 0.0, until_unix_s: float | None = None) -> Iterator[Record]:
    """Rows in the order they were written, those received from `since` on and before `until`. Exits 2 where it cannot
    be read."""
    from pointsman.ledger.store.sql import SqlStore

    if source.startswith(POSTGRES):
        from pointsman.ledger.store.postgres import Postgres

        return records_in(SqlStore(Postgres(source)), since_unix_s, until_unix_s)
    path = Path(source.removeprefix("sqlite:"))
    if _is_sqlite(path):
        from pointsman.ledger.store.sqlite import Sqlite

        _expect_outcomes(path)
        return records_in(SqlStore(Sqlite(path)), since_unix_s, until_unix_s)
    return _exported(path, since_unix_s, until_unix_s)


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_MARK)) == SQLITE_MARK
    except OSError as error:
        complain([f"{path}: cannot be read ({error.strerror}); name a log of outcomes"])


def _expect_outcomes(path: Path) -> None:
    """A file of somebody else's is not to be made a store."""
    with closing(sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)) as connection:
        try:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'outcomes'").fetchone()
        except sqlite3.Error as error:
            complain([f"{path}: cannot be read ({error})"])
    if found is None:
        complain([f"{path}: holds no outcomes; name `ledger.sqlite` of the server's `cache_dir`"])


def records_in(store: "Store", since_unix_s: float, until_unix_s: float | None) -> Iterator[Record]:
    """The same, of a store."""
    from pointsman.ledger.store.base import Query, StoreError

    try:
        yield from store.read(Query(since_unix_s=since_unix_s, until_unix_s=until_unix_s))
    except (StoreError, msgspec.ValidationError) as error:
        complain([f"the store cannot be read: {error}"])


def _exported(path: Path, since_unix_s: float, until_unix_s: float | None) -> Iterator[Record]:
    problems: list[str] = []
    for place, row in _rows(path):
        record = row if isinstance(row, str) else _record(row)
        if isinstance(record, str):
            problems.append(f"{path}: {place}: {record}")
        elif record.received_unix_s >= since_unix_s and (until_unix_s is None or record.received_unix_s < until_unix_s):
            yield record
    if problems:
        complain(problems)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    from pointsman.learning.rows import rows_of

    try:
        yield from rows_of(path)
    except ImportError:
        complain([f"{path}: reading Parquet needs pyarrow: pip install 'pointsman[learn]', or export *.jsonl"])


def _record(row: dict[str, Any]) -> Record | str:
    try:
        return msgspec.convert(row, Record, strict=False)
    except msgspec.ValidationError as error:
        return f"not an outcome of this version ({error}); {UPDATE}"
