"""`/v1/generate`: one question, with what the caller knows of it, in words of a chat; the answer as plain text.

Knows: the fields that applications written for a small and a large model send. Does not know: which of them answers.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from pointsman.edge.decode import NO_ROUTING, ROUTING, Routing, invalid, typed
from pointsman.edge.dialect import Chat, Choice, Speaker
from pointsman.edge.http import DONE_EVENT, OpenAi
from pointsman.types import Request, Usage


class GenerateBody(Routing, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What `x-routing` holds elsewhere may stand beside the question here, and then counts more."""

    query: str
    domain: str | None = None
    model: str = "auto"
    max_tokens: int | None = None
    temperature: float | None = None
    stream: bool | None = None
    routing: Routing | None = msgspec.field(default=None, name=ROUTING)

    def known(self) -> dict[str, Any]:
        """The members of the chat's `x-routing`."""
        return _said(self.routing or NO_ROUTING) | _said(self)


def _said(known: Routing) -> dict[str, Any]:
    given = ((name, getattr(known, name)) for name in Routing.__struct_fields__)
    return {name: value for name, value in given if value != getattr(NO_ROUTING, name)}


_BODY = msgspec.json.Decoder(GenerateBody)
ASKED = ("model", "max_tokens", "temperature", "stream")


class Generate(OpenAi):
    """The dialect of `/v1/generate`."""

    def to_chat(self, body: bytes) -> bytes:
        asked = typed(_BODY, body)
        if not asked.query.strip():
            raise invalid("query", "is empty; send the question")
        system = [{"role": "system", "content": f"Domain: {asked.domain}."}] if asked.domain else []
        members: dict[str, Any] = {"messages": [*system, {"role": "user", "content": asked.query}]}
        members.update((name, value) for name in ASKED if (value := getattr(asked, name)) is not None)
        members[ROUTING] = asked.known()
        return msgspec.json.encode(members)

    def whole(self, request: Request, chat: Chat, usage: Usage) -> bytes:
        choice = chat.choice or Choice()
        text = choice.message.text if choice.message else ""
        return msgspec.json.encode(_answer(request, chat.model, usage, choice.finish_reason) | {"response": text})

    def speaker(self, request: Request) -> Speaker:
        return Pieces("response", lambda _, model, finish_reason, usage: _answer(request, model, usage, finish_reason))


class Pieces:
    """A streamed answer: `{NAME: piece}` events, then what `end` makes of (text, model, finish reason, usage)."""

    def __init__(self, name: str, end: Callable[[str, str, str | None, Usage], dict[str, Any]]) -> None:
        self._name = name
        self._end = end
        self._text = ""
        self._model = ""
        self._finish_reason: str | None = None

    def said(self, chunk: Chat) -> bytes:
        self._model = chunk.model or self._model
        choice = chunk.choice or Choice()
        self._finish_reason = choice.finish_reason or self._finish_reason
        text = choice.delta.text if choice.delta else ""
        self._text += text
        return _event({self._name: text}) if text else b""

    def ended(self, usage: Usage) -> bytes:
        return _event(self._end(self._text, self._model, self._finish_reason, usage)) + DONE_EVENT


def _answer(request: Request, model: str, usage: Usage, finish_reason: str | None) -> dict[str, Any]:
    counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    return {"id": request.id, "model": model, "finish_reason": finish_reason, "usage": counts}


def _event(members: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(members) + b"\n\n"
