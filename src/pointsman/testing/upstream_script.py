"""The language in which a test tells `FaultUpstream` what to do, and the answers it stands for. Pure.

Knows: model names as scripts, OpenAI's shapes, every way to break them. Does not know: sockets, clocks, chance.
Invariant: an answer is an iterator of steps: bytes to send, a pause in seconds, or a `Cut` that ends it.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache

import msgspec

from pointsman.types import Kind, Value

FAULTS: Mapping[str, str] = {
    "reset": "reset before the headers",
    "close": "close before the headers",
    "hang": "never answer",
    "html": "200 with a page of HTML",
    "badjson": "200 with broken JSON",
    "toolong": "400, as llama.cpp says that a prompt is too long",
    "fin": "where `a` cuts: close cleanly instead of resetting",
    "silent": "stream: the role, then nothing",
    "badsse": "stream: a malformed event after `A` tokens",
    "errorevent": "stream: an error event after `A` tokens, then the end",
    "nodone": "stream: end without `[DONE]`",
    "dup": "stream: every token twice",
    "empty": "stream: a comment and an empty delta before every token",
    "torn": "stream: events torn over many HTTP chunks",
    "crlf": "stream: lines end in CR LF",
    "tight": "stream: no space after `data:`",
    "spaced": "stream: JSON with spaces, as Python's own module writes it",
    "nousage": "report no usage",
    "loris": "the body byte by byte, `i` ms apart (default 20)",
    "bye": "close the connection after a complete answer",
}
WORDS = ("The", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "runs", "away")
NUMBER = re.compile(r"([tineasA])(\d+(?:\.\d*)?|\.\d+)")


class Cut(Enum):
    """Ways to end an answer before its end."""

    RESET = "reset"
    CLOSE = "close"
    HANG = "hang"


Step = bytes | float | Cut


class Script(Value, frozen=True):
    """What a model's name says: times in seconds, rates in [0, 1]."""

    ttft_s: float = 0.0
    interval_s: float = 0.0
    tokens: int = 32
    error_rate: float = 0.0
    error_status: int = 503
    cut_rate: float = 0.0
    cut_after: int = 5
    faults: frozenset[str] = frozenset()


@lru_cache(maxsize=1024)
def script_of(model: str) -> Script:
    """The script in a model's name; a part it does not know says nothing."""
    numbers: dict[str, float] = {}
    faults = set()
    for part in model.split("-"):
        if part in FAULTS:
            faults.add(part)
        elif match := NUMBER.fullmatch(part):
            numbers[match[1]] = float(match[2])
    return Script(
        ttft_s=numbers.get("t", 0.0) / 1000,
        interval_s=numbers.get("i", 0.0) / 1000,
        tokens=min(int(numbers.get("n", 32)), 200_000),
        error_rate=numbers.get("e", 0.0),
        error_status=int(numbers.get("s", 503)),
        cut_rate=numbers.get("a", 0.0),
        cut_after=int(numbers.get("A", 5)),
        faults=frozenset(faults),
    )


# ---------------------------------------------------------------- what is said


class Call(Value, frozen=True):
    """What an answer depends on, chance apart. `begun`: tokens of it that stand in the request already."""

    kind: Kind
    model: str
    is_stream: bool
    with_usage: bool
    begun: int = 0


def head_of(status: int, content_type: str, length: int | None, extra: str = "") -> bytes:
    """Status line and headers; without a length the body comes in chunks."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    reason = "OK" if status < 300 else "Error"
    return f"HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\n{framing}\r\n{extra}\r\n".encode()


def whole(status: int, body: bytes, content_type: str = "application/json", extra: str = "") -> bytes:
    """A complete response."""
    return head_of(status, content_type, len(body), extra) + body


def error_response(status: int, message: str = "mock upstream error", type_: str = "", **more: int) -> bytes:
    """OpenAI's error object."""
    type_ = type_ or ("invalid_request_error" if status < 500 else "server_error")
    error = {"message": message, "type": type_, "param": None, "code": status, **more}
    return whole(status, msgspec.json.encode({"error": error}), extra="Retry-After: 1\r\n" if status == 429 else "")


def words(count: int) -> list[str]:
    return [WORDS[number % len(WORDS)] + " " for number in range(count)]


def body_of(call: Call, script: Script) -> bytes:
    """A buffered answer."""
    counts = {"prompt_tokens": 9, "completion_tokens": script.tokens, "total_tokens": script.tokens + 9}
    usage = {} if "nousage" in script.faults else {"usage": counts}
    text = "".join(words(script.tokens))
    head = {"id": "mock-1", "created": 1760000000, "model": call.model}
    if call.kind is Kind.CHAT:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return msgspec.json.encode(head | {"object": "chat.completion", "choices": [choice]} | usage)
    if call.kind is Kind.COMPLETION:
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        return msgspec.json.encode(head | {"object": "text_completion", "choices": [choice]} | usage)
    if call.kind is Kind.EMBEDDING:
        vector = {"object": "embedding", "index": 0, "embedding": [0.01 * (number % 7) for number in range(384)]}
        return msgspec.json.encode({"object": "list", "data": [vector], "model": call.model} | usage)
    if call.kind is Kind.TRANSCRIPTION:
        return msgspec.json.encode({"text": text.strip()})
    return _silence_wav()


def _silence_wav(samples: int = 1600, rate: int = 16000) -> bytes:
    size = samples * 2
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + fmt + struct.pack("<4sI", b"data", size) + bytes(size)


class Events(Value, frozen=True):
    """A stream's events: `opening` (chat: the role), a tuple for each token, `closing` (reason, usage, `[DONE]`)."""

    opening: bytes
    tokens: tuple[bytes, ...]
    closing: bytes


