"""Rows on their way: none is lost while the store is well, none costs an answer while it is not, and every loss is
counted."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pointsman.clock import SystemClock
from pointsman.ledger import recorder
from pointsman.ledger.cost import Prices
from pointsman.ledger.recorder import CAPACITY, Keeping, Recorder
from pointsman.ledger.store.base import Found, Query, RowRefused, Store, StoreError, Verdict
from pointsman.ledger.store.sql import SqlStore
from pointsman.ledger.store.sqlite import Sqlite
from pointsman.types import Kind, Outcome, Usage
from pointsman.types_feedback import Feedback
from pointsman.types_record import Record

PRICES = Prices(())
PATIENCE_S = 10.0


def outcome(request_id: str = "r", prompt: str = "") -> Outcome:
    return Outcome(
        request_id=request_id,
        kind=Kind.CHAT,
        asked_model="auto",
        status="success",
        http_status=200,
        signals=None,
        plan=None,
        attempts=(),
        usage=Usage(),
        stream=False,
        total_s=1.0,
        classify_s=0.0,
        decide_s=0.0,
        wait_s=0.0,
        upstream_s=0.0,
        first_byte_s=None,
        received_unix_s=SystemClock().unix(),
        prompt=prompt,
    )


def verdict(request_id: str) -> Verdict:
    return Verdict(feedback=Feedback(request_id=request_id, value=1.0, source="thumbs"))


class Shelf:
    """A store in memory that fails as it is told."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.fails = False
        self.refuses = ""

    def write(self, records: Sequence[Record]) -> None:
        if self.fails:
            raise StoreError("away")
        if self.refuses in {record.request_id for record in records}:
            raise RowRefused("unfit")
        self.rows += [record.request_id for record in records]

    def judge(self, verdict: Verdict) -> Found | None:
        if self.fails:
            raise StoreError("away")
        return None

    def read(self, query: Query) -> Iterator[Record]:
        return iter(())

    def prune(self, before_unix_s: float, keep_rows: int) -> int:
        return 7

    def close(self) -> None:
        self.rows.append("closed")


def recording(store: Store, told: Callable[[bool, str], None] = lambda _is_up, _why: None) -> Recorder:
    keeping = Keeping(days=30, rows=1000)
    return Recorder(store, lambda: PRICES, lambda: keeping, SystemClock(), told)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def test_every_row_is_written_in_order_before_the_end() -> None:
    async def scene() -> None:
        shelf = Shelf()
        books = recording(shelf)
        for number in range(500):
            books.closed(outcome(f"r{number}"))
        await books.close()
        assert shelf.rows == [*(f"r{number}" for number in range(500)), "closed"]
        assert (books.statistics().written, books.statistics().dropped) == (500, 0)

    asyncio.run(scene())


