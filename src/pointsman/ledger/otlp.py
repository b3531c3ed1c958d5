"""Spans to an OpenTelemetry collector, OTLP over HTTP. Needs the extra `telemetry`; who traces imports this.

Knows: OpenTelemetry's library. Does not know: where a span came from.
Invariant: nothing is raised and nothing is written to standard error; what did not arrive is said to whoever sent it.
"""

import logging
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from pointsman.ledger.spans import Span

KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
PATH = "/v1/traces"
SCOPE = "pointsman"
NS = 1_000_000_000


class OtlpExporter:
    """`traces.Exporter`. Retries within `timeout_s`; `OTEL_EXPORTER_OTLP_HEADERS` holds headers such as a token."""

    def __init__(self, endpoint: str, service_name: str, version: str, timeout_s: float) -> None:
        quiet = logging.getLogger("opentelemetry")  # it would write every failure to standard error; they are counted
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        url = endpoint.rstrip("/")
        self._exporter = OTLPSpanExporter(url if url.endswith(PATH) else url + PATH, timeout=timeout_s)
        self._scope = InstrumentationScope(SCOPE, version)
        described: Mapping[str, str] = {"service.name": service_name, "service.version": version}
        self._resource = Resource.create(dict(described))

    def send(self, spans: tuple[Span, ...]) -> bool:
        """Whether the collector took them."""
        return self._exporter.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library says no type there

    def _readable(self, span: Span) -> ReadableSpan:
        # Made whole, as whoever exports what is over has to: a tracer would want to be there while it happens.
        parent = _context(span.trace_id, span.parent_id) if span.parent_id else None
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=parent,
            resource=self._resource,
            attributes=dict(span.attributes),
            kind=KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.is_fault else Status(StatusCode.UNSET),
            start_time=int(span.start_unix_s * NS),
            end_time=int(span.end_unix_s * NS),
            instrumentation_scope=self._scope,
        )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
