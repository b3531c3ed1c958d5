"""What upstreams say, in our words."""

import json
from functools import partial

import pytest

from pointsman.dispatch.mapping import check_answer, error_of, refusal, unquoted
from pointsman.errors import Declined, NoCapableModel, PointsmanError, Refused, UpstreamError
from pointsman.types import JsonPayload, Kind, Plan, Rejected, Request, Turn


def asked(kind: Kind = Kind.CHAT) -> Request:
    return Request(id="r", kind=kind, model="auto", payload=JsonPayload(members=()))


VLLM_TOO_LONG = (
    b'{"error":{"message":"This model\'s maximum context length is 2048 tokens. However, your prompt contains at least '
    b'2049 input tokens.","type":"BadRequestError","param":"input_tokens","code":400}}'
)
MAX_TOO_LONG = (
    b'{"error":{"code":"400","message":"Prompt is too long: 5031 tokens exceeds the configured maximum context length '
    b'of 2048 tokens.","param":"","type":"invalid_request_error"}}'
)
LLAMA_TOO_LONG = (
    b'{"error":{"code":400,"message":"request (9000 tokens) exceeds","type":"exceed_context_size_error",'
    b'"n_prompt_tokens":9000,"n_ctx":4096}}'
)


@pytest.mark.parametrize(
    ("status", "body", "cls", "code", "words"),
    [
        (400, LLAMA_TOO_LONG, Declined, "context_length_exceeded", "9000 prompt tokens, 4096 allowed"),
        (400, VLLM_TOO_LONG, Declined, "context_length_exceeded", "is 2048 tokens"),
        (400, MAX_TOO_LONG, Declined, "context_length_exceeded", "5031 tokens exceeds"),
        (
            400,
            b'{"error":{"message":"bad temperature","param":"temperature"}}',
            Declined,
            "upstream_rejected",
            "bad t",
        ),
        (
            400,
            b'{"error":{"message":"no picture","code":"invalid_media"}}',
            Declined,
            "invalid_media",
            "no picture",
        ),
        (422, b'{"detail":[{"msg":"field required"}]}', Declined, "upstream_rejected", "field required"),
        (401, b"{}", UpstreamError, "upstream_error", "api_key_env"),
        (404, b'{"error":"no such model"}', UpstreamError, "upstream_error", "check `url` and `model`"),
        (429, b"{}", UpstreamError, "upstream_error", "429"),
        (500, b"<html>oops</html>", UpstreamError, "upstream_error", "500"),
        (503, b"\xff\xfe", UpstreamError, "upstream_error", "503"),
        (302, b"", UpstreamError, "upstream_error", "302"),
        (400, b'{"error":{"message":"x","code":"internal_error"}}', Declined, "upstream_rejected", "x"),
    ],
)
def test_statuses(status: int, body: bytes, cls: type[PointsmanError], code: str, words: str) -> None:
    error = error_of(status, body, "m")
    assert type(error) is cls
    assert error.code == code
    assert words in error.message


@pytest.mark.parametrize(
    ("said", "told"),
    [("input[3]", "input[3]"), ("prompt", "prompt"), ("input_tokens", "messages"), (None, "messages")],
)
def test_the_text_that_is_too_long_is_named(said: str | None, told: str) -> None:
    detail = {"message": "too long", "code": "context_length_exceeded", "param": said}
    assert error_of(400, json.dumps({"error": detail}).encode(), "m").param == told


@pytest.mark.parametrize(
    ("kind", "content_type", "body"),
    [
        (Kind.CHAT, "application/json; charset=utf-8", b'{"choices":[{"message":{"content":"hi"}}]}'),
        (Kind.EMBEDDING, "application/json", b'{"data":[{"embedding":[1]}]}'),
        (Kind.TRANSCRIPTION, "application/json", b'{"text":""}'),
        (Kind.TRANSCRIPTION, "text/plain; charset=utf-8", b"hello"),
        (Kind.SPEECH, "audio/mpeg", b"ID3"),
    ],
)
def test_answers_pass(kind: Kind, content_type: str, body: bytes) -> None:
    check_answer(asked(kind), content_type, body, "m")


@pytest.mark.parametrize(
    ("kind", "content_type", "body"),
    [
        (Kind.CHAT, "text/html", b"<html>"),
        (Kind.CHAT, "", b'{"choices":[]}'),
        (Kind.CHAT, "application/json", b'{"choices":[{"mess'),
        (Kind.CHAT, "application/json", b'{"status":"ok"}'),
        (Kind.CHAT, "application/json", b"[1,2]"),
        (Kind.CHAT, "application/json", b""),
        (Kind.TRANSCRIPTION, "text/html", b"<html>"),
        (Kind.SPEECH, "audio/mpeg", b""),
        (Kind.SPEECH, "application/json", b"{}"),
    ],
)
def test_a_200_that_is_no_answer_is_the_upstreams_fault(kind: Kind, content_type: str, body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        check_answer(asked(kind), content_type, body, "m")
    assert caught.value.code == "upstream_protocol"


def empty(problem: str) -> Plan:
    why = Rejected(deployment_id="a", model_id="a", code="modality", why="cannot see images")
    return Plan(candidates=(), rejected=(why,), strategy="balanced", reason="Nobody can.", problem=problem)


def test_a_plan_without_candidates_becomes_the_error_the_caller_can_act_on() -> None:
    assert isinstance(refusal(empty("loading_failed")), Refused)
    unknown = refusal(empty("model_not_found"))
    assert (unknown.http_status, unknown.param) == (404, "model")
    incapable = refusal(empty(""))
    assert isinstance(incapable, NoCapableModel)
    assert incapable.rejected[0].why == "cannot see images"


def test_an_upstream_that_says_the_prompt_back_is_cut_short() -> None:
    said = "My number is 4929 1234 5678 9012, what do I do with it?"
    body = b'{"error":{"message":"cannot parse \'My number is 4929 1234 5678 90\' at column 3"}}'
    turns = (Turn(role="system", text="parse"), Turn(role="user", text=said))
    clean = partial(unquoted, turns=turns, api_key="the-vendor-key")
    assert clean("401 for the-vendor-key") == "401 for [redacted]"
    assert error_of(400, body, "m", clean=clean).message == "`m` refused the request: cannot parse '[the prompt]"
    assert "4929" in error_of(400, body, "m").message
