"""A PostgreSQL that several gateways write to. Needs the extra `postgres` (psycopg).

Knows: the driver, its errors, the schema `pointsman` in which everything lies. Does not know: the tables.
No call waits longer than `PATIENCE_S` for the server, nor for a dead network.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pointsman.ledger.store.base import RowRefused, StoreError
from pointsman.ledger.store.sql import Connection

PATIENCE_S = 10
LOCK = 0x706F696E  # of any number nobody else uses: gateways that start together do not both make the tables
SETTINGS = (
    f"SET statement_timeout = {1000 * PATIENCE_S}",
    "CREATE SCHEMA IF NOT EXISTS pointsman",
    "SET search_path = pointsman",
)


class Postgres:
    """Satisfies `Engine`. `url` holds no password."""

    mark = "%s"
    serial = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    exclusive: tuple[str, ...] = ("BEGIN", f"SELECT pg_advisory_xact_lock({LOCK})")

    def __init__(self, url: str, password: str = "") -> None:
        self._url = url
        self._password = password

    def connect(self) -> Connection:
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            password=self._password or None,
            connect_timeout=PATIENCE_S,
            tcp_user_timeout=1000 * PATIENCE_S,
            application_name="pointsman",
        )
        for setting in SETTINGS:
            connection.execute(setting)
        return connection

    def is_same(self, connection: Connection) -> bool:
        return not connection.closed

    @contextmanager
    def mapped(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError) as error:
            raise RowRefused(f"{type(error).__name__}: {error}") from None
        except (psycopg.Error, OSError) as error:
            raise StoreError(f"PostgreSQL: {type(error).__name__}: {' '.join(str(error).split())}") from None

    def tidy(self, connection: Connection) -> None:
        """Its own autovacuum does that."""

    def __repr__(self) -> str:
        return f"Postgres({self._url})"
