"""The W3C trace context: what counts, what is handed on, what is refused."""

import pytest

from pointsman.types_trace import Trace, trace_of

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


def test_a_callers_context_is_read_and_handed_on_as_it_came() -> None:
    trace = trace_of(PARENT, "vendor=abc,other=1")
    assert trace == Trace(trace_id=TRACE_ID, span_id=SPAN_ID, is_sampled=True, state="vendor=abc,other=1")
    assert trace.headers() == (("traceparent", PARENT), ("tracestate", "vendor=abc,other=1"))
    assert trace.of_call("m#0", 1.5) is trace  # nobody records here: the caller's span is the upstream's parent
    assert trace_of(PARENT.replace("-01", "-00")) == Trace(trace_id=TRACE_ID, span_id=SPAN_ID)


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT + "-more",  # version 00 has four fields
        PARENT.replace("00-", "ff-", 1),  # forbidden
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-0",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        PARENT + "\r\nx: y",
    ],
)
def test_what_is_odd_is_no_context(odd: str) -> None:
    assert trace_of(odd) is None


def test_a_later_version_may_say_more() -> None:
    assert trace_of(f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-holds") == trace_of(PARENT)


def test_a_state_that_is_too_long_or_odd_is_left_out() -> None:
    for state in ("a=" + "b" * 600, "a=\x7f"):
        trace = trace_of(PARENT, state)
        assert trace is not None
        assert trace.state == ""


def test_a_call_of_an_upstream_is_a_child_that_can_be_found_again() -> None:
    ours = Trace(trace_id=TRACE_ID, span_id=SPAN_ID, is_sampled=True, is_recorded=True)
    child = ours.of_call("m#0", 1.5)
    assert child == ours.of_call("m#0", 1.5)
    assert (child.trace_id, child.parent_id) == (TRACE_ID, SPAN_ID)
    assert len({child.span_id, ours.of_call("m#1", 1.5).span_id, ours.of_call("m#0", 1.6).span_id, SPAN_ID}) == 4
