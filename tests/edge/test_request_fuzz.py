"""Whatever a caller sends: a Request, or one of our 4xx; never another exception, and never a 5xx on the wire.

`python -m bench.fuzz --minutes 10` looks longer.
"""

import asyncio
import json
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.edge.audio import decode_speech, decode_transcription
from pointsman.edge.http import Incoming
from pointsman.edge.openai import decode_chat, decode_completion, decode_embedding, decode_route
from pointsman.edge.site import DIALECTS
from pointsman.errors import TABLE, RequestError
from pointsman.settings import RoutingSettings, parse
from pointsman.signals.classifier import Classifier
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream
from pointsman.types import Request

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
CLASSIFIER = Classifier(RoutingSettings())
JSON = {
    "chat": decode_chat,
    "completion": decode_completion,
    "embedding": decode_embedding,
    "route": decode_route,
    "speech": decode_speech,
}

TEXT = st.text(max_size=12) | st.sampled_from(
    ["auto", "user", "assistant", "tool", "text", "image_url", "input_audio", "data:image/png;base64,AA==", "http://x/",
     "https://[", "data:", "\ud800", "ﷺ", "२ + २?", "json", "high", "agent", "on", "\x00"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
NAMES = st.sampled_from(
    "model messages role content type text image_url url input_audio data format file file_data filename video_url "
    "audio_url stream stream_options include_usage max_tokens max_completion_tokens tools function parameters "
    "modalities prompt input query voice speed response_format language system instructions x-routing "
    "x-routing-metadata context_docs context_tokens entities deadline_s strategy use_case intent complexity cache "
    "needs_tools name tool_calls tool_use_id tool_result thinking source media_type domain metadata items".split()
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=5),
    max_leaves=14,
)
TURN = st.fixed_dictionaries({"role": TEXT, "content": TREES | TEXT})
NEAR = st.fixed_dictionaries(
    {"messages": st.lists(TURN, max_size=3) | TREES},
    optional={"model": SCALARS, "max_tokens": TREES} | dict.fromkeys(("input", "prompt", "query", "x-routing"), TREES),
)
BODIES = st.one_of(
    st.binary(max_size=60),
    (NEAR | TREES).map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")),
    NEAR.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")[:-3]),
    st.integers(1, 3000).map(lambda depth: b'{"messages":' + b"[" * depth),
)
TYPES = st.sampled_from(["application/json", "", "application/JSON; charset=latin-1", "text/plain", "a/b+json"])


def incoming(body: bytes, content_type: str, cache_control: str = "") -> Incoming:
    return Incoming("r", content_type, body, 0.0, cache_control)


def judged(request: Request | None) -> None:
    """What could be read can be classified."""
    if request is not None:
        assert CLASSIFIER.measure(request).use_case.label


@settings(max_examples=EXAMPLES, deadline=None)
@given(BODIES, TYPES, st.text(max_size=20) | st.sampled_from(["max-age=9e9, no-store", "only-if-cached", "max-age=-1"]))
@pytest.mark.parametrize("name", JSON)
def test_json_bodies(name: str, body: bytes, content_type: str, cache_control: str) -> None:
    request = None
    with suppress(RequestError):
        request = JSON[name](incoming(body, content_type, cache_control))
    judged(request)


@settings(max_examples=EXAMPLES, deadline=None)
@given(BODIES)
@pytest.mark.parametrize("path", [path for path, _ in DIALECTS])
def test_dialects(path: str, body: bytes) -> None:
    dialect = dict(DIALECTS)[path]
    request = None
    with suppress(RequestError):
        request = decode_chat(incoming(dialect.to_chat(body), "application/json"))
    judged(request)


LINE = st.binary(max_size=12) | st.sampled_from(
    [b"--edge", b"--edge--", b"", b'Content-Disposition: form-data; name="file"; filename="a.wav"', b"RIFF",
     b'Content-Disposition: form-data; name="model"', b"Content-Disposition: form-data", b"Content-Type: audio/wav",
     b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: x", b"\xff", b"auto", b"name=" + b"n" * 300]
)  # fmt: skip
FORMS = st.lists(st.tuples(LINE, st.sampled_from([b"\r\n", b"\n", b""])), max_size=14).map(
    lambda parts: b"".join(line + end for line, end in parts)
)
FORM_TYPES = st.sampled_from(
    ["multipart/form-data; boundary=edge", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed",
     "multipart/form-data; boundary=" + "x" * 300, 'multipart/form-data; boundary="edge"; charset=x',
     "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=\xff"]
)  # fmt: skip


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(FORMS, FORM_TYPES)
def test_forms(body: bytes, content_type: str) -> None:
    request = None
    with suppress(RequestError):
        request = decode_transcription(incoming(body, content_type))
    judged(request)


# ---------------------------------------------------------------- on the wire

BODY = b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}'
WHOLE = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
PIECES = (
    b"\r\n",
    b"\n",
    b"\x00",
    b"\xff" * 9,
    b":",
    b"HTTP/9.9",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    b"X: y\r\n" * 2000,
    b"GET / HTTP/1.1\r\n\r\n",
    b"0\r\n\r\n",
    b"a" * 70_000,
    b"../..//%00%ff",
    b"Host: evil.example\r\n",
    b"OPTIONS * ",
)


def damaged(rng: random.Random) -> bytes:
    """A request with a few pieces cut out, put in or said twice."""
    raw = WHOLE
    for _ in range(rng.randint(1, 3)):
        at, end = sorted((rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)))
        raw = rng.choice(
            [raw[:at] + raw[end:], raw[:at] + rng.choice(PIECES) + raw[at:], raw[:end] + raw[at:], raw[:end]]
        )
    return raw


async def sent(port: int, raw: bytes) -> bytes:
    """What comes back within a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(raw)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                answer = await reader.read(100_000)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return answer


def test_damaged_requests_on_the_wire(tmp_path: Path) -> None:
    async def run() -> tuple[list[bytes], Any]:
        async with FaultUpstream() as upstream:
            models = [{"id": "m", "backend": "openai", "url": upstream.url, "model": "mock-n2", "slots": 64}]
            tree = {"cache_dir": str(tmp_path), "log": {"requests": False}, "models": models}
            async with serving(parse(json.dumps(tree))) as (app, url):
                port, rng, answers = int(url.rpartition(":")[2]), random.Random(SEED), []
                for _ in range(max(1, EXAMPLES // 20)):
                    answers += await asyncio.gather(*(sent(port, damaged(rng)) for _ in range(32)))
                answers.append(await sent(port, WHOLE))
                await asyncio.sleep(0.1)
                return answers, [(view.in_flight, view.queued) for view in app.world().deployments]

    answers, left = asyncio.run(run())
    assert b" 200 " in answers[-1][:20]
    assert left == [(0, 0)]
    for answer in answers:
        assert not answer or 100 <= int(answer.split(b" ")[1]) < 500, answer[:300]
        if b'{"error"' in answer:
            document, _ = json.JSONDecoder().raw_decode(answer[answer.index(b'{"error"') :].decode())
            assert document["error"]["code"] in TABLE
