"""Whatever an upstream streams: whole events or an UpstreamError, never another exception, never a torn event.

`FUZZ_EXAMPLES=20000 pytest tests/dispatch/test_stream_fuzz.py` looks longer.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.dispatch.continuation import Continuation, Delivered
from pointsman.dispatch.stream import checked, until_content, whole_events
from pointsman.errors import UpstreamError
from pointsman.ledger.usage import fault_in_events, usage_in_events
from pointsman.types import Kind

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
BY = Continuation(model_id="m", deployment_id="m", after_tokens=1)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
NAMES = st.sampled_from(
    "id choices delta content reasoning_content tool_calls finish_reason index usage prompt_tokens text error message "
    "code created model object role refusal".split()
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
CHUNK = st.fixed_dictionaries(
    {},
    optional={
        "id": SCALARS,
        "choices": st.lists(
            st.fixed_dictionaries({}, optional={"delta": TREES, "index": SCALARS, "finish_reason": SCALARS}),
            max_size=2,
        ),
        "usage": TREES,
    },
)  # fmt: skip
PLAIN = st.builds(lambda text: {"choices": [{"delta": {"content": text}}]}, st.text(max_size=6))
LINES = st.one_of(
    st.builds(lambda tree: b"data: " + json.dumps(tree).encode(), PLAIN | CHUNK | TREES),
    st.binary(max_size=20),
    st.sampled_from(
        [b"data: [DONE]", b": ping", b"event: x", b"data:", b"data: {", b"\xff\xfe", b"id: 7", b"retry: 1"]
    ),
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n\n", b"\n", b"\r\n\r\n", b"\r\n", b""])), max_size=12).map(
    lambda parts: b"".join(line + end for line, end in parts)
)


async def feed(stream: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    points = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in pairwise(points):
        yield stream[start:end]


async def passed(stream: bytes, cuts: list[int]) -> list[bytes]:
    """What would reach a caller; UpstreamError is an ordinary end."""
    out: list[bytes] = []
    try:
        events = whole_events(feed(stream, cuts), Kind.CHAT, "m")
        held = await until_content(events, "m")
        async for chunk in checked(held, events, "m"):
            out.append(chunk)  # noqa: PERF401  # what came before an error counts too
    except UpstreamError:
        return out
    return out


@settings(max_examples=EXAMPLES, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=5))
def test_what_passes_is_whole_and_json(stream: bytes, cuts: list[int]) -> None:
    for chunk in asyncio.run(passed(stream, cuts)):
        assert chunk.endswith(b"\n\n")
        for line in chunk.split(b"\n"):
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                assert isinstance(json.loads(line[5:]), dict)


@settings(max_examples=EXAMPLES, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=5), STREAMS)
def test_what_passes_can_be_continued_and_counted(stream: bytes, cuts: list[int], rest: bytes) -> None:
    delivered = Delivered()
    for chunk in asyncio.run(passed(stream, cuts)):
        delivered.add(chunk)
        usage_in_events(chunk)
        fault_in_events(chunk)
    by: Any = BY
    for chunk in asyncio.run(passed(rest, [])):
        out = delivered.seamless(chunk, by)
        by = None if out else by
        delivered.add(out)
        assert not out or out.endswith(b"\n\n")
