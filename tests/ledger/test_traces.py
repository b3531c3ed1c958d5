"""Traces leave in a thread of their own: to a real OTLP receiver, to none, and to one that hangs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from tests.ledger.test_spans import OUTCOME, TRACE

from pointsman.clock import SystemClock
from pointsman.ledger.spans import Span
from pointsman.ledger.traces import Exporter, Traces
from pointsman.types import Outcome
from pointsman.types_trace import Trace


class Receiver:
    """A collector: keeps what OTLP/HTTP brings. `status` is what it answers."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.status = 200


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.paths.append(self.path)
            receiver.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield receiver, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def traces(exporter: Callable[[], Exporter] | None, sample: float = 1.0, capacity: int = 100) -> Traces:
    return Traces(exporter, sample, {"large": "Large 8B"}, {"large": "vllm"}, capacity)


def otlp(url: str, timeout_s: float = 5.0) -> Exporter:
    module = pytest.importorskip("pointsman.ledger.otlp", reason="the extra `telemetry` is not installed")
    exporter: Exporter = module.OtlpExporter(url, "gateway", "1.2.3", timeout_s)
    return exporter


def spans_in(bodies: list[bytes]) -> list[Any]:
    proto = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    requests = [proto.ExportTraceServiceRequest.FromString(body) for body in bodies]
    return [(r.resource, s) for q in requests for r in q.resource_spans for sc in r.scope_spans for s in sc.spans]


def attributes_of(holder: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in holder.attributes}


def test_a_collector_hears_every_span_in_its_place() -> None:
    with receiving() as (receiver, url):
        sent = traces(lambda: otlp(url))
        for _ in range(3):
            sent.closed(OUTCOME)
        sent.close(10)
    assert set(receiver.paths) == {"/v1/traces"}
    assert len(receiver.bodies) == 1  # gathered, not one by one
    found = spans_in(receiver.bodies)
    assert len(found) == 18
    resource, server = found[0]
    assert {"service.name": "gateway", "service.version": "1.2.3"}.items() <= attributes_of(resource).items()
    assert server.trace_id.hex() == TRACE.trace_id
    assert (server.span_id.hex(), server.parent_span_id.hex()) == (TRACE.span_id, TRACE.parent_id)
    assert server.end_time_unix_nano - server.start_time_unix_nano == 3_000_000_000
    assert attributes_of(server)["gen_ai.usage.output_tokens"] == 4
    kinds = {span.name: span.SpanKind.Name(span.kind) for _, span in found}
    assert kinds["chat auto"] == "SPAN_KIND_SERVER"
    assert kinds["chat small"] == "SPAN_KIND_CLIENT"
    faults = {span.name for _, span in found if span.status.code == span.status.STATUS_CODE_ERROR}
    assert faults == {"chat small"}
    assert sent.statistics().exported == 3


def test_a_dead_collector_costs_counted_drops_and_no_word_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with receiving() as (receiver, url):
        receiver.status = 400
        refused = traces(lambda: otlp(url))
        refused.closed(OUTCOME)
        refused.close(10)
    gone = traces(lambda: otlp(url, timeout_s=0.2))  # nobody listens there any more
    gone.closed(OUTCOME)
    gone.close(10)
    for one in (refused, gone):
        assert (one.statistics().failed, one.statistics().exported) == (1, 0)
    assert capfd.readouterr().err == ""


class Stuck:
    """A collector that takes what it is given, when it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.spans: list[Span] = []
        self.closed = False

    def send(self, spans: tuple[Span, ...]) -> bool:
        self.let.wait(10)
        self.spans += spans
        return True

    def close(self) -> None:
        self.closed = True


def test_a_collector_that_hangs_holds_nobody_up() -> None:
    stuck = Stuck()
    sent = traces(lambda: stuck, capacity=5)
    clock = SystemClock()
    began_s = clock.now()
    for _ in range(50):
        sent.closed(OUTCOME)
    sent.close(0.05)
    assert clock.now() - began_s < 2
    assert sent.statistics().dropped == 45
    sent.closed(OUTCOME)
    assert sent.statistics().dropped == 46  # closed is closed
    stuck.let.set()
    sent.close(10)
    assert sent.statistics().exported == 5
    assert stuck.closed


def test_only_the_share_asked_for_is_traced_and_ids_decide() -> None:
    some = traces(Stuck, sample=0.25)
    begun = [some.begin(None) for _ in range(4000)]
    recorded = [trace for trace in begun if trace is not None]
    assert 850 < len(recorded) < 1150  # six standard deviations
    assert all(trace.is_recorded and trace.is_sampled and not trace.parent_id for trace in recorded)
    assert all(int(trace.trace_id[16:], 16) < 2**62 for trace in recorded)
    assert len({trace.trace_id for trace in recorded}) == len(recorded)
    assert not any(traces(Stuck, sample=0).begin(None) for _ in range(100))


def test_a_callers_word_counts() -> None:
    none = traces(Stuck, sample=0)
    caller = Trace(trace_id="a" * 32, span_id="b" * 16, is_sampled=True, state="k=v")
    joined = none.begin(caller)
    assert joined is not None
    assert (joined.trace_id, joined.parent_id, joined.state) == ("a" * 32, "b" * 16, "k=v")
    assert joined.is_recorded
    assert joined.span_id != caller.span_id
    unsampled = msgspec.structs.replace(caller, is_sampled=False)
    assert traces(Stuck, sample=1).begin(unsampled) is unsampled


def test_who_traces_nothing_hands_on_what_callers_say() -> None:
    off = traces(None)
    caller = Trace(trace_id="a" * 32, span_id="b" * 16, is_sampled=True)
    assert off.begin(caller) is caller
    assert off.begin(None) is None
    off.close()


def test_untraced_requests_cost_no_thread() -> None:
    def never() -> Exporter:
        raise AssertionError("no exporter is needed")

    idle = traces(never)
    plain: Outcome = msgspec.structs.replace(OUTCOME, trace=None)
    for _ in range(10):
        idle.closed(plain)
    idle.close()
    assert idle.statistics() == traces(never).statistics()
