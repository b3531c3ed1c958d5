"""A file of SQLite's: needs nothing, is shared by processes of one machine.

Knows: the file, the driver's errors. Does not know: the tables. The file is readable by its owner alone. Where it was
deleted or replaced, the connection leads to nothing that anyone could find; then a new one is made.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointsman.ledger.store.base import RowRefused, StoreError
from pointsman.ledger.store.sql import Connection

BUSY_S = 5.0
"""How long another process may hold the file; in a thread of the store's own, where nobody waits for it."""
MODE = 0o600
SETTINGS = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # before the first table: so that pruning gives pages back
    "PRAGMA journal_mode = WAL",  # readers and the one writer do not wait for each other
    "PRAGMA synchronous = NORMAL",  # with WAL: a power cut may cost the last rows, never the file
    "PRAGMA journal_size_limit = 16777216",
)
FREED_PAGES = 10_000


class _Connection(sqlite3.Connection):
    """Remembers which file it was made for."""

    file = (0, 0)


class Sqlite:
    """Satisfies `Engine`."""

    mark = "?"
    serial = "INTEGER PRIMARY KEY AUTOINCREMENT"
    exclusive: tuple[str, ...] = ("BEGIN IMMEDIATE",)

    def __init__(self, path: Path, busy_s: float = BUSY_S) -> None:
        self._path = path
        self._busy_s = busy_s

    def connect(self) -> Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, MODE))
        connection = sqlite3.connect(
            self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        connection.file = _identity(self._path)
        for setting in SETTINGS:
            connection.execute(setting).close()
        return connection

    def is_same(self, connection: Connection) -> bool:
        return bool(connection.file == _identity(self._path))

    @contextmanager
    def mapped(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DataError, sqlite3.IntegrityError, OverflowError, UnicodeEncodeError) as error:
            raise RowRefused(f"{type(error).__name__}: {error}") from None
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {error}") from None

    def tidy(self, connection: Connection) -> None:
        """Give freed pages back to the disk, some at a time."""
        connection.executescript(f"PRAGMA incremental_vacuum({FREED_PAGES})")  # `execute` would free one page

    def __repr__(self) -> str:
        return f"Sqlite({self._path})"


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, -1)
    return (found.st_dev, found.st_ino)
