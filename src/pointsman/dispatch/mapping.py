"""The seam where an upstream's answer becomes ours: its statuses → our errors, its body → a Reply.

Knows: what OpenAI-compatible servers say and how they say it. Does not know: leases, retries, who is next.
"""

import re
from typing import Any

import msgspec

from pointsman.errors import (
    NOT_JSON,
    TABLE,
    Declined,
    NoCapableModel,
    PointsmanError,
    Refused,
    RequestError,
    UpstreamError,
)
from pointsman.redact import Hide, redact
from pointsman.types import Kind, Plan, Request, Turn

REFUSALS = frozenset({400, 406, 409, 411, 413, 415, 422})
FIELD = re.compile(r"[\w.\[\]-]{1,64}")
PROMPT = re.compile(r"(?:messages|prompt|input)(?:\[\d{1,6}\])?")
"""Where a prompt stands in a request, or one of several."""
MAX_MESSAGE_CHARS = 500
QUOTE_CHARS = 24
SHORTEST_QUOTE_CHARS = 8
"""Shorter words are nobody's secret, and part of ordinary sentences."""


class _Detail(msgspec.Struct):
    message: str = ""
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _ErrorBody(msgspec.Struct):
    error: _Detail | str | None = None
    message: str = ""
    detail: Any = None


class _Choice(msgspec.Struct):
    pass


class _Answer(msgspec.Struct):
    """The least a good JSON answer has; decoding it proves that the whole body is JSON."""

    choices: list[_Choice] | None = None
    data: list[msgspec.Raw] | None = None
    text: str | None = None


_decode_error = msgspec.json.Decoder(_ErrorBody).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def error_of(
    status: int, body: bytes, model_id: str, retry_after_s: float | None = None, clean: Hide = redact
) -> PointsmanError:
    """The error an upstream meant. What it would not take another model may: engines differ in what they know. 4xx that
    only the operator can mend count as the upstream's fault. `clean` sees what it says."""
    detail = _detail_of(body)
    said = clean(detail.message)[:MAX_MESSAGE_CHARS] or f"HTTP {status}"
    if _is_too_long(status, detail):
        numbers = f" ({detail.n_prompt_tokens} prompt tokens, {detail.n_ctx} allowed)" if detail.n_ctx else ""
        remedy = "shorten it, or name a model with a longer context"
        return Declined(
            f"The prompt is too long for `{model_id}`{numbers}: {remedy}. {said}",
            code="context_length_exceeded",
            param=detail.param if PROMPT.fullmatch(detail.param or "") else "messages",
        )
    if status in REFUSALS:
        code = detail.code if isinstance(detail.code, str) and _is_caller_code(detail.code) else "upstream_rejected"
        return Declined(f"`{model_id}` refused the request: {said}", code=code, param=_field(detail.param))
    if status in {401, 403}:
        return UpstreamError(
            f"`{model_id}` refused our credentials (HTTP {status}): check its `api_key_env`", upstream_status=status
        )
    if status == 404:
        return UpstreamError(
            f"`{model_id}` is not known under that name at its URL (HTTP 404): check `url` and `model`. {said}",
            upstream_status=status,
        )
    return UpstreamError(
        f"`{model_id}` answered HTTP {status}: {said}", upstream_status=status, retry_after_s=retry_after_s or 0.0
    )


def _field(param: str | None) -> str | None:
    """A field of the request, and no sentence in its place."""
    return param if param and FIELD.fullmatch(param) else None


def unquoted(said: str, turns: tuple[Turn, ...], api_key: str = "") -> str:
    """What an upstream says, without our key, and up to where it begins to say a turn back: errors are kept and
    counted, prompts are not."""
    said = redact(said, (api_key,) if api_key else ())
    begun = (turn.text.strip()[:QUOTE_CHARS] for turn in turns)
    found = [at for words in begun if len(words) >= SHORTEST_QUOTE_CHARS and (at := said.find(words)) >= 0]
    return f"{said[: min(found)]}[the prompt]" if found else said


def _is_too_long(status: int, detail: _Detail) -> bool:
    """llama.cpp and OpenAI say so by a name; vLLM and MAX Serve in words only."""
    named = detail.type == "exceed_context_size_error" or detail.code == "context_length_exceeded"
    return named or (status == 400 and "maximum context length" in detail.message)


def _is_caller_code(code: str) -> bool:
    return code in TABLE and 400 <= TABLE[code].http_status < 500


def _detail_of(body: bytes) -> _Detail:
    try:
        decoded = _decode_error(body)
    except NOT_JSON:
        return _Detail()
    if isinstance(decoded.error, _Detail):
        return decoded.error
    if isinstance(decoded.error, str):
        return _Detail(message=decoded.error)
    detail = msgspec.json.encode(decoded.detail).decode() if decoded.detail else ""
    return _Detail(message=decoded.message or detail)


def check_answer(request: Request, content_type: str, body: bytes, model_id: str) -> None:
    """Raise UpstreamError where a buffered 200 is not an answer, so that it never reaches the caller."""
    sent = content_type or "no content type"
    if request.kind is Kind.SPEECH:
        if not content_type.startswith("audio/") or not body:
            raise UpstreamError(f"`{model_id}` sent no audio ({sent})", code="upstream_protocol")
        return
    if "json" not in content_type:
        if request.kind is Kind.TRANSCRIPTION and content_type.startswith("text/") and "html" not in content_type:
            return
        raise UpstreamError(f"`{model_id}` sent {sent} instead of JSON", code="upstream_protocol")
    try:
        answer = _decode_answer(body)
    except NOT_JSON:
        raise UpstreamError(f"`{model_id}` sent malformed JSON", code="upstream_protocol") from None
    if answer.choices is None and answer.data is None and answer.text is None:
        raise UpstreamError(f"`{model_id}` sent JSON that is no answer", code="upstream_protocol")


def refusal(plan: Plan) -> PointsmanError:
    """The error for a plan that has no candidate."""
    code = plan.problem or "no_capable_model"
    if TABLE[code].http_status >= 500 or TABLE[code].http_status == 429:
        return Refused(plan.reason, code=code, retry_after_s=max(1.0, plan.retry_in_s))
    if code == "model_not_found":
        return RequestError(plan.reason, code=code, param="model")
    return NoCapableModel(plan.reason, rejected=plan.rejected, code=code)
