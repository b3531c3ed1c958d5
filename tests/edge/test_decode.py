"""Bodies → Request; a wrong one is a 4xx that names the field and the remedy."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.edge.audio import decode_speech, decode_transcription
from pointsman.edge.endpoint import Decode
from pointsman.edge.http import Incoming
from pointsman.edge.openai import decode_chat, decode_completion, decode_embedding, decode_route
from pointsman.errors import RequestError
from pointsman.types import Complexity, FormPayload, Intent, JsonPayload, Kind, Limits, Modality

JSON = "application/json"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
PNG = "data:image/png;base64,iVBORw0KGgo="


def incoming(body: bytes | dict[str, Any], content_type: str = JSON) -> Incoming:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Incoming(request_id="req_1", content_type=content_type, body=raw, received_s=5.0)


def chat_with(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, part]}]}


def form(*parts: tuple[str, str, bytes], boundary: str = "edge") -> Incoming:
    body = b""
    for disposition, mime, data in parts:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {mime}\r\n\r\n"
        body += head.encode() + data + b"\r\n"
    return incoming(body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}")


WAV = ('name="file"; filename="a.wav"', "audio/wav", b"RIFF0000WAVE")


def test_a_chat_keeps_every_member_as_written_and_drops_only_our_own() -> None:
    messages = b'[{"role":"user","content":"h\\u00e9llo"}]'
    body = b'{"model":"auto","messages":' + messages + b',"seed":7,"new_thing":{"a":[1]},"x-routing":{}}'
    request = decode_chat(incoming(body))
    assert isinstance(request.payload, JsonPayload)
    assert dict(request.payload.members) == {
        "model": b'"auto"',
        "messages": messages,
        "seed": b"7",
        "new_thing": b'{"a":[1]}',
    }
    assert request.turns[0].text == "héllo"
    assert (request.id, request.received_s, request.kind) == ("req_1", 5.0, Kind.CHAT)


def test_options_become_values() -> None:
    body = HELLO | {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": None,
        "max_completion_tokens": 9,
        "tools": [{"type": "function"}],
        "x-routing": {"complexity": "simple", "intent": "code", "deadline_s": 2, "strategy": "cost", "entities": ["a"]},
    }
    request = decode_chat(incoming(body))
    assert request.stream
    assert request.wants_usage
    assert request.has_tools
    assert (request.limits.max_output_tokens, request.limits.deadline_s, request.limits.strategy) == (9, 2.0, "cost")
    assert request.limits.needs_tools
    assert (request.hints.complexity, request.hints.intent) == (Complexity.LOW, Intent.CODE)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "image_url", "image_url": {"url": PNG}}, Modality.IMAGE),
        ({"type": "image_url", "image_url": PNG}, Modality.IMAGE),
        ({"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}, Modality.VIDEO),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, Modality.AUDIO),
        ({"type": "file", "file": {"file_data": "data:video/mp4;base64,AAAA", "filename": "a.mp4"}}, Modality.VIDEO),
    ],
)
def test_attachments_are_seen(part: dict[str, Any], kind: Modality) -> None:
    request = decode_chat(incoming(chat_with(part)))
    assert [medium.kind for medium in request.media] == [kind]
    assert request.turns[0].text == "what is this?"


@pytest.mark.parametrize(
    ("decode", "body", "code", "param"),
    [
        (decode_chat, b"", "invalid_json", None),
        (decode_chat, b'{"messages": [', "invalid_json", None),
        (decode_chat, b"[1]", "invalid_json", None),
        (decode_chat, b'{"messages":[{"role":"user","content":"\xff"}]}', "invalid_json", None),
        (decode_chat, {"model": "auto"}, "missing_field", "messages"),
        (decode_chat, {"messages": []}, "invalid_value", "messages"),
        (decode_chat, {"messages": [{"content": "x"}]}, "missing_field", "messages[0].role"),
        (decode_chat, {"messages": [{"role": "user", "content": 5}]}, "invalid_value", "messages[0].content"),
        (decode_chat, HELLO | {"max_tokens": 0}, "invalid_value", "max_tokens"),
        (decode_chat, HELLO | {"model": ""}, "invalid_value", "model"),
        (decode_chat, HELLO | {"stream": "yes"}, "invalid_value", "stream"),
        (decode_chat, HELLO | {"x-routing": {"strategie": "cost"}}, "invalid_value", "x-routing"),
        (decode_chat, HELLO | {"x-routing": {"complexity": "hard"}}, "invalid_value", "x-routing.complexity"),
        (decode_chat, HELLO | {"x-routing": {"deadline_s": 0}}, "invalid_value", "x-routing.deadline_s"),
        (
            decode_chat,
            chat_with({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
            "invalid_media",
            "messages[0].content[1].image_url",
        ),
        (decode_chat, chat_with({"type": "image_url"}), "missing_field", "messages[0].content[1].image_url"),
        (decode_completion, {"model": "a"}, "missing_field", "prompt"),
        (decode_embedding, {"input": {"a": 1}}, "invalid_value", "input"),
        (decode_route, {}, "missing_field", "query"),
        (decode_route, HELLO | {"query": "both"}, "missing_field", "query"),
        (decode_speech, {"input": "  "}, "invalid_value", "input"),
        (decode_speech, {"input": "a" * 4097}, "invalid_value", "input"),
        (decode_speech, {"input": "a", "speed": 9}, "invalid_value", "speed"),
        (decode_speech, {"input": "a", "response_format": "midi"}, "invalid_value", "response_format"),
    ],
)
def test_wrong_bodies(decode: Decode, body: bytes | dict[str, Any], code: str, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        decode(incoming(body))
    assert (caught.value.code, caught.value.param) == (code, param)
    assert 400 <= caught.value.http_status < 500
    assert param is None or param in caught.value.message


@pytest.mark.parametrize("decode", [decode_chat, decode_speech, decode_route])
def test_json_endpoints_refuse_other_content_types(decode: Decode) -> None:
    with pytest.raises(RequestError) as caught:
        decode(incoming(b"a=b", "application/x-www-form-urlencoded"))
    assert caught.value.http_status == 415
    assert "application/json" in caught.value.message


def test_a_transcription_form() -> None:
    fields = [('name="model"', "text/plain", b"stt"), ('name="language"', "text/plain", b"hi"), WAV]
    request = decode_transcription(form(*fields))
    assert (request.model, request.hints.language, request.stream) == ("stt", "hi", False)
    assert request.payload == FormPayload(fields=(("language", "hi"),))
    assert (request.media[0].filename, request.media[0].data) == ("a.wav", b"RIFF0000WAVE")
    assert request.media[0].mime == "audio/wav"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("audio/ogg; codecs=opus",) * 2, ("", "application/octet-stream"), ("no type", "application/octet-stream")],
)
def test_a_recording_keeps_its_own_type(sent: str, kept: str) -> None:
    assert decode_transcription(form(('name="file"; filename="a"', sent, b"x"))).media[0].mime == kept


def routed_form(routing: bytes) -> Incoming:
    return form(('name="x-routing"', "text/plain", routing), ('name="prompt"', "text/plain", b"p"), WAV)


def test_a_transcription_takes_constraints_as_a_chat_does() -> None:
    routing = {"deadline_s": 1, "max_latency_s": 0.5, "language": "ta", "strategy": "quality"}
    request = decode_transcription(routed_form(json.dumps(routing).encode()))
    assert request.payload == FormPayload(fields=(("prompt", "p"),))
    assert (request.limits.deadline_s, request.limits.max_latency_s, request.limits.strategy) == (1, 0.5, "quality")
    assert request.hints.language == "ta"
    assert decode_transcription(routed_form(b" null ")).limits == Limits()


@pytest.mark.parametrize(
    "routing", ['{"deadline_s": 0}', '{"deadline_s": "soon"}', '{"dead_line_s": 1}', '{"needs_tools": 1}', "[]"]
)
def test_wrong_constraints_of_a_form_are_told_as_those_of_a_chat(routing: str) -> None:
    with pytest.raises(RequestError) as of_form:
        decode_transcription(routed_form(routing.encode()))
    with pytest.raises(RequestError) as of_chat:
        decode_chat(incoming(HELLO | {"x-routing": json.loads(routing)}))
    assert of_form.value.message == of_chat.value.message
    assert (of_form.value.param, of_form.value.code) == (of_chat.value.param, of_chat.value.code)


def test_a_form_may_hold_each_constraint_in_a_field_of_its_own() -> None:
    given = {
        "deadline_s": "1.5",
        "needs_tools": "true",
        "entities][": "2024",
        "entities][1": "Pune",
        "language": "hi",
        "cache": "off",
    }
    fields = ((f'name="x-routing[{name}]"', "text/plain", value.encode()) for name, value in given.items())
    request = decode_transcription(form(*fields, WAV))
    assert request.payload == FormPayload(fields=())
    assert (request.limits.deadline_s, request.limits.needs_tools, request.limits.cache) == (1.5, True, "off")
    assert (request.hints.entities, request.hints.language) == (("2024", "Pune"), "hi")


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("x-routing[deadline_s]", "x-routing.deadline_s"),
        ("x-routing[deadline]", "x-routing"),
        ("x-routing[a][b]", "x-routing[a][b]"),
    ],
)
def test_wrong_fields_of_constraints(name: str, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_transcription(form((f'name="{name}"', "text/plain", b"soon"), WAV))
    assert caught.value.param == param


@pytest.mark.parametrize("routing", [b"deadline_s=1", b'{"a"', b'{} "b"', b'{}, "model": 1', b"\xff", b"[" * 10_000])
def test_constraints_of_a_form_that_are_no_json(routing: bytes) -> None:
    with pytest.raises(RequestError, match="must be JSON such as") as caught:
        decode_transcription(routed_form(routing))
    assert caught.value.param == "x-routing"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (incoming(HELLO), 415, "unsupported_media_type"),
        (form(('name="model"', "text/plain", b"stt")), 400, "missing_field"),
        (form(('name="file"; filename="a.wav"', "audio/wav", b"")), 400, "invalid_media"),
        (incoming(b"garbage", "multipart/form-data; boundary=edge"), 400, "invalid_value"),
        (incoming(b"garbage", "multipart/form-data"), 400, "invalid_value"),
        (
            incoming(b"--edge\r\nContent-Disposition: form-data; na", "multipart/form-data; boundary=edge"),
            400,
            "missing_field",
        ),
    ],
)
def test_wrong_forms(body: Incoming, status: int, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_transcription(body)
    assert (caught.value.http_status, caught.value.code) == (status, code)


@given(st.binary(max_size=300))
def test_no_bytes_break_a_decoder(body: bytes) -> None:
    for decode in (decode_chat, decode_completion, decode_embedding, decode_route, decode_speech):
        with contextlib.suppress(RequestError):
            assert decode(incoming(body)).id == "req_1"
    with contextlib.suppress(RequestError):
        assert decode_transcription(incoming(body, "multipart/form-data; boundary=edge")).media
    with contextlib.suppress(RequestError):
        assert decode_transcription(routed_form(body)).media


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
members = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("model", "messages", "stream", "tools", "prompt", "input", "query", "x-routing"), json_values
    ),
)


@given(members)
def test_no_json_object_breaks_a_decoder(body: dict[str, Any]) -> None:
    for decode in (decode_chat, decode_completion, decode_embedding, decode_route, decode_speech):
        with contextlib.suppress(RequestError):
            assert decode(incoming(body)).id == "req_1"
