"""Other ways to speak of a chat: between a foreign endpoint and the corridor, which knows only chats.

Knows: that a dialect's request is a chat in other words, and so is its answer. Does not know: any dialect.
Invariant: signals, cache, dispatch and ledger see a chat; what a dialect cannot say is left out, never invented.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import msgspec

from pointsman.edge.http import Voice
from pointsman.errors import NOT_JSON, UpstreamError
from pointsman.types import JsonPayload, Reply, Request, Usage


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    """Of a stream: a piece; pieces of one call share their `index`."""

    function: Function
    id: str | None = None
    index: int = 0


class Said(msgspec.Struct):
    """What a chat's message, or a piece of one, says."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        return self.content or self.refusal or ""


class Choice(msgspec.Struct):
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class Chat(msgspec.Struct):
    """A chat completion, or one chunk of it."""

    model: str = ""
    created: int = 0
    choices: list[Choice] | None = None

    @property
    def choice(self) -> Choice | None:
        return self.choices[0] if self.choices else None


class Speaker(Protocol):
    """One stream in a dialect: chunks in, events out."""

    def said(self, chunk: Chat) -> bytes: ...
    def ended(self, usage: Usage) -> bytes: ...


class Dialect(Voice, Protocol):
    """`to_chat` raises RequestError in the dialect's own field names. `request` is the chat it became."""

    def to_chat(self, body: bytes) -> bytes: ...
    def whole(self, request: Request, chat: Chat, usage: Usage) -> bytes: ...
    def speaker(self, request: Request) -> Speaker: ...


_decode = msgspec.json.Decoder(Chat).decode


def in_dialect(dialect: Dialect, request: Request, reply: Reply) -> Reply:
    """A chat's reply in other words. Raises UpstreamError where it is no chat."""
    if reply.events is not None:
        events = _spoken(reply, reply.events, dialect.speaker(request))
        return msgspec.structs.replace(reply, events=events, usage=None)
    return msgspec.structs.replace(reply, body=dialect.whole(request, _chat(reply.body), _usage(reply)))


async def _spoken(reply: Reply, events: AsyncIterator[bytes], speaker: Speaker) -> AsyncIterator[bytes]:
    async for chunk in events:
        if out := b"".join(speaker.said(chat) for chat in _chats(chunk)):
            yield out
    yield speaker.ended(_usage(reply))


def _usage(reply: Reply) -> Usage:
    """As the books have it: reported, else estimated."""
    return reply.usage() if reply.usage else Usage()


def _chats(chunk: bytes) -> Iterator[Chat]:
    """The chunks in whole events; what is no JSON (`[DONE]`, comments) is none."""
    for line in chunk.split(b"\n"):
        if line.startswith(b"data:") and (data := line[5:].lstrip()).startswith(b"{"):
            yield _chat(data)


def _chat(data: bytes) -> Chat:
    try:
        return _decode(data)
    except NOT_JSON as error:
        raise UpstreamError(f"The answer is no chat completion: {error}", code="upstream_protocol") from None


def asked_for(request: Request, name: str) -> Any:  # whatever JSON the caller wrote
    """A member of the chat that a dialect's request became; None where it has none."""
    raw = request.payload.get(name) if isinstance(request.payload, JsonPayload) else None
    return None if raw is None else msgspec.json.decode(raw)


def event(name: str, members: dict[str, Any]) -> bytes:
    """One server-sent event that is named by its `type`, as both big dialects do it."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode({"type": name, **members}))
