"""A share of the requests as traces, sent by a thread of its own.

Knows: who is sampled, how many wait, what became of them. Does not know: what a span holds (`spans`), how one is sent
(`otlp`).
Invariants: `closed` never blocks and builds nothing, it costs a look and an append; the queue is bounded and a trace
too many is dropped and counted; a collector that hangs cannot hold up `close` for longer than told.
"""

import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from pointsman import __version__
from pointsman.errors import ConfigError
from pointsman.ledger.spans import Span, spans_of
from pointsman.settings import Settings
from pointsman.types import Outcome, Value
from pointsman.types_trace import Trace

CAPACITY = 2048
BATCH = 256
GATHER_S = 0.5
_WHOLE = 1 << 64


class Exporter(Protocol):
    """Takes spans to a collector; may block. False where they did not arrive. Never raises."""

    def send(self, spans: tuple[Span, ...]) -> bool: ...
    def close(self) -> None: ...


class TraceStatistics(Value, frozen=True):
    """Traces since the start: `dropped` found the queue full, `failed` were not taken by the collector."""

    queued: int = 0
    exported: int = 0
    dropped: int = 0
    failed: int = 0


def traces_of(settings: Settings) -> "Traces":
    """As the settings want them. Raises ConfigError where they want some and the extra `telemetry` is not there."""
    telemetry = settings.telemetry
    endpoint = telemetry.otlp_endpoint
    if endpoint is None:
        return Traces(None, 0, {}, {})
    try:
        from pointsman.ledger.otlp import OtlpExporter
    except ImportError:
        said = "telemetry.otlp_endpoint: needs a package that is not here; run `pip install 'pointsman[telemetry]'`"
        raise ConfigError((said,)) from None
    names = {model.id: model.name or model.id for model in settings.models}
    providers = {model.id: model.backend for model in settings.models}
    service, timeout_s = telemetry.service_name, telemetry.timeout_s
    return Traces(lambda: OtlpExporter(endpoint, service, __version__, timeout_s), telemetry.sample, names, providers)


class Traces:
    """A sink. `exporter` is made by the thread that uses it, when the first trace comes; None: nothing is traced."""

    def __init__(
        self,
        exporter: Callable[[], Exporter] | None,
        sample: float,
        names: Mapping[str, str],
        providers: Mapping[str, str],
        capacity: int = CAPACITY,
    ) -> None:
        self._make = exporter
        self._below = int(sample * _WHOLE)
        self._names = names
        self._providers = providers
        self._capacity = capacity
        self._queue: deque[Outcome] = deque()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._exported = self._dropped = self._failed = 0

    def begin(self, caller: Trace | None) -> Trace | None:
        """The context a request is answered in. A caller's trace is joined where it is sampled, else handed on; of the
        rest a share is traced, by the lower half of the trace id as OpenTelemetry's own ratio sampler does."""
        if self._make is None:
            return caller
        if caller is not None:
            if not caller.is_sampled:
                return caller
            return msgspec.structs.replace(
                caller, span_id=secrets.token_hex(8), parent_id=caller.span_id, is_recorded=True
            )
        ids = secrets.token_hex(24)
        if int(ids[16:32], 16) >= self._below:
            return None
        return Trace(trace_id=ids[:32], span_id=ids[32:], is_sampled=True, is_recorded=True)

    def closed(self, outcome: Outcome) -> None:
        """Queue it, where it is to be recorded."""
        if outcome.trace is None or not outcome.trace.is_recorded:
            return
        if len(self._queue) >= self._capacity or self._closing.is_set():
            self._dropped += 1
            return
        self._queue.append(outcome)
        if not self._awake.is_set():
            self._wake()

    def _wake(self) -> None:
        if self._thread is None and self._make is not None:
            self._thread = threading.Thread(target=self._run, args=(self._make,), name="traces", daemon=True)
            self._thread.start()
        self._awake.set()

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what is queued, for `timeout_s` at most. Idempotent; later traces are dropped."""
        self._closing.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, make: Callable[[], Exporter]) -> None:
        exporter = make()
        while not self._closing.is_set() or self._queue:
            self._awake.wait()
            self._closing.wait(GATHER_S)
            self._awake.clear()
            while self._queue:
                self._send(exporter, [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))])
        exporter.close()

    def _send(self, exporter: Exporter, batch: list[Outcome]) -> None:
        """Blocks this thread, never the caller of `closed`."""
        spans = tuple(span for outcome in batch for span in spans_of(outcome, self._names, self._providers))
        if exporter.send(spans):
            self._exported += len(batch)
        else:
            self._failed += len(batch)

    def statistics(self) -> TraceStatistics:
        return TraceStatistics(
            queued=len(self._queue), exported=self._exported, dropped=self._dropped, failed=self._failed
        )

    def counts(self) -> tuple[tuple[str, float], ...]:
        """By result, as metrics tell them."""
        return ("exported", self._exported), ("dropped", self._dropped), ("failed", self._failed)

    def __repr__(self) -> str:
        return f"Traces({len(self._queue)} queued, {self._exported} exported, {self._dropped + self._failed} lost)"