def test_nothing_is_touched_before_the_first_request(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    asyncio.run(recording(SqlStore(Sqlite(path))).close())
    assert not path.exists()


def test_a_store_that_comes_back_gets_what_waited_and_both_are_told() -> None:
    async def scene() -> None:
        shelf, heard = Shelf(), list[tuple[bool, str]]()
        books = recording(shelf, lambda is_up, why: heard.append((is_up, why)))
        shelf.fails = True
        books.closed(outcome("waits"))
        await until(lambda: bool(heard))
        shelf.fails = False
        await until(lambda: len(heard) == 2)
        assert heard == [(False, "away"), (True, "")]
        await books.close()
        assert shelf.rows == ["waits", "closed"]

    asyncio.run(scene())


def test_what_finds_no_room_is_counted_and_costs_nothing() -> None:
    async def scene() -> None:
        shelf = Shelf()
        shelf.fails = True
        books = recording(shelf)
        for _ in range(CAPACITY + 700):
            books.closed(outcome())
        view = books.statistics()
        assert view.queued + view.dropped == CAPACITY + 700
        assert view.dropped >= 700 - recorder.BATCH
        await books.close()
        view = books.statistics()
        assert (view.written, view.dropped, view.queued) == (0, CAPACITY + 700, 0)

    asyncio.run(scene())


def test_a_store_that_hangs_is_told_when_the_queue_is_full() -> None:
    class Hanging(Shelf):
        def write(self, records: Sequence[Record]) -> None:
            go_on.wait(PATIENCE_S)

    async def scene() -> None:
        heard = list[tuple[bool, str]]()
        books = recording(Hanging(), lambda is_up, why: heard.append((is_up, why)))
        for _ in range(CAPACITY + recorder.BATCH + 1):
            books.closed(outcome())
        await until(lambda: bool(heard))
        assert heard == [(False, "the queue is full")]
        go_on.set()
        await until(lambda: len(heard) == 2)
        assert heard[1] == (True, "")
        await books.close()

    go_on = threading.Event()
    asyncio.run(scene())


def test_stored_prompts_have_a_bound_of_their_own() -> None:
    async def scene() -> None:
        shelf = Shelf()
        books = recording(shelf)
        big = "x" * (recorder.CAPACITY_BYTES // 4)
        for _ in range(20):
            books.closed(outcome(prompt=big))
        assert books.statistics().dropped >= 14
        await books.close()
        assert books.statistics().written + books.statistics().dropped == 20

    asyncio.run(scene())


def test_one_bad_row_costs_no_other() -> None:
    async def scene() -> None:
        shelf = Shelf()
        shelf.refuses = "bad"
        books = recording(shelf)
        for name in ("a", "bad", "b"):
            books.closed(outcome(name))
        await books.close()
        assert shelf.rows == ["a", "b", "closed"]
        assert (books.statistics().written, books.statistics().refused) == (2, 1)

    asyncio.run(scene())


def test_a_verdict_comes_after_its_row(tmp_path: Path) -> None:
    async def scene() -> None:
        books = recording(SqlStore(Sqlite(tmp_path / "ledger.sqlite")))
        for number in range(300):
            books.closed(outcome(f"r{number}"))
        found = await books.judge(verdict("r299"), PATIENCE_S)
        assert found is not None
        assert found.record.request_id == "r299"
        assert await books.judge(verdict("r300"), PATIENCE_S) is None
        assert [row.feedback for row in await books.read(Query(request_id="r299"))] == [1.0]
        await books.close()

    asyncio.run(scene())


def test_a_verdict_waits_for_the_store_as_rows_do(tmp_path: Path) -> None:
    async def scene() -> None:
        path = tmp_path / "ledger.sqlite"
        books = recording(SqlStore(Sqlite(path, 0.05)))
        books.closed(outcome("r"))
        await until(lambda: books.statistics().written == 1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert books.keep(verdict("r")) is not None
        await until(lambda: not books.statistics().is_up)
        other.execute("COMMIT")
        other.close()
        await until(lambda: books.statistics().verdicts == 1)
        await books.close()

    asyncio.run(scene())


def test_nobody_waits_for_a_store_that_says_nothing() -> None:
    async def scene() -> None:
        shelf = Shelf()
        shelf.fails = True
        books = recording(shelf)
        books.closed(outcome())
        with pytest.raises(StoreError):
            await books.judge(verdict("r"), 0.05)
        await books.close()
        with pytest.raises(StoreError):
            await books.judge(verdict("r"), 0.05)

    asyncio.run(scene())


def test_the_loop_goes_on_while_another_process_holds_the_file(tmp_path: Path) -> None:
    """Closing waits a moment, then gives up; nothing ever blocks the loop."""

    async def scene() -> None:
        path = tmp_path / "ledger.sqlite"
        store = SqlStore(Sqlite(path, 0.05))
        store.write([])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        books = recording(store)
        longest_s, loop = 0.0, asyncio.get_running_loop()
        for _ in range(200):
            began_s = loop.time()
            books.closed(outcome())
            longest_s = max(longest_s, loop.time() - began_s)
            await asyncio.sleep(0.002)
        assert longest_s < 0.05
        assert books.statistics().is_up is False
        await books.close(2.0)
        assert books.statistics().dropped == 200
        other.close()

    asyncio.run(scene())


def test_old_rows_go() -> None:
    async def scene() -> None:
        books = recording(Shelf())
        books.closed(outcome())
        await until(lambda: books.statistics().pruned == 7)
        await books.close()

    asyncio.run(scene())
