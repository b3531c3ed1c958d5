"""One request's record while it is being written; leaving it makes the Outcome.

Knows: the clock, the order in which the corridor reports, how a context can be left. Does not know: what sinks do.
Invariants: one Outcome for each entry, whatever happened (success, error, cancellation, a reader that stopped early);
nothing is raised on the way out; a sink that fails changes neither the answer nor what the other sinks hear.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from msgspec import UNSET

from pointsman.clock import Clock
from pointsman.ledger.conversations import conversation_of
from pointsman.ledger.prompts import Prompts
from pointsman.ledger.reading import answered_by, ending_of, experiment_of, fallback_from
from pointsman.ledger.usage import estimate_of_body, usage_of
from pointsman.ledger.watch import WatchedEvents
from pointsman.types import Attempt, Outcome, Plan, Reply, Request, RoutingMetadata, Signals, Usage, Value, World
from pointsman.types_cache import Found

NOT_SOUGHT = Found(how="bypass")


class Sink(Protocol):
    """Hears how every request ended. May not block."""

    def closed(self, outcome: Outcome) -> None: ...


@runtime_checkable
class EarlySink(Sink, Protocol):
    """Hears of every request when it begins, too."""

    def opened(self, request: Request) -> None: ...


class LedgerStatistics(Value, frozen=True):
    """Counts since the start. `sink_failures` above zero is a defect; `last_sink_failure` says which."""

    in_flight: int
    outcomes: int
    sink_failures: int
    last_sink_failure: str


class Ledger:
    """Opens entries. `names` gives a model's long name by its id, `prompts` says what is kept of one."""

    def __init__(
        self, clock: Clock, sinks: tuple[Sink, ...], names: Mapping[str, str], prompts: Prompts | None = None
    ) -> None:
        self.clock = clock
        self.names = names
        self.prompts = prompts or Prompts()
        self._sinks = sinks
        self._early = tuple(sink for sink in sinks if isinstance(sink, EarlySink))
        self._opened = 0
        self._closed = 0
        self._sink_failures = 0
        self._last_sink_failure = ""

    def open(self, request: Request) -> "Entry":
        """The entry of one request, to be entered with `async with`."""
        return Entry(self, request)

    def turned_away(self, request: Request, error: BaseException) -> None:
        """Publish the Outcome of one that never came as far as an entry: nobody knows what it asks."""
        self._opened += 1
        self.publish(Entry(self, request).ended(error))

    def announce(self, request: Request) -> None:
        """Tell every early sink that a request has begun."""
        self._opened += 1
        for sink in self._early:
            try:
                sink.opened(request)
            except Exception as error:  # noqa: BLE001  # the sink seam: a broken subscriber must not fail a request
                self._sink_failed(sink, error)

    def publish(self, outcome: Outcome) -> None:
        """Tell every sink how it ended."""
        self._closed += 1
        for sink in self._sinks:
            try:
                sink.closed(outcome)
            except Exception as error:  # noqa: BLE001  # the sink seam: the answer has left, and may be a cancellation
                self._sink_failed(sink, error)

    def _sink_failed(self, sink: Sink, error: Exception) -> None:
        self._sink_failures += 1
        self._last_sink_failure = f"{type(sink).__name__}: {type(error).__name__}"

    def in_flight(self) -> int:
        """Requests that have begun and not ended yet."""
        return self._opened - self._closed

    def statistics(self) -> LedgerStatistics:
        return LedgerStatistics(
            in_flight=self.in_flight(),
            outcomes=self._closed,
            sink_failures=self._sink_failures,
            last_sink_failure=self._last_sink_failure,
        )

    def __repr__(self) -> str:
        return f"Ledger({self.in_flight()} open, {self._closed} written, {len(self._sinks)} sinks)"


