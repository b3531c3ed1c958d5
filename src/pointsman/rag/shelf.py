"""Documents on disk: their passages by words and by meaning, and what conversations said. One file of SQLite's.

Knows: tables, the two orders in which passages are found. Does not know: how a text is read, what a vector means.
Invariants: all of it is partitioned by tenant before anything is compared; a document is replaced whole or not at all;
no more than `most_passages` are kept of a tenant; the file is readable by its owner alone.
Words are found by SQLite's FTS5 (BM25), which counts the vowel signs of Indian scripts as parts of words; vectors are
compared one by one, a hundredth of a second for twenty thousand.
"""

import asyncio
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pointsman.errors import Refused, RequestError
from pointsman.rag.fuse import fused
from pointsman.types_rag import Document, Exchange, Found, Moment, Query

T = TypeVar("T")

DEPTH = 40
"""So many passages of each order are fused."""
MOST_WORDS = 32
WORD = re.compile(r"\w+(?:[\u0900-\u0dff]\w*)*")
MODE = 0o600
TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, collection TEXT NOT NULL, id TEXT NOT NULL, title TEXT NOT NULL,
    kind TEXT NOT NULL, source TEXT NOT NULL, published REAL NOT NULL, added REAL NOT NULL, passages INTEGER NOT NULL,
    UNIQUE (tenant, collection, id));
CREATE TABLE IF NOT EXISTS passages (
    number INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    text TEXT NOT NULL, start_s REAL, end_s REAL, vector BLOB);
CREATE INDEX IF NOT EXISTS passages_of ON passages (document);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    text, content='passages', content_rowid='number',
    tokenize="unicode61 remove_diacritics 0 categories 'L* N* Co M*'");
CREATE TRIGGER IF NOT EXISTS word_in AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, text) VALUES (new.number, new.text); END;
CREATE TRIGGER IF NOT EXISTS word_out AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.number, old.text); END;
CREATE VIEW IF NOT EXISTS shelved AS
    SELECT p.number AS passage, p.text, p.start_s, p.end_s, p.vector, d.tenant, d.collection, d.id, d.title, d.kind,
        d.source, d.published, d.added, d.passages FROM passages p JOIN documents d ON d.number = p.document;
