"""One answer in two shapes: a JSON body, or the events of a stream. Pure.

Knows: OpenAI's chat and text completions. Does not know: stores, callers.
Invariants: what cannot be turned without loss (audio, shapes nobody foresaw) is not turned at all; an answer turned
there and back says the same.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from pointsman.types import Kind

_TELLS = re.compile(rb'"finish_reason"\s*:\s*"|"usage"\s*:\s*\{')
"""What makes an event worth reading when a stream has ended; in the words of an answer the quotes are escaped."""
DONE = b"data: [DONE]\n\n"
KINDS = {Kind.CHAT: ("chat.completion", "chat.completion.chunk"), Kind.COMPLETION: ("text_completion",) * 2}
SAID_WHOLE = frozenset({"stop", "length", "tool_calls", "function_call"})
FRAME = ("id", "created", "model", "system_fingerprint", "service_tier")
ONCE = frozenset({"role", "id", "type", "name", "index"})
"""Members of a delta that are told, not grown."""
RESUMED = b'"x-routing-continuation"'

Json = dict[str, Any]


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Json | None = None


class _ShapeError(Exception):
    """Not a shape that can be turned."""


UNTURNABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, KeyError, TypeError, AttributeError, _ShapeError)

_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode = msgspec.json.Decoder(Json).decode
_encode = msgspec.json.encode


class Summary(msgspec.Struct, frozen=True):
    """What a look at a whole answer shows. `is_whole`: every choice ended as it should, by itself."""

    is_whole: bool
    has_usage: bool


NOT_WHOLE = Summary(is_whole=False, has_usage=False)


def summary_of_body(kind: Kind, body: bytes) -> Summary:
    """Total: what is not JSON is not whole."""
    return _summary(kind, (body,))


def summary_of_events(kind: Kind, chunks: Iterable[bytes]) -> Summary:
    """Likewise, of a stream that has ended."""
    stream = b"".join(chunks)
    telling = {stream.rfind(b"\n", 0, found.start()) + 1 for found in _TELLS.finditer(stream)}
    return _summary(kind, (_data_at(stream, start) for start in sorted(telling)))


def _data_at(stream: bytes, start: int) -> bytes:
    """The JSON of the event whose line begins there."""
    return stream[start : stream.find(b"\n", start)].removeprefix(b"data:")


def _summary(kind: Kind, documents: Iterable[bytes]) -> Summary:
    ends: set[str | None] = set()
    has_usage = False
    try:
        for document in documents:
            answer = _decode_answer(document)
            ends.update(choice.finish_reason for choice in answer.choices or ())
            has_usage = has_usage or answer.usage is not None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return NOT_WHOLE
    ends.discard(None)
    return Summary(is_whole=ends <= SAID_WHOLE and (bool(ends) or kind not in KINDS), has_usage=has_usage)


def _data_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The JSON of every event."""
    for line in b"".join(chunks).split(b"\n"):
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data and data != b"[DONE]":
                yield data


# ---------------------------------------------------------------- a body as a stream


def events_of(kind: Kind, body: bytes) -> tuple[bytes, ...] | None:
    """The events that say what a body says, usage in one of its own; None where they could not say all of it."""
    try:
        answer = _decode(body)
        frame = {name: answer[name] for name in FRAME if name in answer}
        frame["object"] = KINDS[kind][1]
        turn = _chat_events if kind is Kind.CHAT else _text_events
        events = [{**frame, "choices": [choice]} for whole in answer["choices"] for choice in turn(whole)]
        if answer.get("usage"):
            events.append({**frame, "choices": [], "usage": answer["usage"]})
    except UNTURNABLE:
        return None
    return (*(b"data: " + _encode(event) + b"\n\n" for event in events), DONE)


def _chat_events(choice: Json) -> Iterator[Json]:
    message = dict(choice["message"])
    if message.get("audio"):
        raise _ShapeError
    index, said = choice.get("index", 0), {name: value for name, value in message.items() if value not in (None, [])}
    yield {"index": index, "delta": {"role": said.pop("role", "assistant"), "content": ""}, "finish_reason": None}
    if "tool_calls" in said:
        said["tool_calls"] = [{"index": place, **call} for place, call in enumerate(said["tool_calls"])]
    if said or choice.get("logprobs"):
        yield {"index": index, "delta": said, "logprobs": choice.get("logprobs"), "finish_reason": None}
    yield {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}


def _text_events(choice: Json) -> Iterator[Json]:
    index = choice.get("index", 0)
    yield {"index": index, "text": choice["text"], "logprobs": choice.get("logprobs"), "finish_reason": None}
    yield {"index": index, "text": "", "logprobs": None, "finish_reason": choice["finish_reason"]}


# ---------------------------------------------------------------- a stream as a body


def body_of(kind: Kind, chunks: Iterable[bytes]) -> bytes | None:
    """The body that says what a whole stream said; None where it could not say all of it."""
    answer: Json = {}
    choices: dict[int, Json] = {}
    try:
        for event in map(_decode, _data_of(chunks)):
            for name in FRAME:
                if name in event:
                    answer.setdefault(name, event[name])
            if event.get("usage"):
                answer["usage"] = event["usage"]
            for piece in event["choices"]:
                _add(choices.setdefault(piece.get("index", 0), {}), piece)
        answer["object"] = KINDS[kind][0]
        close = _chat_choice if kind is Kind.CHAT else _text_choice
        answer["choices"] = [close(index, choices[index]) for index in sorted(choices)]
    except UNTURNABLE:
        return None
    return _encode(answer)


def _chat_choice(index: int, grown: Json) -> Json:
    said = grown.get("delta", {})
    if "audio" in said:
        raise _ShapeError
    for call in said.get("tool_calls", ()):
        call.pop("index", None)
    message = {"role": "assistant", "content": None, **said}
    if message["content"] == "" and (said.get("tool_calls") or said.get("refusal")):
        message["content"] = None
    return {
        "index": index,
        "message": message,
        "logprobs": grown.get("logprobs"),
        "finish_reason": grown["finish_reason"],
    }


def _text_choice(index: int, grown: Json) -> Json:
    return {
        "index": index,
        "text": grown["text"],
        "logprobs": grown.get("logprobs"),
        "finish_reason": grown["finish_reason"],
    }


def _add(grown: Json, piece: Json) -> None:
    """Grow by one piece: texts and lists end to end, objects member by member, tool calls by their index."""
    for name, value in piece.items():
        if value is None:
            continue
        held = grown.get(name)
        if name == "tool_calls":
            _add_calls(grown.setdefault(name, []), value)
        elif isinstance(value, dict):
            _add(grown.setdefault(name, {}), value)
        elif isinstance(value, list):
            grown[name] = [*(held or ()), *value]
        elif isinstance(value, str) and name not in ONCE and name != "finish_reason":
            grown[name] = (held or "") + value
        elif held is None or name == "finish_reason":
            grown[name] = value


def _add_calls(calls: list[Json], pieces: list[Json]) -> None:
    for piece in pieces:
        place = piece.get("index", len(calls))
        if place > len(calls):
            raise _ShapeError
        if place == len(calls):
            calls.append({})
        function = dict(piece.get("function") or {})
        name = function.pop("name", None)
        _add(calls[place], {**piece, "function": function})
        if name is not None:
            calls[place].setdefault("function", {}).setdefault("name", name)
