"""`/v1/rag/query`: a question, answered from documents that were given before, with its sources.

Knows: the wire shape, how sources are put to a model. Does not know: how they are found, who answers.
Signals see the question and the conversation, not the sources: these must not drown what is asked.
"""

import re
from typing import Any

import msgspec

from pointsman.edge.decode import as_json
from pointsman.edge.dialect import Chat, Choice, Speaker, asked_for
from pointsman.edge.generate import Generate, GenerateBody, Pieces
from pointsman.edge.http import OpenAi
from pointsman.edge.rag_documents import iso_of, unix_of
from pointsman.rag.library import Consulted
from pointsman.signals.tokens import text_tokens
from pointsman.types import JsonPayload, Request, Turn, Usage
from pointsman.types_rag import Found, Query

OWN = "rag"
"""The member of a chat in which a question's own wishes travel as far as the library."""
RULES = (
    "Answer the question from the numbered sources, and name those you used like this: [1]. Where they do not hold the "
    "answer, say so."
)
NOTHING_FOUND = "No source was found."
_CITED = re.compile(r"\[(\d{1,2})\]")


class RagBody(GenerateBody, frozen=True, kw_only=True):
    """A question as `/v1/generate` takes it, and where to look."""

    collection: str = ""
    conversation_id: str = ""
    since: str | float | None = None
    until: str | float | None = None
    top: int | None = None


class Wish(msgspec.Struct, frozen=True):
    """What the library is asked. `context_tokens` None: as the settings say."""

    query: Query
    conversation: str
    context_tokens: int | None


_BODY = msgspec.json.Decoder(RagBody)


def to_chat(body: bytes) -> bytes:
    """The question as a chat, with its wishes in `OWN`. Raises RequestError."""
    chat: dict[str, msgspec.Raw] = msgspec.json.decode(Generate().to_chat(body), type=dict[str, msgspec.Raw])
    asked = _BODY.decode(body)
    query = Query(
        text=asked.query,
        collection=asked.collection,
        since_unix_s=unix_of(asked.since, "since"),
        until_unix_s=unix_of(asked.until, "until"),
        top=asked.top or 0,
    )
    wish = Wish(query=query, conversation=asked.conversation_id, context_tokens=asked.known().get("context_tokens"))
    return msgspec.json.encode(chat | {OWN: wish})


def wish_of(request: Request, top: int) -> Wish:
    """What `to_chat` wrote; `top`: so many passages where the question does not say."""
    wish = msgspec.convert(asked_for(request, OWN), Wish)
    limited = msgspec.structs.replace(wish.query, top=min(wish.query.top, top) or top)
    return msgspec.structs.replace(wish, query=limited)


def instructed(
    request: Request, consulted: Consulted, budget_tokens: int, today: str
) -> tuple[Request, tuple[Found, ...]]:
    """The chat that is really asked, and the sources in it: as many as the budget has room for."""
    found = _within(consulted.found, budget_tokens)
    sources = "\n\n".join(_source(number, one) for number, one in enumerate(found, 1)) or NOTHING_FOUND
    messages: list[dict[str, Any]] = asked_for(request, "messages") or []
    system = "\n".join(one["content"] for one in messages if one["role"] == "system")
    told = [{"role": "system", "content": f"{RULES} Today is {today}.\n{system}\n\n{sources}".strip()}]
    turns: list[Turn] = []
    for exchange in consulted.exchanges:
        turns += (Turn(role="user", text=exchange.question), Turn(role="assistant", text=exchange.answer))
    told += [{"role": turn.role, "content": turn.text} for turn in turns]
    told += [one for one in messages if one["role"] != "system"]
    assert isinstance(request.payload, JsonPayload)  # noqa: S101  # made by `to_chat`; this is for the type checker
    members = tuple(pair for pair in request.payload.members if pair[0] not in {OWN, "messages"})
    return (
        msgspec.structs.replace(
            request,
            payload=JsonPayload(members=(*members, ("messages", as_json(told)))),
            turns=(*turns, *request.turns),
            hints=msgspec.structs.replace(request.hints, context_docs=tuple(one.moment.text for one in found)),
        ),
        found,
    )


def _within(found: tuple[Found, ...], budget_tokens: int) -> tuple[Found, ...]:
    kept, left = [], float(budget_tokens)
    for one in found:
        tokens = text_tokens(one.moment.text)
        if tokens <= left:
            kept.append(one)
            left -= tokens
    return tuple(kept)


def _source(number: int, one: Found) -> str:
    moment, document = one.moment, one.document
    at = "" if moment.start_s is None else f", {_clock(moment.start_s)} to {_clock(moment.end_s or moment.start_s)}"
    title = document.title or document.source or document.id
    return f"[{number}] {title} ({iso_of(document.published_unix_s)[:10]}{at})\n{moment.text}"


def _clock(at_s: float) -> str:
    return f"{int(at_s) // 60}:{int(at_s) % 60:02d}"


class Cited(OpenAi):
    """The dialect of one answer: it knows its sources. `said`: the whole answer, once it has been given."""

    def __init__(self, wish: Wish, consulted: Consulted, found: tuple[Found, ...]) -> None:
        self._wish = wish
        self._query = consulted.query
        self._found = found
        self.said = ""

    def to_chat(self, body: bytes) -> bytes:
        return to_chat(body)

    def whole(self, request: Request, chat: Chat, usage: Usage) -> bytes:
        choice = chat.choice or Choice()
        self.said = choice.message.text if choice.message else ""
        return as_json({"id": request.id, "answer": self.said, **self.end(chat.model, choice.finish_reason, usage)})

    def speaker(self, request: Request) -> Speaker:
        def end(text: str, model: str, finish_reason: str | None, usage: Usage) -> dict[str, Any]:
            self.said = text
            return {"id": request.id, **self.end(model, finish_reason, usage)}

        return Pieces("answer", end)

    def end(self, model: str, finish_reason: str | None, usage: Usage) -> dict[str, Any]:
        """What can be said when the answer is known."""
        query = self._query
        return {
            "sources": self.sources(),
            "conversation_id": self._wish.conversation or None,
            "since": None if query.since_unix_s is None else iso_of(query.since_unix_s),
            "until": None if query.until_unix_s is None else iso_of(query.until_unix_s),
            "model": model,
            "finish_reason": finish_reason,
            "usage": {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
        }

    def sources(self) -> list[dict[str, Any]]:
        cited = {int(number) for number in _CITED.findall(self.said)}
        return [
            {
                "number": number,
                "cited": number in cited,
                "document_id": one.document.id,
                "title": one.document.title,
                "kind": one.document.kind,
                "source": one.document.source,
                "published_at": iso_of(one.document.published_unix_s),
                "text": one.moment.text,
                "start_s": one.moment.start_s,
                "end_s": one.moment.end_s,
                "score": one.score,
            }
            for number, one in enumerate(self._found, 1)
        ]
