"""OpenAI's JSON endpoints → Request: chat completions, completions, embeddings, and the dry run of a route.

Knows: the wire shapes. Does not know: who will answer. `messages` are read for the signals and never written again.
"""

from collections.abc import Iterator

import msgspec

from pointsman.edge.context import fitted
from pointsman.edge.decode import NO_ROUTING, ROUTING, Routing, invalid, members_of, typed
from pointsman.edge.http import Incoming
from pointsman.errors import RequestError
from pointsman.types import JsonPayload, Kind, Media, Modality, Request, Turn


class MediaUrl(msgspec.Struct):
    url: str = ""


class MediaData(msgspec.Struct):
    data: str = ""
    format: str = ""


class FilePart(msgspec.Struct):
    file_data: str = ""
    filename: str = ""


class ContentPart(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: MediaUrl | str | None = None
    video_url: MediaUrl | str | None = None
    audio_url: MediaUrl | str | None = None
    input_audio: MediaData | None = None
    input_video: MediaData | None = None
    file: FilePart | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[ContentPart] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct, kw_only=True):
    model: str = "auto"
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[msgspec.Raw] | None = None
    modalities: list[Modality] | None = None
    routing: Routing | None = msgspec.field(default=None, name=ROUTING)


class ChatBody(_Body, kw_only=True):
    messages: list[Message]


class CompletionBody(_Body, kw_only=True):
    prompt: str | list[str | int | list[int]]


class EmbeddingBody(_Body, kw_only=True):
    input: str | list[str | int | list[int]]


class RouteBody(_Body, kw_only=True):
    messages: list[Message] | None = None
    query: str | None = None
    prompt: str | None = None
    endpoint: Kind = Kind.CHAT


_CHAT = msgspec.json.Decoder(ChatBody)
_COMPLETION = msgspec.json.Decoder(CompletionBody)
_EMBEDDING = msgspec.json.Decoder(EmbeddingBody)
_ROUTE = msgspec.json.Decoder(RouteBody)


def decode_chat(incoming: Incoming) -> Request:
    payload = members_of(incoming)
    body = typed(_CHAT, incoming.body)
    if not body.messages:
        raise invalid("messages", "is empty; send at least one message")
    return _request(
        incoming, Kind.CHAT, body, payload=payload, turns=turns_of(body.messages), media=media_of(body.messages)
    )


def decode_completion(incoming: Incoming) -> Request:
    payload = members_of(incoming)
    body = typed(_COMPLETION, incoming.body)
    return _request(
        incoming, Kind.COMPLETION, body, payload=payload, turns=(Turn(role="user", text=_text(body.prompt)),)
    )


def decode_embedding(incoming: Incoming) -> Request:
    payload = members_of(incoming)
    body = typed(_EMBEDDING, incoming.body)
    return _request(incoming, Kind.EMBEDDING, body, payload=payload, turns=(Turn(role="user", text=_text(body.input)),))


def decode_route(incoming: Incoming) -> Request:
    """A request that is only to be explained: a chat body, or just `query`."""
    payload = members_of(incoming)
    body = typed(_ROUTE, incoming.body)
    text = body.query if body.query is not None else body.prompt
    if (text is None) == (body.messages is None):
        raise RequestError("query: send either `messages` or `query`", code="missing_field", param="query")
    messages = body.messages if body.messages is not None else [Message(role="user", content=text)]
    if not messages:
        raise invalid("messages", "is empty; send at least one message")
    return _request(incoming, body.endpoint, body, payload=payload, turns=turns_of(messages), media=media_of(messages))


def _request(
    incoming: Incoming,
    kind: Kind,
    body: _Body,
    *,
    payload: JsonPayload,
    turns: tuple[Turn, ...],
    media: tuple[Media, ...] = (),
) -> Request:
    max_tokens = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    if max_tokens is not None and max_tokens < 1:
        raise invalid("max_tokens", f"must be 1 or more, not {max_tokens}")
    if not body.model:
        raise invalid("model", 'is empty; name a model, or "auto"')
    routing, context = body.routing or NO_ROUTING, None
    hints = routing.hints()
    if hints.context_docs and kind in {Kind.CHAT, Kind.COMPLETION}:
        payload, kept, context = fitted(payload, turns, hints.context_docs, routing.context_tokens)
        hints = msgspec.structs.replace(hints, context_docs=kept)
    return Request(
        id=incoming.request_id,
        kind=kind,
        model=body.model,
        payload=payload,
        turns=turns,
        media=media,
        outputs=tuple(body.modalities) if body.modalities else (Modality.TEXT,),
        stream=bool(body.stream),
        has_tools=bool(body.tools),
        wants_usage=bool(body.stream_options and body.stream_options.include_usage),
        hints=hints,
        limits=routing.limits(max_tokens, bool(body.tools), incoming.cache_control),
        received_s=incoming.received_s,
        context=context,
    )


def _text(prompt: str | list[str | int | list[int]]) -> str:
    """The words of a prompt; token ids have none."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(item for item in prompt if isinstance(item, str))


def turns_of(messages: list[Message]) -> tuple[Turn, ...]:
    return tuple(Turn(role=message.role, text=_words(message.content)) for message in messages)


def _words(content: str | list[ContentPart] | None) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content or () if part.text)


def media_of(messages: list[Message]) -> tuple[Media, ...]:
    return tuple(
        medium
        for index, message in enumerate(messages)
        if isinstance(message.content, list)
        for position, part in enumerate(message.content)
        for medium in _attached_to(part, f"messages[{index}].content[{position}]")
    )


def _attached_to(part: ContentPart, where: str) -> Iterator[Media]:
    """The attachment of one content part, if it has one. Raises RequestError where its URL is none."""
    for name, kind in (("image_url", Modality.IMAGE), ("video_url", Modality.VIDEO), ("audio_url", Modality.AUDIO)):
        given = getattr(part, name)
        if part.type == name and given is None:
            raise RequestError(f"{where}.{name}: is missing; add it", code="missing_field", param=f"{where}.{name}")
        if given is not None:
            yield _linked(given if isinstance(given, str) else given.url, kind, f"{where}.{name}")
    if part.input_audio is not None:
        audio = part.input_audio
        yield Media(kind=Modality.AUDIO, mime=f"audio/{audio.format}", size_bytes=len(audio.data) * 3 // 4)
    if part.input_video is not None:
        video = part.input_video
        yield Media(kind=Modality.VIDEO, mime=f"video/{video.format}", size_bytes=len(video.data) * 3 // 4)
    if part.file is not None and part.file.file_data:
        yield _linked(
            part.file.file_data, _kind_of_data(part.file.file_data), f"{where}.file.file_data", part.file.filename
        )


def _linked(url: str, kind: Modality, where: str, filename: str = "") -> Media:
    if url.startswith("data:"):
        return Media(
            kind=kind,
            mime=url[5:80].partition(";")[0].partition(",")[0],
            size_bytes=len(url) * 3 // 4,
            filename=filename,
        )
    if url.startswith(("http://", "https://")):
        return Media(kind=kind, is_remote=True, filename=filename)
    raise invalid(where, "must be a data: URI with base64, or an http(s) URL", code="invalid_media")


def _kind_of_data(url: str) -> Modality:
    for kind in (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO):
        if url.startswith(f"data:{kind}/"):
            return kind
    return Modality.TEXT
