"""A store in SQL, for whatever database speaks it.

Knows: the tables, their version, every statement. Does not know: how a connection is made (`Engine`).
Invariants: what is not ours travels as a parameter, never in a statement; a transaction is done or undone whole; after
an error the connection is given up and the next call makes a new one. A column that a row has and the table has not is
added; a table of a newer version is left alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import chain
from typing import Any, Protocol

import msgspec

from pointsman.ledger.store.base import Found, Query, RowRefused, StoreError, Verdict
from pointsman.types_record import Record

Connection = Any  # two drivers, one DB-API (PEP 249); each has types of its own
VERSION = 1
MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        "CREATE TABLE outcomes (seq {serial}, request_id TEXT NOT NULL, received_unix_s DOUBLE PRECISION NOT NULL)",
        "CREATE INDEX outcomes_by_request ON outcomes (request_id)",
        "CREATE INDEX outcomes_by_time ON outcomes (received_unix_s)",
        """CREATE TABLE feedback (request_id TEXT NOT NULL, tenant TEXT NOT NULL, source TEXT NOT NULL,
        value DOUBLE PRECISION NOT NULL, comment TEXT NOT NULL, given_unix_s DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (request_id, tenant, source))""",
    )
}
"""What leads to each version. Columns of `outcomes` beyond these come by themselves."""
PRUNED_AT_ONCE = PAGE = 1000
ROWS_AT_ONCE = (64, 8, 1)
"""In one statement: the driver lets go of the interpreter, and fights for it again, once for each. A few fixed numbers,
so that statements are prepared once."""
TYPES: dict[object, str] = {
    str: "TEXT NOT NULL DEFAULT ''",
    int: "BIGINT NOT NULL DEFAULT 0",
    float: "DOUBLE PRECISION NOT NULL DEFAULT 0",
    bool: "BOOLEAN NOT NULL DEFAULT FALSE",
    float | None: "DOUBLE PRECISION",
}
FIELDS = {field.name: field.type for field in msgspec.structs.fields(Record)}
NAMES = tuple(FIELDS)
COLUMNS = ", ".join(f'"{name}"' for name in NAMES)


class Engine(Protocol):
    """One kind of database. `mark` stands for a parameter, `serial` for a column that numbers rows, `exclusive` begins
    a transaction that no other may share."""

    mark: str
    serial: str
    exclusive: tuple[str, ...]

    def connect(self) -> Connection: ...
    def is_same(self, connection: Connection) -> bool: ...
    def mapped(self) -> AbstractContextManager[None]: ...
    def tidy(self, connection: Connection) -> None: ...


class SqlStore:
    """Satisfies `Store`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection = None
        row = f"({', '.join([engine.mark] * len(NAMES))})"
        into = f"INSERT INTO outcomes ({COLUMNS}) VALUES "  # noqa: S608  # names of fields
        self._inserts = {rows: into + ", ".join([row] * rows) for rows in ROWS_AT_ONCE}

    def write(self, records: Sequence[Record]) -> None:
        rows = [msgspec.structs.astuple(record) for record in records]
        with self._transaction() as connection, closing(connection.cursor()) as cursor:
            while rows:
                count = next(count for count in ROWS_AT_ONCE if count <= len(rows))
                cursor.execute(self._inserts[count], tuple(chain.from_iterable(rows[:count])))
                del rows[:count]

    def judge(self, verdict: Verdict) -> Found | None:
        given = verdict.feedback
        about = (given.request_id, given.tenant)
        with self._transaction() as connection:
            row = self._first(connection, f"SELECT {COLUMNS} {LATEST}", about)
            if row is None:
                return None
            before = self._first(connection, BEFORE, (*about, given.source))
            said = (*about, given.source, given.value, verdict.comment, given.given_unix_s)
            self._do(connection, GIVE, said)
            self._do(connection, MARK_ROW, (given.value, given.source, *about, *about))
        return Found(record=_record(row), before=before[0] if before else None)

    def read(self, query: Query) -> Iterator[Record]:
        """A page at a time, so that memory does not grow with the store."""
        with self._engine.mapped(), closing(self._engine.connect()) as connection:
            self._migrate(connection)
            left, edge = query.limit, None
            while left is None or left > 0:
                size = PAGE if left is None else min(PAGE, left)
                with closing(self._do(connection, *_page(query, edge, size))) as cursor:
                    rows = cursor.fetchall()
                yield from map(_record, rows)
                if len(rows) < size:
                    return
                edge = rows[-1][-1]
                left = None if left is None else left - size

    def prune(self, before_unix_s: float, keep_rows: int) -> int:
        old = self._prune(OLD, (before_unix_s, PRUNED_AT_ONCE))
        many = self._prune(MANY, (keep_rows, PRUNED_AT_ONCE))
        if old + many:
            with self._transaction() as connection:
                self._do(connection, WIDOWED, ())
            with self._engine.mapped():
                self._engine.tidy(self._connection)
        return old + many

    def _prune(self, statement: str, values: tuple[float | int, ...]) -> int:
        """In transactions short enough for others to come between."""
        gone = 0
        while True:
            with self._transaction() as connection:
                count = int(self._do(connection, statement, values).rowcount)
            gone += count
            if count < PRUNED_AT_ONCE:
                return gone

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(StoreError, RowRefused), self._engine.mapped():
                connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.mapped():
                connection = self._opened()
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
        except RowRefused:
            self._undo()
            raise
        except BaseException:
            self.close()
            raise

    def _undo(self) -> None:
        try:
            with self._engine.mapped():
                self._connection.execute("ROLLBACK")
        except (StoreError, RowRefused):
            self.close()

    def _opened(self) -> Connection:
        """The connection, made anew where it leads nowhere any more."""
        if self._connection is not None and not self._engine.is_same(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._engine.connect()
            self._migrate(self._connection)
        return self._connection

    def _migrate(self, connection: Connection) -> None:
        for statement in self._engine.exclusive:
            connection.execute(statement)
        connection.execute("CREATE TABLE IF NOT EXISTS ledger_version (version INTEGER NOT NULL)")
        found = self._first(connection, "SELECT max(version) FROM ledger_version", ())
        version = int(found[0]) if found and found[0] is not None else 0
        if version > VERSION:
            raise StoreError(f"the store is of version {version}, this program knows {VERSION}: update it")
        for step in range(version + 1, VERSION + 1):
            for statement in MIGRATIONS[step]:
                connection.execute(statement.format(serial=self._engine.serial))
            self._do(connection, "INSERT INTO ledger_version (version) VALUES (?)", (step,))
        there = _columns(connection)
        for name in [name for name in NAMES if name not in there]:
            connection.execute(f'ALTER TABLE outcomes ADD COLUMN "{name}" {TYPES[FIELDS[name]]}')
        connection.execute("COMMIT")

    def _do(self, connection: Connection, statement: str, values: tuple[object, ...]) -> Any:
        """A statement written with `?`; the cursor."""
        return connection.execute(statement.replace("?", self._engine.mark), values)

    def _first(self, connection: Connection, statement: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        with closing(self._do(connection, statement, values)) as cursor:
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row

    def __repr__(self) -> str:
        return f"SqlStore({self._engine!r}, {'open' if self._connection is not None else 'closed'})"


LATEST = "FROM outcomes WHERE request_id = ? AND tenant = ? ORDER BY seq DESC LIMIT 1"
BEFORE = "SELECT value FROM feedback WHERE request_id = ? AND tenant = ? AND source = ?"
GIVE = (
    "INSERT INTO feedback (request_id, tenant, source, value, comment, given_unix_s) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (request_id, tenant, source) DO UPDATE"
    " SET value = excluded.value, comment = excluded.comment, given_unix_s = excluded.given_unix_s"
)
MARK_ROW = (
    "UPDATE outcomes SET feedback = ?, feedback_source = ? WHERE request_id = ? AND tenant = ?"
    " AND seq = (SELECT max(seq) FROM outcomes WHERE request_id = ? AND tenant = ?)"
)
OLD = "DELETE FROM outcomes WHERE seq IN (SELECT seq FROM outcomes WHERE received_unix_s < ? ORDER BY seq LIMIT ?)"
MANY = (
    "DELETE FROM outcomes WHERE seq IN (SELECT seq FROM outcomes"
    " WHERE seq <= (SELECT max(seq) FROM outcomes) - ? ORDER BY seq LIMIT ?)"
)
WIDOWED = (
    "DELETE FROM feedback WHERE NOT EXISTS (SELECT 1 FROM outcomes WHERE outcomes.request_id = feedback.request_id)"
)


def _page(query: Query, edge: int | None, size: int) -> tuple[str, tuple[object, ...]]:
    """The statement for the rows after the one numbered `edge`, and its values."""
    bounds: tuple[tuple[str, object | None], ...] = (
        ("received_unix_s >= ?", query.since_unix_s),
        ("received_unix_s < ?", query.until_unix_s),
        ("request_id = ?", query.request_id),
        ("seq < ?" if query.latest_first else "seq > ?", edge),
    )
    given = [(bound, value) for bound, value in bounds if value is not None]
    where, order = " AND ".join(bound for bound, _ in given), "DESC" if query.latest_first else "ASC"
    statement = f"SELECT {COLUMNS}, seq FROM outcomes WHERE {where} ORDER BY seq {order} LIMIT ?"  # noqa: S608  # names of fields
    return statement, (*(value for _, value in given), size)


def _columns(connection: Connection) -> frozenset[str]:
    with closing(connection.cursor()) as cursor:
        cursor.execute("SELECT * FROM outcomes LIMIT 0")
        return frozenset(column[0] for column in cursor.description)


def _record(row: Sequence[Any]) -> Record:
    """The columns in their order; what follows them does not count."""
    return msgspec.convert(dict(zip(NAMES, row, strict=False)), Record, strict=False)