CREATE TABLE IF NOT EXISTS exchanges (
    number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, conversation TEXT NOT NULL, question TEXT NOT NULL,
    answer TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS exchanges_of ON exchanges (tenant, conversation);
"""
OPEN_END = 1e18


class Shelf:
    """Nothing touches the disk before the first call. Calls wait for one another in a thread of their own."""

    def __init__(self, path: Path, most_passages: int, remember: int) -> None:
        self._path = path
        self._most_passages = most_passages
        self._remember = remember
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shelf")
        self._connection: sqlite3.Connection | None = None

    async def keep(
        self, tenant: str, document: Document, moments: Sequence[Moment], vectors: Sequence[bytes] | None
    ) -> Document:
        """The document in place of an earlier one of that id. Raises Refused where there is no room."""
        return await self._run(lambda connection: self._keep(connection, tenant, document, moments, vectors))

    async def find(self, tenant: str, query: Query, vector: bytes | None) -> tuple[Found, ...]:
        """What may answer, the best first."""
        return await self._run(lambda connection: _find(connection, tenant, query, vector))

    async def documents(self, tenant: str, collection: str) -> tuple[Document, ...]:
        """All of a collection, the newest first."""
        return await self._run(lambda connection: _documents(connection, tenant, collection))

    async def forget(self, tenant: str, collection: str, document_id: str) -> None:
        """Raises RequestError where there is none of that id."""
        await self._run(lambda connection: _forget(connection, tenant, collection, document_id))

    async def exchanges(self, tenant: str, conversation: str) -> tuple[Exchange, ...]:
        """The last of a conversation, in their order."""
        return await self._run(lambda connection: _exchanges(connection, tenant, conversation, self._remember))

    async def remember(self, tenant: str, conversation: str, exchange: Exchange, at_unix_s: float) -> None:
        """Older ones than can be asked for are forgotten."""
        values = (tenant, conversation, exchange.question, exchange.answer, at_unix_s)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO exchanges (tenant, conversation, question, answer, at) VALUES (?, ?, ?, ?, ?)", values
            )
            connection.execute(
                "DELETE FROM exchanges WHERE tenant = ?1 AND conversation = ?2 AND number NOT IN (SELECT number FROM "
                "exchanges WHERE tenant = ?1 AND conversation = ?2 ORDER BY number DESC LIMIT ?3)",
                (tenant, conversation, self._remember),
            )

        await self._run(write)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=False)

    async def _run(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_thread, act)

    def _in_thread(self, act: Callable[[sqlite3.Connection], T]) -> T:
        with _mapped(self._path):
            if self._connection is None:
                self._connection = _opened(self._path)
            with self._connection:
                return act(self._connection)

    def _keep(
        self,
        connection: sqlite3.Connection,
        tenant: str,
        document: Document,
        moments: Sequence[Moment],
        vectors: Sequence[bytes] | None,
    ) -> Document:
        key = (tenant, document.collection, document.id)
        connection.execute("DELETE FROM documents WHERE tenant = ? AND collection = ? AND id = ?", key)
        (held,) = connection.execute(
            "SELECT coalesce(sum(passages), 0) FROM documents WHERE tenant = ?", (tenant,)
        ).fetchone()
        if held + len(moments) > self._most_passages:
            said = f"{held} passages are kept of {self._most_passages} (rag.most_passages), this one has {len(moments)}"
            raise Refused(f"No room for the document: {said}; delete others first", code="out_of_memory_budget")
        number = connection.execute(
            "INSERT INTO documents (tenant, collection, id, title, kind, source, published, added, passages) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *key,
                document.title,
                document.kind,
                document.source,
                document.published_unix_s,
                document.added_unix_s,
                len(moments),
            ),
        ).lastrowid
        rows = (
            (number, moment.text, moment.start_s, moment.end_s, vectors[at] if vectors else None)
            for at, moment in enumerate(moments)
        )
        connection.executemany(
            "INSERT INTO passages (document, text, start_s, end_s, vector) VALUES (?, ?, ?, ?, ?)", rows
        )
        return _documents(connection, *key[:2], document.id)[0]

    def __repr__(self) -> str:
        return f"Shelf({self._path})"


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise Refused(
            f"The shelf {path.name} cannot be used: {error}; try again later", code="loading_failed"
        ) from None


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, MODE))
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.executescript(TABLES)
    return connection


def _find(connection: sqlite3.Connection, tenant: str, query: Query, vector: bytes | None) -> tuple[Found, ...]:
    since, until = query.since_unix_s, query.until_unix_s
    place = (tenant, query.collection, -OPEN_END if since is None else since, OPEN_END if until is None else until)
    by_words, by_meaning = _by_words(connection, query.text, place), _by_meaning(connection, vector, place)
    orders = [by_words, by_meaning]
    if query.newest_first:
        orders.insert(0, _by_time(connection, [*by_words, *by_meaning]))
    found = fused(*orders)[: query.top]
    return tuple(_row(connection, number, score) for number, score in found)


def _by_words(connection: sqlite3.Connection, text: str, place: tuple[Any, ...]) -> list[int]:
    """Those that share a word with the question; rare words count for more (BM25)."""
    asked = " OR ".join(f'"{word}"' for word in list(dict.fromkeys(WORD.findall(text)))[:MOST_WORDS])
    if not asked:
        return []
    rows = connection.execute(
        "SELECT passage FROM words JOIN shelved ON passage = words.rowid WHERE words MATCH ? AND tenant = ? "
        "AND collection = ? AND published >= ? AND published < ? ORDER BY bm25(words) LIMIT ?",
        (asked, *place, DEPTH),
    )
    return [number for (number,) in rows]


def _by_meaning(connection: sqlite3.Connection, vector: bytes | None, place: tuple[Any, ...]) -> list[int]:
    if vector is None:
        return []
    rows = connection.execute(
        "SELECT passage, vector FROM shelved WHERE length(vector) = ? AND tenant = ? AND collection = ? "
        "AND published >= ? AND published < ?",
        (len(vector), *place),
    ).fetchall()
    if not rows:
        return []
    vectors = np.frombuffer(b"".join(row[1] for row in rows), np.float32).reshape(len(rows), -1)
    order = np.argsort(-(vectors @ np.frombuffer(vector, np.float32)), kind="stable")[:DEPTH]
    return [rows[int(at)][0] for at in order]


def _by_time(connection: sqlite3.Connection, numbers: list[int]) -> list[int]:
    rows = connection.execute(
        "SELECT passage FROM shelved WHERE passage IN (SELECT value FROM json_each(?)) "
        "ORDER BY published DESC, passage",
        (json.dumps(numbers),),
    )
    return [number for (number,) in rows]


def _row(connection: sqlite3.Connection, number: int, score: float) -> Found:
    *document, text, start_s, end_s = connection.execute(
        "SELECT id, title, collection, kind, source, published, added, passages, text, start_s, end_s FROM shelved "
        "WHERE passage = ?",
        (number,),
    ).fetchone()
    return Found(
        document=_document(document), moment=Moment(text=text, start_s=start_s, end_s=end_s), score=round(score, 6)
    )


def _document(row: Sequence[Any]) -> Document:
    names = ("id", "title", "collection", "kind", "source", "published_unix_s", "added_unix_s", "passages")
    return Document(**dict(zip(names, row, strict=True)))


def _documents(connection: sqlite3.Connection, tenant: str, collection: str, id_: str = "") -> tuple[Document, ...]:
    rows = connection.execute(
        "SELECT id, title, collection, kind, source, published, added, passages FROM documents "
        "WHERE tenant = ? AND collection = ? AND (? = '' OR id = ?) ORDER BY added DESC, number DESC",
        (tenant, collection, id_, id_),
    )
    return tuple(_document(row) for row in rows)


def _forget(connection: sqlite3.Connection, tenant: str, collection: str, document_id: str) -> None:
    gone = connection.execute(
        "DELETE FROM documents WHERE tenant = ? AND collection = ? AND id = ?", (tenant, collection, document_id)
    )
    if not gone.rowcount:
        raise RequestError(f"There is no document `{document_id}`", code="not_found", param="id")


def _exchanges(connection: sqlite3.Connection, tenant: str, conversation: str, most: int) -> tuple[Exchange, ...]:
    rows = connection.execute(
        "SELECT question, answer FROM exchanges WHERE tenant = ? AND conversation = ? ORDER BY number DESC LIMIT ?",
        (tenant, conversation, most),
    ).fetchall()
    return tuple(Exchange(question=question, answer=answer) for question, answer in reversed(rows))
