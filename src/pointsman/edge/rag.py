"""What can be asked of the library: documents in and out, and questions answered from them.

Knows: the order of things for one question. Does not know: how anything is found or answered.
"""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import APIRouter, FastAPI, Query, Response
from starlette.requests import Request as WebRequest

from pointsman.clock import Clock
from pointsman.edge.decode import as_json
from pointsman.edge.dialect import in_dialect
from pointsman.edge.doorkeeper import TENANT
from pointsman.edge.endpoint import Visit
from pointsman.edge.http import JSON
from pointsman.edge.http import Response as Out
from pointsman.edge.keepalive import KeepAlive
from pointsman.edge.rag_documents import iso_of, read_document
from pointsman.edge.rag_questions import Cited, instructed, wish_of
from pointsman.errors import RequestError
from pointsman.rag.library import Library
from pointsman.settings import RagSettings
from pointsman.types import Request
from pointsman.types_rag import Document, Exchange


class Shelf(Protocol):
    """Where documents stand, as far as they are listed and taken away."""

    async def documents(self, tenant: str, collection: str) -> tuple[Document, ...]: ...
    async def forget(self, tenant: str, collection: str, document_id: str) -> None: ...


class Rag:
    """`settings` gives those in force."""

    def __init__(self, library: Library, shelf: Shelf, settings: Callable[[], RagSettings], clock: Clock) -> None:
        self.shelf = shelf
        self._library = library
        self._settings = settings
        self._clock = clock

    async def ingest(self, visit: Visit, request: Request, response: Out) -> None:
        """Read it, keep it, tell what was kept."""
        self.check()
        document, moments = await read_document(request, visit)
        kept = await self._library.keep(request.tenant, document, moments)
        await response.whole(200, JSON, as_json(row_of(kept)))

    async def ask(self, visit: Visit, request: Request, response: Out) -> None:
        """1 what there is to answer from  2 the answer  3 what a conversation remembers: only a whole answer."""
        settings = self.check()
        wish = wish_of(request, settings.top)
        keep_alive = KeepAlive(response, visit.rooms.keep_alive_s) if request.stream else nullcontext()
        async with keep_alive:
            consulted = await self._library.consult(request.tenant, wish.query, wish.conversation)  # 1
            budget_tokens = wish.context_tokens or settings.context_tokens
            today = datetime.fromtimestamp(self._clock.unix(), UTC).date().isoformat()
            chat, found = instructed(request, consulted, budget_tokens, today)
            cited = Cited(wish, consulted, found)
            async with visit.answer(chat) as reply:  # 2
                await response.reply(chat, in_dialect(cited, chat, reply))
        if wish.conversation and settings.remember:  # 3
            exchange = Exchange(question=wish.query.text, answer=cited.said)
            await self._library.remember(request.tenant, wish.conversation, exchange)

    def check(self) -> RagSettings:
        """The settings. Raises RequestError where the operator wants none of it."""
        settings = self._settings()
        if not settings.enabled:
            raise RequestError("Documents are not kept here; set rag.enabled: true", code="not_found")
        return settings


def row_of(document: Document) -> dict[str, Any]:
    """A document as callers see it."""
    row: dict[str, Any] = msgspec.to_builtins(document)
    published_s, added_s = row.pop("published_unix_s"), row.pop("added_unix_s")
    return {"object": "rag.document", **row, "published_at": iso_of(published_s), "added_at": iso_of(added_s)}


def add_rag_routes(shell: FastAPI, rag: Rag) -> None:
    """Looking through and taking away."""
    router = APIRouter(tags=["rag"])

    @router.get("/v1/rag/documents", summary="The documents of a collection, the newest first")
    async def documents(
        web: WebRequest, collection: Annotated[str, Query(description="Empty: what was given none.")] = ""
    ) -> Response:
        rag.check()
        found = await rag.shelf.documents(web.scope.get(TENANT, ""), collection)
        return Response(
            as_json({"object": "list", "data": [row_of(one) for one in found]}), media_type="application/json"
        )

    @router.delete("/v1/rag/documents/{document_id}", summary="Take a document away, with all its passages")
    async def forget(
        web: WebRequest, document_id: str, collection: Annotated[str, Query(description="Its collection.")] = ""
    ) -> Response:
        rag.check()
        await rag.shelf.forget(web.scope.get(TENANT, ""), collection, document_id)
        return Response(as_json({"id": document_id, "deleted": True}), media_type="application/json")

    shell.include_router(router)
