"""OpenAI's chat shapes, as far as a model needs them that reads attachments: their bytes out of the messages, its words
back as one assistant's message, whole or streamed.

Knows: message parts, `data:` URIs, completion objects. Does not know: what is in an attachment. Nothing is ever
downloaded: a link is refused, for fetching callers' URLs would let them reach into the operator's network.
"""

import base64
import binascii
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from urllib.parse import unquote_to_bytes

import msgspec

from pointsman.backends.worker.server import EVENTS, JSON, Answer, Stop
from pointsman.backends.worker.wire import DONE, event, invalid
from pointsman.types import Modality, Value

MAX_ATTACHMENTS = 16
CHARS_PER_TOKEN = 4


class _Link(msgspec.Struct, frozen=True):
    url: str = ""


class _Inline(msgspec.Struct, frozen=True):
    data: str = ""
    format: str = ""


class _File(msgspec.Struct, frozen=True):
    file_data: str = ""
    filename: str = ""


class Part(msgspec.Struct, frozen=True):
    """One part of a message. What a type does not use stays empty."""

    type: str = ""
    text: str = ""
    image_url: _Link | str | None = None
    video_url: _Link | str | None = None
    audio_url: _Link | str | None = None
    input_audio: _Inline | None = None
    input_video: _Inline | None = None
    file: _File | None = None


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class ChatBody(msgspec.Struct, frozen=True):
    """The members that matter here; sampling parameters mean nothing to a reader."""

    messages: list[Message]
    stream: bool = False
    stream_options: StreamOptions | None = None
    language: str | None = None


class Attachment(Value, frozen=True):
    """Bytes out of a message. `param` is the path of the member that held them; `kind` is what the part says it is."""

    kind: Modality
    data: bytes
    param: str
    mime: str = ""


def question(body: ChatBody) -> str:
    """The text of the last user message."""
    users = [message for message in body.messages if message.role == "user"]
    if not users:
        return ""
    content = users[-1].content
    if isinstance(content, list):
        return "\n".join(part.text for part in content if part.text).strip()
    return (content or "").strip()


def attachments(body: ChatBody) -> tuple[Attachment, ...]:
    """What is attached to the last user message that has attachments: chat clients send the old ones again.

    Raises RequestError `invalid_media` naming the member.
    """
    for index in range(len(body.messages) - 1, -1, -1):
        content = body.messages[index].content
        if not isinstance(content, list):
            continue
        found = [
            _attachment(part, f"messages[{index}].content[{position}]")
            for position, part in enumerate(content)
            if part.type not in {"text", "input_text", ""}
        ]
        if len(found) > MAX_ATTACHMENTS:
            raise invalid(f"messages[{index}].content", f"has {len(found)} attachments; send {MAX_ATTACHMENTS} at most")
        if found:
            return tuple(found)
    return ()


def _attachment(part: Part, where: str) -> Attachment:
    for kind, name, link in (
        (Modality.IMAGE, "image_url", part.image_url),
        (Modality.VIDEO, "video_url", part.video_url),
        (Modality.AUDIO, "audio_url", part.audio_url),
    ):
        if link is not None:
            bare = isinstance(link, str)
            return _from_uri(
                kind, link if isinstance(link, str) else link.url, f"{where}.{name}{'' if bare else '.url'}"
            )
    for kind, name, inline in (
        (Modality.AUDIO, "input_audio", part.input_audio),
        (Modality.VIDEO, "input_video", part.input_video),
    ):
        if inline is not None:
            return _from_text(kind, inline.data, f"{where}.{name}.data")
    if part.file is not None:
        if not part.file.file_data:
            raise invalid(f"{where}.file", "has no `file_data`; uploaded file ids are not kept here", "invalid_media")
        return _from_text(Modality.IMAGE, part.file.file_data, f"{where}.file.file_data")
    raise invalid(f"{where}.type", f"`{part.type}` is not read; send image_url, video_url, input_audio or file")


def _from_text(kind: Modality, text: str, param: str) -> Attachment:
    if text.startswith("data:"):
        return _from_uri(kind, text, param)
    return Attachment(kind=kind, data=_decode(text, param), param=param)


