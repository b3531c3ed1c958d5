"""The W3C trace context of one request: taken from a caller's headers, handed on to upstreams. Pure.

Knows: `traceparent` and `tracestate` (W3C Trace Context, level 1). Does not know: who samples, what a span is made of.
Invariant: what is not exactly as the recommendation says is no context at all, so that nothing odd is handed on.
"""

import hashlib
import re

import msgspec

_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
SAMPLED = 0x01


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request stands in its trace. Ids are lower-case hexadecimal, 32 and 16 digits.

    `span_id` is what upstreams hear: our own span where `is_recorded`, else the caller's; `parent_id`: the span that
    ours is a child of, "" for none. `state`: the caller's `tracestate`, handed on as it came.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    is_sampled: bool = False
    is_recorded: bool = False
    state: str = ""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """As an upstream is told."""
        parent = ("traceparent", f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}")
        return (parent, ("tracestate", self.state)) if self.state else (parent,)

    def of_call(self, deployment_id: str, started_s: float) -> "Trace":
        """The context that one call of an upstream is made in: a child of our span. Unrecorded: as it is."""
        if not self.is_recorded:
            return self
        span_id = child_id(self.span_id, f"{deployment_id} {started_s!r}")
        return msgspec.structs.replace(self, span_id=span_id, parent_id=self.span_id)


def child_id(span_id: str, name: str) -> str:
    """The id of a child span: whoever knows its name finds it again, nobody has to remember it."""
    return hashlib.blake2b(f"{span_id} {name}".encode(), digest_size=8).hexdigest()


def trace_of(traceparent: str, tracestate: str = "") -> Trace | None:
    """What the two headers say; None where they say nothing that counts."""
    found = _PARENT.fullmatch(traceparent.strip())
    if found is None or (traceparent.startswith("00") and len(traceparent.strip()) != 55):
        return None
    trace_id, span_id, flags = found.groups()
    state = tracestate.strip()
    return Trace(
        trace_id=trace_id,
        span_id=span_id,
        is_sampled=bool(int(flags, 16) & SAMPLED),
        state=state if _STATE.fullmatch(state) else "",
    )
