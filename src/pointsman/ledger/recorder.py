"""Rows on their way to the store, in a thread of their own.

Knows: a queue, a store, patience. Does not know: SQL, who asks for rows later.
Invariants: `closed` costs an append and never blocks or raises; the queue is bounded, in rows and in bytes, and a row
too many is counted and gone; a stranger leaves no row; rows keep their order; a store that fails is tried again with
growing pauses while the queue fills; nothing here can hold up an answer, nor the process's end for longer than `close`
allows. The store is touched by this thread alone, from the first row on.

Rows are made on the loop although they could be made in the thread: it needs the interpreter for that as the loop does,
and two that take turns at it cost several times the row in changes of thread. They are made some at a time, a moment
later: the tenth costs a fraction of the first, whose code and data no cache holds.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from pointsman.clock import Clock
from pointsman.ledger.cost import Prices
from pointsman.ledger.prompts import Prompts
from pointsman.ledger.record import record_of
from pointsman.ledger.store.base import Found, Query, RowRefused, Store, StoreError, Verdict
from pointsman.types import Outcome, Value
from pointsman.types_record import Record

CAPACITY = 4096
CAPACITY_BYTES = 32 * 1024 * 1024
"""Of prompts, where they are stored."""
BATCH, BATCH_S = 200, 0.2
MAKE_S, AT_A_TIME = 0.05, 10
"""When rows are made, and how many in one turn of the loop, so that nobody waits for more."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
PRUNE_S = 3600.0
DAY_S = 86_400.0

STRANGERS = frozenset({401, 403})
"""What they hear."""

Told = Callable[[bool, str], None]


class Keeping(Value, frozen=True):
    """How long rows are kept, and how many at most."""

    days: float
    rows: int


class RecorderView(Value, frozen=True):
    """Rows since the start. `dropped`: no room in the queue, or the store never took them; `refused`: unfit."""

    queued: int = 0
    written: int = 0
    dropped: int = 0
    refused: int = 0
    verdicts: int = 0
    pruned: int = 0
    is_up: bool = True


class _Judging(Value, frozen=True):
    verdict: Verdict
    found: "Future[Found | None]"


