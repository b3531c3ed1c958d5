"""Token counts as upstreams report them, and an estimate where they do not.

Knows: the `usage` member of OpenAI's bodies and events, under either pair of names. Does not know: prices, who asked.
Decodes the one member it needs; everything else in a body is skipped, not built.
"""

from typing import Annotated

import msgspec

from pointsman.types import Usage

CHARS_PER_TOKEN = 4
FRAMING_EVENTS = 3
"""Events of a chat stream that carry no token: the role, the finish reason, `[DONE]`."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Counts(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None


class _Body(msgspec.Struct):
    usage: _Counts | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class _Answer(msgspec.Struct):
    choices: tuple[_Choice, ...] = ()


class _Fault(msgspec.Struct):
    code: str | int | None = None


class _FaultEvent(msgspec.Struct):
    error: _Fault | str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_fault = msgspec.json.Decoder(_FaultEvent).decode


def usage_of(body: bytes) -> Usage | None:
    """The counts a JSON body reports; None where it reports none that can be read."""
    try:
        counts = _decode_body(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if counts is None:
        return None
    prompt = counts.input_tokens if counts.prompt_tokens is None else counts.prompt_tokens
    completion = counts.output_tokens if counts.completion_tokens is None else counts.completion_tokens
    if prompt is None and completion is None:
        return None
    return Usage(prompt_tokens=prompt or 0, completion_tokens=completion or 0)


def usage_in_events(chunk: bytes) -> Usage | None:
    """The counts of the last event in the chunk that reports any."""
    for data in reversed(data_of(chunk)):
        if b'"usage"' in data and (usage := usage_of(data)):
            return usage
    return None


def fault_in_events(chunk: bytes) -> str | None:
    """The code of the first error event in the chunk, "" where it names none; None where there is no error event."""
    for data in data_of(chunk):
        try:
            fault = _decode_fault(data).error if b'"error"' in data else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if fault is not None:
            return fault.code if isinstance(fault, _Fault) and isinstance(fault.code, str) else ""
    return None


def data_of(chunk: bytes) -> list[bytes]:
    """The `data:` payloads of whole server-sent events."""
    return [line[5:].strip() for line in chunk.splitlines() if line.startswith(b"data:")]


def estimate_of_body(body: bytes, prompt_tokens: int) -> Usage:
    """Counts for a body that reports none: the prompt as the classifier measured it, the answer by its length."""
    try:
        choices = _decode_answer(body).choices
    except (msgspec.DecodeError, UnicodeDecodeError):
        choices = ()
    chars = sum(len((choice.message.content if choice.message else choice.text) or "") for choice in choices)
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=-(-chars // CHARS_PER_TOKEN), is_estimated=True)


def estimate_of_events(events: int, prompt_tokens: int) -> Usage:
    """Counts for a stream that reports none: one token an event, as every known engine sends them."""
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=max(0, events - FRAMING_EVENTS), is_estimated=True)
