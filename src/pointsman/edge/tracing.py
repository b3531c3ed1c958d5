"""The trace a request stands in, from its headers."""

from collections.abc import Callable

import msgspec

from pointsman.edge.http import Scope, header
from pointsman.types import Request
from pointsman.types_trace import Trace, trace_of

Begin = Callable[[Trace | None], Trace | None]
"""Given the caller's context, the one a request is answered in."""


def traced(request: Request, scope: Scope, begin: Begin | None) -> Request:
    """The request in its trace: the caller's, or one that begins here."""
    parent = header(scope, b"traceparent")
    trace = trace_of(parent.decode("latin-1"), header(scope, b"tracestate").decode("latin-1")) if parent else None
    if begin is not None:
        trace = begin(trace)
    return request if trace is None else msgspec.structs.replace(request, trace=trace)
