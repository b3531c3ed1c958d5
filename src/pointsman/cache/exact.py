"""The cache as the corridor sees it: a seat for each request, where an answer is looked for and one may be left.

Knows: who looks, who leads, who waits, when an answer is whole. Does not know: what makes a key, where answers lie.

1 Nothing to look for: the one seat that does nothing. 2 The caller wants a new answer (`refresh`): no look, no company.
3 The first of several equal requests looks into the store and leads; the others wait for what it finds or gets, within
their own deadline and `wait_s`. 4 A leader that fails or leaves is followed by one of those who waited; after
`MOST_LEADERS` of them, everyone asks for itself. 5 A stream counts when it has ended by itself and whole.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import msgspec

from pointsman.cache import record as records
from pointsman.cache.flights import Fate, Flight, Flights, Landing
from pointsman.cache.keys import bypass_of, key_of
from pointsman.cache.questions import Question, question_of
from pointsman.cache.record import Record, label_of
from pointsman.cache.store import Store
from pointsman.cache.streams import Collecting, replay, summary_of
from pointsman.clock import Clock
from pointsman.errors import DeadlineExceeded, RequestError
from pointsman.settings_cache import CacheSettings
from pointsman.types import Reply, Request, Signals
from pointsman.types_cache import CacheView, Found

MEGABYTE = 1_000_000
MOST_LEADERS = 2
BYPASS, MISS = Found(how="bypass"), Found(how="miss")


class Similar(Protocol):
    """Answers to what means the same (`semantic`)."""

    async def find(self, question: Question) -> bytes | None:
        """The key of a kept answer."""
        ...

    def learn(self, question: Question, key: bytes) -> None:
        """An answer is kept under that key."""
        ...

    def __len__(self) -> int: ...


class NoSeat:
    """The seat of a request that has nothing to do with the cache. One serves all; it costs next to nothing."""

    found = BYPASS

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def similar(self, signals: Signals) -> Found:  # noqa: ARG002  # a seat's signature
        return BYPASS

    def keep(self, reply: Reply, signals: Signals) -> Reply:  # noqa: ARG002  # a seat's signature
        return reply


NO_SEAT = NoSeat()


def without(request: Request) -> NoSeat:
    """The seat of a request whose answer is not kept. Raises RequestError where only a kept one would do."""
    if request.limits.cache == "only":
        raise not_kept()
    return NO_SEAT


def not_kept() -> RequestError:
    return RequestError("No answer to this request is kept; ask without `cache: only`", code="not_found")


class NoCache:
    """Where `cache.exact` is off."""

    def seat(self, request: Request) -> NoSeat:
        """Raises RequestError where only a kept answer would do."""
        return without(request)

    def under(self, configuration: str, epoch: Callable[[], str] = str) -> Self:  # noqa: ARG002  # a cache's signature
        """Nothing is kept that could have become wrong."""
        return self

    async def close(self) -> None:
        """Nothing is held."""


class Cache:
    """One for the process. `timeout_s`: a request's default deadline."""

    def __init__(
        self,
        store: Store,
        settings: CacheSettings,
        clock: Clock,
        timeout_s: float,
        similar: Similar | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self.similar = similar
        self.flights = Flights()
        self.max_entry_bytes = int(settings.max_entry_mb * MEGABYTE)
        self.too_large = self.followed = 0
        self._timeout_s = timeout_s

    def under(self, configuration: str, epoch: Callable[[], str] = str) -> "Shelf":
        """The answers of one configuration, a word for all settings that answers depend on, and of what `epoch` says
        just now; no others are found."""
        return Shelf(self, configuration, epoch)

    def deadline_s(self, request: Request) -> float:
        return request.received_s + min(self._timeout_s, request.limits.deadline_s or self._timeout_s)

    async def look(self, key: bytes) -> Record | None:
        """What lies under a key."""
        raw = await self.store.get(key)
        return None if raw is None else records.decode(key, raw)

    async def put(self, record: Record) -> None:
        await self.store.put(record.key, records.encode(record), self.settings.ttl_s)

    async def close(self) -> None:
        await self.store.close()

    def statistics(self) -> CacheView:
        held = self.store.statistics()
        return CacheView(
            entries=held.entries,
            size_bytes=held.size_bytes,
            puts=held.puts,
            evicted=held.evicted,
            expired=held.expired,
            too_large=self.too_large,
            followed=self.followed,
            failed=held.failed,
            skipped=held.skipped,
            questions=len(self.similar) if self.similar is not None else 0,
            shared=self.settings.url is not None,
            is_up=held.is_up,
        )

    def __repr__(self) -> str:
        return f"Cache({self.store!r}, {len(self.flights)} under way)"


class Shelf:
    """A cache as requests of one settings tree see it."""

    __slots__ = ("_cache", "_configuration", "_epoch")

    def __init__(self, cache: Cache, configuration: str, epoch: Callable[[], str] = str) -> None:
        self._cache = cache
        self._configuration = configuration
        self._epoch = epoch

    def seat(self, request: Request) -> "Seat | NoSeat":
        """Where one request looks and leaves its answer; to be entered. Raises RequestError like `without`."""
        if bypass_of(request, self._cache.settings):
            return without(request)
        return Seat(self._cache, request, self._configuration + self._epoch())

    def __repr__(self) -> str:
        return f"Shelf({self._configuration}, {self._cache!r})"


class Seat:
    """One request's. `found` is told once it has been entered."""

    __slots__ = ("_cache", "_configuration", "_flight", "_key", "_question", "_record", "_request", "_signals", "found")

    def __init__(self, cache: Cache, request: Request, configuration: str) -> None:
        self._cache = cache
        self._request = request
        self._configuration = configuration
        self._key = key_of(request, configuration)
        self._flight: Flight | None = None
        self._record: Record | None = None
        self._signals: Signals | None = None
        self._question: Question | None = None
        self.found = MISS

    # ------------------------------------------------------------ looking

    async def __aenter__(self) -> Self:
        """Raises RequestError where only a kept answer would do, DeadlineExceeded where one came too late."""
        wish = self._request.limits.cache
        if wish == "refresh":
            return self
        try:
            if wish == "only":
                self.found = self._found(await self._cache.look(self._key), "hit")
            else:
                await self._look_or_follow()
        except BaseException:
            self._leave()
            raise
        if wish == "only" and self.found.reply is None:
            raise not_kept()
        return self

    async def _look_or_follow(self) -> None:
        cache, began_s = self._cache, self._cache.clock.now()
        for _ in range(MOST_LEADERS + 1):
            self._flight = cache.flights.lead(self._key)
            if self._flight is not None:
                record = await cache.look(self._key)
                self.found = self._found(record, "hit", began_s)
                if record is not None and self.found.reply is not None:
                    self._flight.land(record)
                    self._leave()
                return
            landing = await self._follow(cache.flights.under_way(self._key), began_s)
            if isinstance(landing, Record):
                cache.followed += 1
                self.found = self._found(landing, "hit", began_s)
                return
            if landing is not Fate.LOST:
                break
        self.found = self._found(None, "hit", began_s)

    async def _follow(self, flight: Flight, began_s: float) -> Landing | None:
        """How the leader ended; None where waiting for it took longer than this request will."""
        cache = self._cache
        now_s, deadline_s = cache.clock.now(), cache.deadline_s(self._request)
        patience_s = began_s + cache.settings.wait_s - now_s
        if patience_s <= 0:
            return None
        landing = await flight.landed(max(0.0, min(patience_s, deadline_s - now_s)))
        if landing is None and cache.clock.now() >= deadline_s:
            raise DeadlineExceeded("The deadline passed while an equal request was being answered; allow more time")
        return landing

    async def similar(self, signals: Signals) -> Found:
        """What is kept for a question that means the same, where that is switched on."""
        cache, request = self._cache, self._request
        if cache.similar is None:
            return MISS
        self._question = question_of(request, signals, self._configuration)
        if self._question is None or request.limits.cache == "refresh":
            return MISS
        key = await cache.similar.find(self._question)
        record = None if key is None else await cache.look(key)
        found = self._found(record, "semantic")
        if record is not None and found.reply is not None and self._flight is not None:
            self._flight.land(record)
        return found

    def _found(self, record: Record | None, how: str, began_s: float | None = None) -> Found:
        """The record as an answer to this request, where it is one."""
        waited_s = 0.0 if began_s is None else self._cache.clock.now() - began_s
        request, shaped = self._request, None
        if record is not None and self._is_fresh(record):
            shaped = records.shaped(record, request)
        if record is None or shaped is None:
            return MISS if not waited_s else Found(how="miss", waited_s=waited_s)
        return Found(
            how=how,
            reply=Reply(
                status=200,
                content_type=shaped.content_type,
                body=shaped.body,
                events=None if shaped.chunks is None else replay(shaped.chunks),
            ),
            model_id=record.model_id,
            signals=record.signals(),
            waited_s=waited_s,
        )

    def _is_fresh(self, record: Record) -> bool:
        max_age_s = self._request.limits.max_age_s
        return max_age_s is None or self._cache.clock.unix() - record.kept_unix_s <= max_age_s

    # ------------------------------------------------------------ leaving an answer

    def keep(self, reply: Reply, signals: Signals) -> Reply:
        """The reply, on its way to the caller; once it is whole, it is kept."""
        self._signals = signals
        if reply.status != 200:
            return reply
        if reply.events is None:
            self.whole(reply, ())
            return reply
        collecting = Collecting(reply, self._cache.max_entry_bytes, self)
        return msgspec.structs.replace(reply, events=collecting)

    def whole(self, reply: Reply, chunks: tuple[bytes, ...]) -> None:
        """An answer has ended. 1 Too large, 2 ended by a filter or resumed elsewhere: not kept. 3 Kept."""
        if len(reply.body) > self._cache.max_entry_bytes:
            self.too_large()
            return
        summary = summary_of(self._request.kind, reply, chunks)
        if not summary.is_whole or self._signals is None:
            self._land(Fate.ALONE)
            return
        signals = self._signals
        self._record = Record(
            key=self._key,
            content_type=reply.content_type,
            body=reply.body,
            chunks=chunks,
            model_id=reply.metadata.model_id if reply.metadata else "",
            use_case=label_of(signals.use_case),
            intent=label_of(signals.intent),
            language=label_of(signals.language),
            complexity=label_of(signals.complexity),
            has_usage=summary.has_usage,
            kept_unix_s=self._cache.clock.unix(),
        )
        self._land(self._record)

    def too_large(self) -> None:
        """The answer will not be kept; who waits for it need not."""
        self._cache.too_large += 1
        self._land(Fate.ALONE)

    def _land(self, landing: Landing) -> None:
        if self._flight is not None:
            if landing is Fate.ALONE:
                self._cache.flights.over(self._flight)
            self._flight.land(landing)

    def _leave(self) -> None:
        """Whoever still waits is told that nothing came."""
        if self._flight is not None:
            self._cache.flights.over(self._flight)
            self._flight.land(Fate.LOST)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the answer where it is found again. Until it is there, who comes joins the flight that has landed."""
        try:
            if self._record is not None:
                await self._cache.put(self._record)
                if self._cache.similar is not None and self._question is not None:
                    self._cache.similar.learn(self._question, self._key)
        finally:
            self._leave()
