"""The whole site as one ASGI application: hot routes by one look-up, everything else to the FastAPI shell."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Self

import msgspec

from pointsman.clock import Clock
from pointsman.edge.anthropic import Anthropic, countable, token_count
from pointsman.edge.audio import decode_speech, decode_transcription
from pointsman.edge.decode import as_json
from pointsman.edge.dialect import Dialect, in_dialect
from pointsman.edge.doorkeeper import ASKED_AS, OPEN, TENANT
from pointsman.edge.endpoint import Decode, Endpoint, Faults, Register, Rooms, Visit, told
from pointsman.edge.generate import Generate
from pointsman.edge.http import JSON, Message, Receive, Response, Scope, Send, request_id_of
from pointsman.edge.keepalive import KeepAlive
from pointsman.edge.leaving import Leaving
from pointsman.edge.openai import decode_chat, decode_completion, decode_embedding, decode_route
from pointsman.edge.rag import Rag
from pointsman.edge.rag_documents import decode_document
from pointsman.edge.rag_questions import to_chat
from pointsman.edge.responses import Responses
from pointsman.edge.tracing import Begin
from pointsman.redact import Hide, redact
from pointsman.types import Explanation, Kind, Plan, Request, Signals, WhatIf

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

ANSWERED: tuple[tuple[str, Decode, Kind], ...] = (
    ("/v1/chat/completions", decode_chat, Kind.CHAT),
    ("/v1/completions", decode_completion, Kind.COMPLETION),
    ("/v1/embeddings", decode_embedding, Kind.EMBEDDING),
    ("/v1/audio/transcriptions", decode_transcription, Kind.TRANSCRIPTION),
    ("/v1/audio/speech", decode_speech, Kind.SPEECH),
)
DIALECTS: tuple[tuple[str, Dialect], ...] = (
    ("/v1/messages", Anthropic()),
    ("/v1/responses", Responses()),
    ("/v1/generate", Generate()),
)
SPOKEN = frozenset({Kind.CHAT, Kind.COMPLETION})


class Explained(msgspec.Struct, frozen=True):
    """The answer of `/v1/route`: everything `decide` returned."""

    request_id: str
    model: str | None
    signals: Signals
    plan: Plan
    would_change: tuple[WhatIf, ...]

    @classmethod
    def of(cls, request: Request, explanation: Explanation) -> Self:
        plan = explanation.plan
        best = plan.candidates[0].model_id if plan.candidates else None
        return cls(request.id, best, explanation.signals, plan, explanation.would_change)


class Site:
    """Hot paths first; a pure-ASGI front, so that no middleware of the shell is paid for on the hot path."""

    def __init__(
        self,
        hot: Mapping[str, Asgi],
        shell: Asgi,
        rooms: Callable[[], Rooms],
        leaving: Leaving,
        faults: Faults,
        hide: Hide = redact,
    ) -> None:
        self._hot = hot
        self._faults = faults
        self._leaving = leaving
        self._hide = hide
        self._shell = shell
        self._rooms = rooms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._shell(scope, receive, send)
            return
        endpoint = self._hot.get(scope["path"])
        with self._leaving:
            if endpoint is not None:
                await endpoint(scope, receive, send)
            else:
                await self._answer_cold(scope, receive, send)

    async def _answer_cold(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By the shell; what is cut because the server stops is told so, where nothing has been said yet."""
        request_id = request_id_of(scope)
        response = Response(send, request_id, hide=self._hide)

        async def noted(message: Message) -> None:
            response.started = True
            await send(message)

        work = self._ask_shell(scope, receive, _with_id(noted, request_id), request_id)
        await told(work, response, self._leaving, self._faults, request_id)

    async def _ask_shell(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        """GET for HEAD, too: the server sends the head alone. What nobody foresaw the shell raises after its answer."""
        if scope["path"] not in OPEN:
            self._leaving.check()
        owner = self._rooms().door.admit(scope)
        known = {TENANT: owner.name if owner else "", ASKED_AS: request_id}
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._shell({**scope, **known, "method": method}, receive, send)


def _with_id(send: Send, request_id: str) -> Send:
    """The shell's answers, too, say which request they answer."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode("latin-1"))]
        await send(message)

    return tell


def build_site(
    rooms: Callable[[], Rooms],
    shell: Asgi,
    *,
    clock: Clock,
    faults: Faults,
    register: Register,
    rag: Rag | None = None,
    begin: Begin | None = None,
    hide: Hide = redact,
    leaving: Leaving | None = None,
) -> Site:
    """The site: the corridor's endpoints, the dry run, the shell for the rest. `rooms`: those of the tree in force;
    `register`: of who is turned away; `rag`: documents and questions of them; `begin`: the trace a request stands in;
    `hide`: what errors are told through; `leaving`: whether new requests are still taken."""

    async def answer(visit: Visit, request: Request, response: Response) -> None:
        is_spoken = request.stream and request.kind in SPOKEN
        keep_alive = KeepAlive(response, visit.rooms.keep_alive_s) if is_spoken else nullcontext()
        async with keep_alive, visit.answer(request) as reply:
            await response.reply(request, reply)

    async def answer_in(dialect: Dialect, visit: Visit, request: Request, response: Response) -> None:
        keep_alive = KeepAlive(response, visit.rooms.keep_alive_s) if request.stream else nullcontext()
        async with keep_alive, visit.answer(request) as reply:
            await response.reply(request, in_dialect(dialect, request, reply))

    async def count(_: Visit, request: Request, response: Response) -> None:
        await response.whole(200, JSON, token_count(request))

    async def explain(visit: Visit, request: Request, response: Response) -> None:
        explained = Explained.of(request, await visit.explain(request))
        await response.whole(200, JSON, as_json(explained))

    leaving = leaving or Leaving()
    endpoint = partial(
        Endpoint, rooms=rooms, register=register, leaving=leaving, begin=begin, clock=clock, faults=faults, hide=hide
    )
    hot: dict[str, Asgi] = {path: endpoint(decode, answer, kind=kind) for path, decode, kind in ANSWERED}
    hot["/v1/chat/completions"] = endpoint(decode_chat, answer, fetches=True)
    for path, dialect in DIALECTS:
        act = partial(answer_in, dialect)
        hot[path] = endpoint(decode_chat, act, fetches=True, reword=dialect.to_chat, voice=dialect)
    hot["/v1/messages/count_tokens"] = endpoint(decode_chat, count, reword=countable, voice=Anthropic())
    if rag is not None:
        hot["/v1/rag/ingest"] = endpoint(decode_document, rag.ingest)
        hot["/v1/rag/query"] = endpoint(decode_chat, rag.ask, reword=to_chat)
    hot["/v1/route"] = endpoint(decode_route, explain)
    return Site(hot, shell, rooms, leaving, faults, hide)