class Entry:
    """Satisfies `gateway.Entry`. Times are seconds on the ledger's clock."""

    __slots__ = (
        "_attempted_s",
        "_attempts",
        "_began_s",
        "_clock",
        "_found",
        "_is_written",
        "_ledger",
        "_measured_s",
        "_paused_s",
        "_plan",
        "_planned_s",
        "_received_unix_s",
        "_reply",
        "_request",
        "_signals",
        "_stream",
        "_upstream_s",
        "_watched_s",
        "_world",
    )

    def __init__(self, ledger: Ledger, request: Request) -> None:
        self._ledger = ledger
        self._clock = ledger.clock
        self._request = request
        self._began_s = self._measured_s = self._planned_s = self._clock.now()
        self._received_unix_s = self._clock.unix() - (self._began_s - self._since_s())
        self._found = NOT_SOUGHT
        self._signals: Signals | None = None
        self._plan: Plan | None = None
        self._world: World | None = None
        self._attempts: list[Attempt] = []
        self._attempted_s = self._upstream_s = self._paused_s = 0.0
        self._watched_s: float | None = None
        self._reply: Reply | None = None
        self._stream: WatchedEvents | None = None
        self._is_written = False

    async def __aenter__(self) -> Self:
        self._ledger.announce(self._request)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_written:
            self._is_written = True
            self._ledger.publish(self.ended(error))

    def sought(self, found: Found) -> Reply | None:
        """The kept reply, where there is one. Waiting for an equal request under way is no work of ours."""
        self._paused_s += found.waited_s
        if found.reply is None:
            self._found = self._found if found.how == "bypass" else found
            return None
        self._found = found
        self._signals = self._signals or found.signals
        return self.watch(found.reply)

    def measured(self, signals: Signals) -> Signals:
        """What the request is. Returned as it came."""
        self._signals = signals
        self._measured_s = self._planned_s = self._clock.now()
        return signals

    def planned(self, plan: Plan, world: World | None = None) -> Plan:
        """Who should answer, in the world as it was. The plan is returned as it came."""
        self._plan = plan
        self._world = world
        self._planned_s = self._clock.now()
        return plan

    def attempted(self, attempt: Attempt) -> None:
        """One attempt that has just ended or reached its first byte. The pause before a retry is no work of ours."""
        now_s = self._clock.now()
        if self._attempts:
            self._paused_s += max(0.0, attempt.started_s - self._attempted_s)
        self._attempts.append(attempt)
        self._attempted_s = now_s
        self._upstream_s += max(0.0, now_s - attempt.started_s - attempt.wait_s)

    def watch(self, reply: Reply) -> Reply:
        """The reply with its routing metadata; a stream is counted as it is read."""
        self._watched_s = self._clock.now()
        events = reply.events
        if events is not None:
            is_sse = reply.content_type.startswith("text/event-stream")
            events = self._stream = WatchedEvents(events, self._clock.now, is_sse)
        self._reply = reply = Reply(
            status=reply.status,
            content_type=reply.content_type,
            body=reply.body,
            events=events,
            metadata=self._metadata(self._watched_s),
            usage=self._usage,
        )
        return reply

    def _metadata(self, now_s: float) -> RoutingMetadata | None:
        signals = self._signals
        if signals is None:
            return None
        model_id = self._found.model_id or answered_by(self._attempts)
        return RoutingMetadata(
            model_id=model_id,
            model_name=self._ledger.names.get(model_id, model_id),
            intent=signals.intent.label,
            use_case=signals.use_case.label,
            language=signals.language.label,
            complexity=signals.complexity.label,
            confidence=round(signals.task.p, 4),
            fallback_used=not self._found.model_id and bool(fallback_from(self._plan, model_id)),
            attempts=len(self._attempts),
            cache=self._found.how,
            experiment=experiment_of(self._plan),
            total_time_seconds=round(now_s - self._since_s(), 6),
            request_id=self._request.id,
            context=self._request.context or UNSET,
        )

    def _since_s(self) -> float:
        """Arrival, where the edge noted it, else the opening of this entry."""
        return self._request.received_s or self._began_s

    def ended(self, error: BaseException | None) -> Outcome:
        """All that happened to it."""
        now_s = self._clock.now()
        request, stream, since_s = self._request, self._stream, self._since_s()
        ending = ending_of(error, self._reply.status if self._reply else None, stream)
        wait_s = sum(attempt.wait_s for attempt in self._attempts)
        usage, is_kept = self._usage(), self._found.reply is not None
        return Outcome(
            request_id=request.id,
            kind=request.kind,
            asked_model=request.model,
            status=ending.status,
            http_status=ending.http_status,
            signals=self._signals,
            plan=self._plan,
            attempts=tuple(self._attempts),
            usage=Usage() if is_kept else usage,
            stream=stream is not None,
            total_s=now_s - since_s,
            classify_s=self._measured_s - self._began_s,
            decide_s=self._planned_s - self._measured_s,
            wait_s=wait_s,
            upstream_s=self._upstream_s + (stream.wait_s if stream else 0.0),
            first_byte_s=self._first_byte_s(since_s),
            error=ending.code,
            tenant=request.tenant,
            received_unix_s=self._received_unix_s,
            overhead_s=max(0.0, self._answered_s(now_s) - self._began_s - wait_s - self._upstream_s - self._paused_s),
            events=stream.events if stream else 0,
            conversation=conversation_of(request),
            reply_bytes=stream.size_bytes if stream else len(self._reply.body) if self._reply else 0,
            cache=self._found.how,
            cached_model=self._found.model_id,
            saved=usage if is_kept else Usage(),
            arrived_s=since_s,
            trace=request.trace,
            limits=request.limits,
            world=self._world,
            prompt_digest=self._ledger.prompts.digest(request),
            prompt=self._ledger.prompts.kept(request),
        )

    def _answered_s(self, now_s: float) -> float:
        """When the own work for the answer was done: a stream's later time is its upstream's and its reader's."""
        if self._stream is not None and self._watched_s is not None:
            return self._watched_s
        return now_s

    def _first_byte_s(self, since_s: float) -> float | None:
        first_s = self._stream.first_s if self._stream else self._watched_s
        return None if first_s is None else first_s - since_s

    def _usage(self) -> Usage:
        """As reported, else estimated; nothing where no model answered."""
        reply, stream = self._reply, self._stream
        if reply is None:
            return Usage()
        prompt_tokens = self._signals.prompt_tokens if self._signals else 0
        if stream is not None:
            return stream.usage(prompt_tokens)
        is_json = reply.content_type.startswith("application/json")
        return (usage_of(reply.body) if is_json else None) or estimate_of_body(reply.body, prompt_tokens)

    def __repr__(self) -> str:
        model = answered_by(self._attempts) or "nobody yet"
        return f"Entry({self._request.id}, {self._request.model} → {model}, {len(self._attempts)} attempts)"
