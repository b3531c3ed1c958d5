"""Server-sent events between upstream and caller: whole events only, and the commit point.

Invariants: nothing is yielded before the first content event has arrived (so that a fallback stays possible); an
event is never torn, and its lines end in LF; a stream that ends before its terminal event raises UpstreamError
`upstream_cut`; nothing follows the terminal event.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from pointsman.errors import NOT_JSON, UpstreamError
from pointsman.redact import Hide, redact
from pointsman.types import Kind

MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_CAUSE_CHARS = 500
NO_REASON = "it gave no reason"
DONE = b"[DONE]"
LAST = DONE + b"\n\n"  # a line of JSON never ends so
AUDIO_KINDS = frozenset({Kind.TRANSCRIPTION, Kind.SPEECH})


class _Delta(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None
    reasoning_content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: Any = None


class _Cause(msgspec.Struct):
    message: str = ""


class _ErrorEvent(msgspec.Struct):
    error: _Cause | str | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_cause = msgspec.json.Decoder(_ErrorEvent).decode


async def whole_events(chunks: AsyncIterator[bytes], kind: Kind, model_id: str) -> AsyncIterator[bytes]:
    """Chunks cut at event boundaries; each holds one event or more. Ends after the terminal event: `[DONE]`, or the
    `….done` event of OpenAI's audio streams."""
    tail = b""
    async for chunk in chunks:
        if tail or b"\r" in chunk:
            chunk, tail = _unix_lines(tail + chunk)  # noqa: PLW2901  # one name; no copy where events arrive whole
        if not chunk.endswith(b"\n\n"):
            cut = chunk.rfind(b"\n\n") + 2 if b"\n\n" in chunk else 0
            chunk, tail = chunk[:cut], chunk[cut:] + tail  # noqa: PLW2901  # as above
            if len(tail) > MAX_EVENT_BYTES:
                raise UpstreamError(f"`{model_id}` sent an event without end", code="upstream_protocol")
            if not chunk:
                continue
        if (end := chunk.find(LAST)) >= 0:
            yield chunk[: end + len(LAST)]
            return
        yield chunk
        if kind in AUDIO_KINDS and b'.done"' in chunk:
            return
    if tail.strip() in (b"data: " + DONE, b"data:" + DONE):  # some servers end on the word, without the empty line
        yield b"data: [DONE]\n\n"
        return
    raise UpstreamError(f"`{model_id}` ended its stream before its last event", code="upstream_cut")


def _unix_lines(chunk: bytes) -> tuple[bytes, bytes]:
    """The chunk with lines ended by LF alone, and a last CR held back until its LF may come."""
    held = b"\r" if chunk.endswith(b"\r") else b""
    return chunk.removesuffix(held).replace(b"\r\n", b"\n"), held


async def until_content(events: AsyncIterator[bytes], model_id: str, clean: Hide = redact) -> bytes:
    """All events up to and with the chunk of the first that carries content: what the commit point waits for.

    Raises UpstreamError where the stream says an error, is not JSON, or ends first; `clean` sees what it says.
    """
    held = b""
    async for chunk in events:
        held += chunk
        if _has_content(chunk, model_id, clean):
            return held
    raise UpstreamError(f"`{model_id}` ended its stream without an answer", code="upstream_cut")


async def checked(
    held: bytes, events: AsyncIterator[bytes], model_id: str, clean: Hide = redact
) -> AsyncIterator[bytes]:
    """After the commit point: what was held, then the rest. Raises UpstreamError where an event is one, or no JSON."""
    yield held
    async for chunk in events:
        _has_content(chunk, model_id, clean)
        yield chunk


def _has_content(chunk: bytes, model_id: str, clean: Hide) -> bool:
    """Whether any event speaks. Decodes every event (0.6 µs each), so that a broken one never reaches the caller."""
    speaks = False
    for line in chunk.split(b"\n"):
        if not line.startswith(b"data:"):  # a comment, an `event:` line, the empty line between events
            continue
        data = line[5:].strip()
        if data == DONE:
            continue
        try:
            event = _decode_event(data)
        except NOT_JSON:
            raise UpstreamError(f"`{model_id}` sent a malformed event", code="upstream_protocol") from None
        if event.error is not None:
            raise UpstreamError(f"`{model_id}` failed: {clean(_cause_of(data))[:MAX_CAUSE_CHARS] or NO_REASON}")
        speaks = speaks or event.choices is None or any(_speaks(choice) for choice in event.choices)
    return speaks


def _speaks(choice: _Choice) -> bool:
    delta = choice.delta or _Delta()
    said = delta.content or delta.reasoning_content or delta.tool_calls or delta.refusal
    return bool(said or choice.text or choice.finish_reason)


def _cause_of(data: bytes) -> str:
    try:
        cause = _decode_cause(data).error
    except NOT_JSON:
        cause = None
    return cause.message if isinstance(cause, _Cause) else cause or ""