class Recorder:
    """A sink. `told` hears, on the loop, whether the store is up and why not; `prices` and `keeping` are asked anew
    for every row and every pruning."""

    def __init__(
        self,
        store: Store,
        prices: Callable[[], Prices],
        keeping: Callable[[], Keeping],
        clock: Clock,
        told: Told,
        prompts: Prompts | None = None,
    ) -> None:
        self._seal = (prompts or Prompts()).sealed
        self._prices = prices
        self._keeping = keeping
        self._store = store
        self._clock = clock
        self._told = told
        self._ended: deque[Outcome] = deque()
        self._due: asyncio.Handle | None = None
        self._queue: deque[Record | _Judging] = deque()
        self._queued_bytes = 0
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_up = True
        self._prune_at_s = 0.0
        self._written = self._dropped = self._refused = self._verdicts = self._pruned = 0

    # ------------------------------------------------------------ on the loop

    def closed(self, outcome: Outcome) -> None:
        """Queue its row. A stranger has none: whoever reaches the port could push out the history with its guesses."""
        if outcome.is_turned_away and not outcome.tenant and outcome.http_status in STRANGERS:
            return
        if self._queued >= CAPACITY or self._queued_bytes > CAPACITY_BYTES or self._closing.is_set():
            self._dropped += 1
            self._is(False, "the queue is full")
            return
        self._queued_bytes += len(outcome.prompt)
        self._ended.append(outcome)
        if self._due is None:
            self._loop = asyncio.get_running_loop()
            self._due = self._loop.call_later(MAKE_S, self._make_some)

    def keep(self, verdict: Verdict) -> "Future[Found | None] | None":
        """Queue a verdict; None where there is no room."""
        if self._closing.is_set() or self._queued >= CAPACITY:
            self._dropped += 1
            return None
        self._make(len(self._ended))
        judging = _Judging(verdict=verdict, found=Future())
        self._put(judging)
        return judging.found

    async def judge(self, verdict: Verdict, timeout_s: float) -> Found | None:
        """What `Store.judge` says, after all that was queued before. StoreError where it says nothing in time."""
        found = self.keep(verdict)
        if found is None:
            raise StoreError("the ledger is behind")
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(found)
        except TimeoutError:
            raise StoreError(f"the ledger has not answered within {timeout_s:g} s") from None

    async def read(self, query: Query) -> tuple[Record, ...]:
        """Rows of the store; what is still queued is not among them. Raises StoreError."""
        return await asyncio.to_thread(lambda: tuple(self._store.read(query)))

    @property
    def _queued(self) -> int:
        return len(self._ended) + len(self._queue)

    def _make_some(self) -> None:
        """The next ones when others had their turn."""
        self._make(min(AT_A_TIME, len(self._ended)))
        self._due = asyncio.get_running_loop().call_soon(self._make_some) if self._ended else None

    def _make(self, count: int) -> None:
        for _ in range(count):
            outcome = self._ended.popleft()
            self._queued_bytes -= len(outcome.prompt)
            record = record_of(outcome, self._prices().spent(outcome), self._seal)
            self._queued_bytes += len(record.prompt)
            self._put(record)

    def _put(self, item: Record | _Judging) -> None:
        self._queue.append(item)
        if not self._awake.is_set():
            if self._thread is None:
                self._loop = asyncio.get_running_loop()
                self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
                self._thread.start()
            self._awake.set()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued, for `timeout_s` at most; what is left then is counted as dropped. Idempotent."""
        self._make(len(self._ended))
        self._closing.set()
        self._awake.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, timeout_s)

    def statistics(self) -> RecorderView:
        return RecorderView(
            queued=self._queued,
            written=self._written,
            dropped=self._dropped,
            refused=self._refused,
            verdicts=self._verdicts,
            pruned=self._pruned,
            is_up=self._is_up,
        )

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while not self._closing.is_set() or self._queue:
            self._awake.wait(PRUNE_S)
            self._closing.wait(BATCH_S)
            self._awake.clear()
            while self._queue:
                self._take()
            if not self._closing.is_set() and self._clock.now() >= self._prune_at_s:
                self._prune()
        self._store.close()

    def _take(self) -> None:
        """The next batch of rows, or the next verdict; as often as it takes."""
        first = self._queue[0]
        if isinstance(first, _Judging):
            self._persist(lambda: self._judge(first))
            self._queue.popleft()
            return
        records = self._batch()
        if not self._persist(lambda: self._write(records)):
            self._dropped += len(records)

    def _persist(self, attempt: Callable[[], bool]) -> bool:
        """Try until there is nothing left to do; at the end of the process once more, then give up."""
        pause_s = FIRST_PAUSE_S
        while not attempt():
            if self._closing.wait(pause_s):
                return attempt()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return True

    def _batch(self) -> list[Record]:
        """Rows up to the next verdict."""
        records: list[Record] = []
        while len(records) < BATCH and self._queue and not isinstance(record := self._queue[0], _Judging):
            self._queue.popleft()
            self._queued_bytes -= len(record.prompt)
            records.append(record)
        return records

    def _write(self, records: list[Record]) -> bool:
        """Whether there is nothing left to do for them."""
        try:
            self._store.write(records)
        except RowRefused:
            return self._write_each(records)
        except StoreError as error:
            self._is(False, str(error))
            return False
        self._written += len(records)
        self._is(True, "")
        return True

    def _write_each(self, records: list[Record]) -> bool:
        """All but those that no store can hold."""
        while records:
            try:
                self._store.write(records[:1])
                self._written += 1
            except RowRefused:
                self._refused += 1
            except StoreError as error:
                self._is(False, str(error))
                return False
            del records[0]
        return True

    def _judge(self, judging: _Judging) -> bool:
        """Whether there is nothing left to do for it: whoever asked may have left."""
        if judging.found.cancelled():
            return True
        try:
            found = self._store.judge(judging.verdict)
        except RowRefused:
            self._refused += 1
            found = None
        except StoreError as error:
            self._is(False, str(error))
            return False
        self._is(True, "")
        self._verdicts += found is not None
        if judging.found.set_running_or_notify_cancel():
            judging.found.set_result(found)
        return True

    def _prune(self) -> None:
        self._prune_at_s = self._clock.now() + PRUNE_S
        keeping = self._keeping()
        try:
            self._pruned += self._store.prune(self._clock.unix() - keeping.days * DAY_S, keeping.rows)
        except (StoreError, RowRefused) as error:
            self._is(False, str(error))

    def _is(self, is_up: bool, why: str) -> None:
        if is_up is self._is_up or self._loop is None:
            return
        self._is_up = is_up
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told, is_up, why)

    def __repr__(self) -> str:
        return f"Recorder({self._store!r}, {self._queued} queued, {self._written} written, {self._dropped} dropped)"