@lru_cache(maxsize=64)
def events_of(call: Call, script: Script) -> Events:
    """A streamed answer, faults of its content included."""
    is_chat = call.kind is Kind.CHAT
    faults = script.faults

    def event(choice: dict[str, object] | None, **more: object) -> bytes:
        kind = "chat.completion.chunk" if is_chat else "text_completion"
        frame = {"id": "mock-1", "object": kind, "created": 1760000000, "model": call.model}
        choices = [] if choice is None else [{"index": 0, **choice, "finish_reason": None} | choice]
        return b"data: " + msgspec.json.encode(frame | {"choices": choices} | more) + b"\n\n"

    def token(word: str) -> bytes:
        data = event({"delta": {"content": word}} if is_chat else {"text": word})
        data = b": ping\n\n" + event({"delta": {}} if is_chat else {"text": ""}) + data if "empty" in faults else data
        return data * 2 if "dup" in faults else data

    closing = event({"delta": {}, "finish_reason": "stop"} if is_chat else {"text": "", "finish_reason": "stop"})
    if call.with_usage and "nousage" not in faults:
        read, said = 9 + call.begun, script.tokens - call.begun
        closing += event(None, usage={"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said})
    return Events(
        opening=event({"delta": {"role": "assistant", "content": ""}}) if is_chat else b"",
        tokens=tuple(token(word) for word in words(script.tokens)[call.begun :]),
        closing=closing + (b"" if "nodone" in faults else b"data: [DONE]\n\n"),
    )


def error_event() -> bytes:
    error = {"message": "mock error in mid-stream", "type": "server_error", "code": 500}
    return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"


# ---------------------------------------------------------------- how it is sent


def steps_of(call: Call, script: Script, fails: bool, breaks: bool) -> Iterator[Step]:
    """The answer as steps. `fails` and `breaks` are what chance made of the error rate and the cut rate."""
    faults = script.faults
    if script.ttft_s:
        yield script.ttft_s
    for fault in faults & {"reset", "close", "hang"}:
        yield Cut(fault)
        return
    if fails:
        yield error_response(script.error_status)
    elif "toolong" in faults:
        sizes = {"n_prompt_tokens": 9000, "n_ctx": 4096}
        yield error_response(400, "the request exceeds the context size", "exceed_context_size_error", **sizes)
    elif "html" in faults:
        yield whole(200, b"<html><body>It works!</body></html>", "text/html")
    elif call.is_stream and call.kind in {Kind.CHAT, Kind.COMPLETION}:
        yield from _streamed(call, script, breaks)
    else:
        yield from _buffered(call, script, breaks)


def _buffered(call: Call, script: Script, breaks: bool) -> Iterator[Step]:
    body = b'{"choices": [{"mess' if "badjson" in script.faults else body_of(call, script)
    content_type = "audio/wav" if call.kind is Kind.SPEECH else "application/json"
    head = head_of(200, content_type, len(body))
    if breaks:
        yield head + body[: script.cut_after * 4]
        yield _cut(script)
    elif "loris" in script.faults:
        yield head
        yield from _slowly(body, script)
    else:
        yield head + body


def _streamed(call: Call, script: Script, breaks: bool) -> Iterator[Step]:
    yield head_of(200, "text/event-stream; charset=utf-8", None, "Cache-Control: no-cache\r\n")
    for step in _events(call, script, breaks):
        if not isinstance(step, bytes):
            yield step
        elif step:
            data = _as_written(step, script)
            if "loris" in script.faults:
                yield from _slowly(_chunked(data), script)
            elif "torn" in script.faults:
                yield b"".join(_chunked(data[at : at + 7]) for at in range(0, len(data), 7))
            else:
                yield _chunked(data)
    yield b"0\r\n\r\n"


def _as_written(events: bytes, script: Script) -> bytes:
    """The same events in another hand."""
    if "spaced" in script.faults:
        for mark in (b":", b","):
            events = events.replace(b'"' + mark, b'"' + mark + b" ")
    if "tight" in script.faults:
        events = events.replace(b"data: ", b"data:")
    return events.replace(b"\n", b"\r\n") if "crlf" in script.faults else events


def _events(call: Call, script: Script, breaks: bool) -> Iterator[Step]:
    """Events and pauses, up to the one that goes wrong."""
    events = events_of(call, script)
    faults = script.faults
    yield events.opening
    if "silent" in faults:
        yield Cut.HANG
    for number, token in enumerate(events.tokens):
        if number == script.cut_after:
            if breaks:
                yield _cut(script)
            if "errorevent" in faults:
                yield error_event()
                return
            if "badsse" in faults:
                yield b"data: {not json\n\n"
        if number and script.interval_s:
            yield script.interval_s
        yield token
    if breaks:
        yield _cut(script)
    yield events.closing


def _cut(script: Script) -> Cut:
    return Cut.CLOSE if "fin" in script.faults else Cut.RESET


def _slowly(data: bytes, script: Script) -> Iterator[Step]:
    for byte in data:
        yield bytes((byte,))
        yield script.interval_s or 0.02


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=256)
def plain_answer(call: Call, script: Script) -> bytes:
    """The whole answer as one piece, where it has neither pause nor cut; else nothing."""
    if script.ttft_s or script.interval_s or "loris" in script.faults:
        return b""
    steps = tuple(steps_of(call, script, fails=False, breaks=False))
    return (
        b"".join(step for step in steps if isinstance(step, bytes)) if all(isinstance(s, bytes) for s in steps) else b""
    )
