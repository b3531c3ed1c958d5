"""Documents in, what answers a question out: the shelf, with an encoder beside it where the machine has one.

Knows: in which order things are looked up. Does not know: how a picture or a sound became text, who answers.
Without an encoder passages are found by their words alone.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.rag.when import span_of
from pointsman.types import Value
from pointsman.types_rag import Document, Embedder, Exchange, Found, Moment, Query


class Shelf(Protocol):
    """Where documents stand."""

    async def keep(
        self, tenant: str, document: Document, moments: Sequence[Moment], vectors: Sequence[bytes] | None
    ) -> Document: ...
    async def find(self, tenant: str, query: Query, vector: bytes | None) -> tuple[Found, ...]: ...
    async def exchanges(self, tenant: str, conversation: str) -> tuple[Exchange, ...]: ...
    async def remember(self, tenant: str, conversation: str, exchange: Exchange, at_unix_s: float) -> None: ...


class Consulted(Value, frozen=True):
    """What there is to answer a question from. `query`: with the times that the question spoke of."""

    query: Query
    found: tuple[Found, ...]
    exchanges: tuple[Exchange, ...]


class Library:
    """`clock` dates what comes in without a date, and is what "last week" counts from."""

    def __init__(self, shelf: Shelf, embedder: Embedder, clock: Clock) -> None:
        self._shelf = shelf
        self._embedder = embedder
        self._clock = clock

    async def keep(self, tenant: str, document: Document, moments: Sequence[Moment]) -> Document:
        """As it is kept now. Raises Refused where there is no room."""
        vectors = await self._embedder.passages(tuple(moment.text for moment in moments))
        now_s = self._clock.unix()
        dated = replace(document, published_unix_s=document.published_unix_s or now_s, added_unix_s=now_s)
        return await self._shelf.keep(tenant, dated, moments, vectors)

    async def consult(self, tenant: str, query: Query, conversation: str) -> Consulted:
        """1 what was said before  2 the times that the question speaks of, where none are given  3 what may answer;
        a question that goes on from another is looked for together with it."""
        exchanges = await self._shelf.exchanges(tenant, conversation) if conversation else ()  # 1
        query = self._dated(query)  # 2
        text = f"{exchanges[-1].question}\n{query.text}" if exchanges else query.text
        vector = await self._embedder.query(text)  # 3
        found = await self._shelf.find(tenant, replace(query, text=text), vector)
        return Consulted(query=query, found=found, exchanges=exchanges)

    async def remember(self, tenant: str, conversation: str, exchange: Exchange) -> None:
        await self._shelf.remember(tenant, conversation, exchange, self._clock.unix())

    def _dated(self, query: Query) -> Query:
        span = span_of(query.text, datetime.fromtimestamp(self._clock.unix(), UTC).date())
        is_given = query.since_unix_s is not None or query.until_unix_s is not None
        return replace(
            query,
            since_unix_s=query.since_unix_s if is_given else span.since_unix_s,
            until_unix_s=query.until_unix_s if is_given else span.until_unix_s,
            newest_first=query.newest_first or span.newest_first,
        )

    def __repr__(self) -> str:
        return f"Library({self._shelf!r})"