def _from_uri(kind: Modality, uri: str, param: str) -> Attachment:
    if not uri.startswith("data:"):
        scheme = uri.partition(":")[0][:16]
        raise invalid(param, f"is a link ({scheme}:…), which is never fetched; send a data: URI", "invalid_media")
    head, comma, payload = uri[5:].partition(",")
    mime = head.partition(";")[0].strip().lower()
    if not comma:
        raise invalid(param, "is a data: URI without a comma; send data:TYPE;base64,DATA", "invalid_media")
    data = _decode(payload, param) if head.endswith(";base64") else unquote_to_bytes(payload)
    for named in (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO):
        kind = named if mime.startswith(f"{named}/") else kind
    return Attachment(kind=kind, data=data, param=param, mime=mime)


def _decode(text: str, param: str) -> bytes:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(
            param, "is not base64; encode the file's bytes with the standard alphabet", "invalid_media"
        ) from None
    if not data:
        raise invalid(param, "is empty; attach a file", "invalid_media")
    return data


# ---------------------------------------------------------------- the way back


class Usage(msgspec.Struct, frozen=True):
    """Estimated: four characters a token, for a reader has no tokenizer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Said(msgspec.Struct, frozen=True, omit_defaults=True):
    role: str | None = None
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Said
    index: int = 0
    finish_reason: str = "stop"
    logprobs: None = None


class _DeltaChoice(msgspec.Struct, frozen=True):
    delta: _Said
    index: int = 0
    finish_reason: str | None = None


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str
    created: int
    model: str
    made_by: str = msgspec.field(name="x-made-by")


class _Completion(_Head, frozen=True, kw_only=True):
    choices: list[_Choice]
    usage: Usage


class _Chunk(_Head, frozen=True, kw_only=True, omit_defaults=True):
    choices: list[_DeltaChoice]
    usage: Usage | None = None


class Teller:
    """Turns pieces of text into one chat answer. `made_by` says how the words were made."""

    def __init__(self, model_id: str, made_by: str) -> None:
        self._model_id = model_id
        self._made_by = made_by

    def answer(self, body: ChatBody, pieces: Callable[[Stop], Iterator[str]]) -> Answer:
        """The answer to one request. `pieces` works in a thread; joined, its pieces are the assistant's message."""
        asked_chars = sum(len(part) for part in _texts(body))
        wants_usage = body.stream_options is not None and body.stream_options.include_usage

        def whole(stop: Stop) -> Generator[bytes, None, None]:
            text = "".join(pieces(stop))
            said = [_Choice(message=_Said(role="assistant", content=text))]
            yield msgspec.json.encode(
                _Completion(
                    id=_new_id(),
                    object="chat.completion",
                    created=int(time.time()),
                    model=self._model_id,
                    made_by=self._made_by,
                    choices=said,
                    usage=_usage(asked_chars, len(text)),
                )
            )

        def events(stop: Stop) -> Generator[bytes, None, None]:
            chunk, said_chars = self._chunks(), 0
            for piece in pieces(stop):
                role = None if said_chars else "assistant"
                said_chars += len(piece)
                yield event(chunk(_DeltaChoice(delta=_Said(role=role, content=piece))))
            yield event(chunk(_DeltaChoice(delta=_Said(), finish_reason="stop")))
            if wants_usage:
                yield event(chunk(None, _usage(asked_chars, said_chars)))
            yield DONE

        if body.stream:
            return Answer(content_type=EVENTS, chunks=events, is_stream=True)
        return Answer(content_type=JSON, chunks=whole)

    def _chunks(self) -> "Callable[..., _Chunk]":
        reply_id, created = _new_id(), int(time.time())

        def chunk(choice: _DeltaChoice | None, usage: Usage | None = None) -> _Chunk:
            return _Chunk(
                id=reply_id,
                object="chat.completion.chunk",
                created=created,
                model=self._model_id,
                made_by=self._made_by,
                choices=[choice] if choice else [],
                usage=usage,
            )

        return chunk


def _texts(body: ChatBody) -> Iterator[str]:
    for message in body.messages:
        if isinstance(message.content, str):
            yield message.content
        for part in message.content if isinstance(message.content, list) else ():
            yield part.text


def _usage(asked_chars: int, said_chars: int) -> Usage:
    asked, said = -(-asked_chars // CHARS_PER_TOKEN), -(-said_chars // CHARS_PER_TOKEN)
    return Usage(prompt_tokens=asked, completion_tokens=said, total_tokens=asked + said)


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"
