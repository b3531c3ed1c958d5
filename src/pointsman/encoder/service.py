"""`SecondStage`: the request's words → a vector → a second opinion, within a deadline.

Knows: when to give up and what to call it. Does not know: how to encode (`e5`), what a vector means
(`signals.opinion`).

1 The same words as before: the kept vector answers. 2 No encoder on this machine: `no_encoder`. 3 Too many are waiting:
`busy`, at once. 4 The words are encoded, or an encode under way is joined. 5 Not there by the deadline: `deadline`, and
the encode still fills the cache for the next one who asks. 6 The encoder raised, or gave no vector: `error`.
Whatever is degraded keeps its stage-1 labels. Nothing is left behind by a caller who leaves but an encode that already
runs.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from pointsman.clock import Clock
from pointsman.encoder.base import Encoder, EncoderStatistics, Vector, Watcher
from pointsman.encoder.flights import Flight, Flights
from pointsman.encoder.recent import Recent, key_of
from pointsman.settings import EncoderSettings
from pointsman.signals.opinion import Opinion, VectorError, words_for
from pointsman.types import Request, Signals

NO_ENCODER, BUSY, DEADLINE, ERROR = ("no_encoder", "busy", "deadline", "error")


class SecondStage:
    """Enter it in an event loop to use `refine`; the encoder then loads in the background."""

    def __init__(
        self,
        load: Callable[[], Encoder],
        opinion: Opinion,
        settings: EncoderSettings,
        clock: Clock,
        watcher: Watcher | None = None,
    ) -> None:
        self._opinion = opinion
        self._deadline_s = settings.deadline_ms / 1000
        self._is_enabled = settings.enabled
        self._clock = clock
        self._watcher = watcher
        self._recent = Recent(settings.cache)
        self._flights = Flights(load, self._recent)
        self._name = ""
        self._is_absent = False
        self._asked = self._answered = self._cached = 0
        self._degraded: Counter[str] = Counter()
        self._last_error = ""

    async def __aenter__(self) -> Self:
        if self._is_enabled:
            self._warm_up()
        return self

    def reconfigured(self, opinion: Opinion, settings: EncoderSettings) -> None:
        """Other settings from the next request on; the encoder itself stays, and so do kept vectors."""
        was_enabled, self._is_enabled = self._is_enabled, settings.enabled
        self._opinion = opinion
        self._deadline_s = settings.deadline_ms / 1000
        self._recent.resize(settings.cache)
        if self._is_enabled and not was_enabled:
            self._warm_up()

    def _warm_up(self) -> None:
        warm = asyncio.wrap_future(self._flights.warm_up())
        warm.add_done_callback(self._warmed_up)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_absent = True
        self._flights.close()

    def _warmed_up(self, warm: "asyncio.Future[Encoder]") -> None:
        if warm.cancelled():
            return
        if error := warm.exception():
            self._is_absent = True
            self._last_error = f"{type(error).__name__}: {error}"
        else:
            self._name = warm.result().name

    # ------------------------------------------------------------ within a deadline

    async def refine(self, request: Request, signals: Signals) -> Signals:
        """The signals with the encoder's opinion on what was unsure; unchanged but for `degraded` where there is none.
        Never raises but for cancellation."""
        if not self._is_enabled or not signals.unsure:
            return signals
        began_s = self._clock.now()
        self._asked += 1
        text = words_for(request)
        key = key_of(text)
        vector = self._recent.get(key)
        if vector is not None:
            return self._answer(request, signals, vector, began_s, cached=True)
        if self._is_absent:
            return self._degrade(signals, NO_ENCODER)
        flight = self._flights.join(key, text)
        if flight is None:
            return self._degrade(signals, BUSY)
        return await self._await(request, signals, flight, began_s)

    async def _await(self, request: Request, signals: Signals, flight: Flight, began_s: float) -> Signals:
        try:
            await asyncio.wait((flight.landed,), timeout=self._deadline_s)
        finally:
            self._flights.leave(flight)
        landed = flight.landed
        if not landed.done() or landed.cancelled():
            return self._degrade(signals, DEADLINE)
        if error := landed.exception():
            self._last_error = f"{type(error).__name__}: {error}"
            return self._degrade(signals, NO_ENCODER if self._is_absent else ERROR)
        return self._answer(request, signals, landed.result(), began_s, cached=False)

    def _answer(self, request: Request, signals: Signals, vector: Vector, began_s: float, *, cached: bool) -> Signals:
        try:
            refined = self._opinion.combine(request, signals, vector)
        except VectorError as error:
            self._last_error = f"{type(error).__name__}: {error}"
            return self._degrade(signals, ERROR)
        self._answered += 1
        self._cached += cached
        if self._watcher:
            self._watcher.answered(self._clock.now() - began_s, cached=cached)
        return refined

    def _degrade(self, signals: Signals, reason: str) -> Signals:
        self._degraded[reason] += 1
        if self._watcher:
            self._watcher.degraded(reason)
        return msgspec.structs.replace(signals, degraded=reason)

    # ------------------------------------------------------------ how near two texts are

    async def cosine(self, one: str, other: str) -> float | None:
        """Of their vectors, in [-1, 1]; None where there is no encoder, or not in time. Asked for by name, it needs no
        `routing.encoder.enabled`."""
        first, second = await self._vector(one), await self._vector(other)
        return None if first is None or second is None else float(first @ second)

    async def _vector(self, text: str) -> Vector | None:
        key = key_of(text)
        kept = self._recent.get(key)
        flight = None if kept is not None or self._is_absent else self._flights.join(key, text)
        if flight is None:
            return kept
        try:
            await asyncio.wait((flight.landed,), timeout=self._deadline_s)
        finally:
            self._flights.leave(flight)
        landed = flight.landed
        is_there = landed.done() and not landed.cancelled() and landed.exception() is None
        return landed.result() if is_there else None

    # ------------------------------------------------------------ without one

    def refine_now(self, request: Request, signals: Signals) -> Signals:
        """The same for a batch, in the calling thread and without a deadline; not to be mixed with `refine`."""
        if not self._is_enabled or not signals.unsure:
            return signals
        began_s = self._clock.now()
        self._asked += 1
        if self._is_absent or not self._is_loaded():
            return self._degrade(signals, NO_ENCODER)
        text = words_for(request)
        key = key_of(text)
        kept = self._recent.get(key)
        try:
            vector = self._flights.encode(key, text) if kept is None else kept
        except (OSError, RuntimeError, ValueError) as error:
            self._last_error = f"{type(error).__name__}: {error}"
            return self._degrade(signals, ERROR)
        return self._answer(request, signals, vector, began_s, cached=kept is not None)

    def _is_loaded(self) -> bool:
        try:
            self._name = self._flights.loaded().name
        except (ImportError, OSError, RuntimeError) as error:
            self._is_absent = True
            self._last_error = f"{type(error).__name__}: {error}"
        return not self._is_absent

    def statistics(self) -> EncoderStatistics:
        return EncoderStatistics(
            name=self._name,
            asked=self._asked,
            answered=self._answered,
            cached=self._cached,
            degraded=tuple(sorted(self._degraded.items())),
            pending=len(self._flights),
            kept=len(self._recent),
            last_error=self._last_error,
        )

    def __repr__(self) -> str:
        return f"SecondStage({self._name or 'no encoder'}, {self._answered} of {self._asked} answered)"
