"""The hot endpoints: read → decode → act → send, one class for all of them.

Invariants: whatever happens, the caller hears exactly one answer or one error, and nothing of the request outlives it;
who is turned away before the corridor, which writes all other Outcomes, leaves exactly one as well.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self

import msgspec

from pointsman.clock import Clock
from pointsman.edge.doorkeeper import Doorkeeper
from pointsman.edge.http import (
    OPENAI,
    BodyLimits,
    ClientLeft,
    DisconnectWatch,
    Incoming,
    Receive,
    Response,
    Scope,
    Send,
    Voice,
    read,
    request_id_of,
)
from pointsman.edge.leaving import Leaving
from pointsman.edge.tracing import Begin, traced
from pointsman.errors import PointsmanError, RequestError
from pointsman.redact import Hide, redact
from pointsman.settings import KeySettings
from pointsman.types import Explanation, JsonPayload, Kind, Reply, Request


class Faults(Protocol):
    """Where an exception that nobody foresaw is written down."""

    def unforeseen(self, request_id: str, error: Exception) -> None: ...


class Register(Protocol):
    """Where those are written down who never came as far as the corridor."""

    def turned_away(self, request: Request, error: BaseException) -> None: ...


class Corridor(Protocol):
    """The gateway, as the edge sees it."""

    def answer(self, request: Request) -> AbstractAsyncContextManager[Reply]: ...
    async def explain(self, request: Request) -> Explanation: ...


Decode = Callable[[Incoming], Request]
Prepare = Callable[[bytes], Awaitable[bytes]]


class Rooms(Protocol):
    """What follows from one settings tree, as the edge sees it. A request enters one and leaves it when it has ended.

    `media`: fetches the links in a chat's body; None where links stay as they are.
    """

    door: Doorkeeper
    limits: BodyLimits
    keep_alive_s: float
    media: Prepare | None

    @property
    def gateway(self) -> Corridor: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Visit:
    """One request on its way in: what an act sees of the rooms. It is a `Corridor`, which once asked keeps the books.

    Who leaves with an error before leaves its Outcome here; what asks no model and is served leaves none.
    """

    __slots__ = ("_arrived_s", "_is_booked", "_kind", "_register", "owner", "request_id", "rooms")
    rooms: Rooms

    def __init__(self, register: Register, kind: Kind, request_id: str, arrived_s: float) -> None:
        self._register = register
        self._kind = kind
        self.request_id = request_id
        self._arrived_s = arrived_s
        self._is_booked = False
        self.owner: KeySettings | None = None

    def __enter__(self) -> None:
        """It has arrived."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._is_booked:
            return
        nobody_knows = Request(
            id=self.request_id,
            kind=self._kind,
            model="",
            payload=JsonPayload(members=()),
            tenant=self.owner.name if self.owner else "",
            received_s=self._arrived_s,
        )
        has_left = isinstance(error, ClientLeft)
        self._register.turned_away(nobody_knows, asyncio.CancelledError() if has_left else error)

    def answer(self, request: Request) -> AbstractAsyncContextManager[Reply]:
        self._is_booked = True
        return self.rooms.gateway.answer(request)

    async def explain(self, request: Request) -> Explanation:
        return await self.rooms.gateway.explain(request)

    def __repr__(self) -> str:
        return f"Visit({self.request_id}, {'in the corridor' if self._is_booked else 'before it'})"


Act = Callable[[Visit, Request, Response], Awaitable[None]]


class Endpoint:
    """One POST route as a plain ASGI application. `rooms`: those of the tree in force; `register`: of who is turned
    away, as asking for a `kind`; `fetches`: media by their links; `reword`: makes the body of another dialect one that
    `decode` takes; `voice`: how errors are told."""

    def __init__(
        self,
        decode: Decode,
        act: Act,
        *,
        rooms: Callable[[], Rooms],
        register: Register,
        kind: Kind = Kind.CHAT,
        clock: Clock,
        faults: Faults,
        begin: Begin | None = None,
        fetches: bool = False,
        reword: Callable[[bytes], bytes] | None = None,
        voice: Voice = OPENAI,
        hide: Hide = redact,
        leaving: Leaving | None = None,
    ) -> None:
        self._leaving = leaving or Leaving()
        self._hide = hide
        self._reword = reword
        self._voice = voice
        self._rooms = rooms
        self._register = register
        self._kind = kind
        self._fetches = fetches
        self._decode = decode
        self._act = act
        self._clock = clock
        self._faults = faults
        self._begin = begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope)
        response = Response(send, request_id, self._voice, self._hide)
        visit = Visit(self._register, self._kind, request_id, self._clock.now())
        await told(self._visited(visit, scope, receive, response), response, self._leaving, self._faults, request_id)

    async def _visited(self, visit: Visit, scope: Scope, receive: Receive, response: Response) -> None:
        with visit, self._rooms() as rooms:
            self._leaving.check()
            visit.rooms, visit.owner = rooms, rooms.door.admit(scope)
            _require_post(scope)
            incoming = await read(scope, receive, visit.request_id, rooms.limits, self._clock)
            if self._reword is not None:
                incoming = msgspec.structs.replace(incoming, body=self._reword(incoming.body))
            if self._fetches and rooms.media is not None:
                async with DisconnectWatch(receive, response):
                    incoming = msgspec.structs.replace(incoming, body=await rooms.media(incoming.body))
            request = traced(_owned(self._decode(incoming), visit.owner), scope, self._begin)
            async with DisconnectWatch(receive, response):
                await self._act(visit, request, response)


async def told(work: Awaitable[None], response: Response, leaving: Leaving, faults: Faults, request_id: str) -> None:
    """The work done, or the one error that it came to: on every route, hot or cold."""
    try:
        await work
    except ClientLeft:
        return
    except asyncio.CancelledError:
        if not leaving.caught():
            raise
        await response.fail(leaving.refusal())
    except PointsmanError as error:
        await response.fail(error)
    except Exception as error:  # noqa: BLE001  # named place 1 of 3: the edge, where a bug must still become an answer
        faults.unforeseen(request_id, error)
        await response.fail(nobody_foresaw(request_id))


def nobody_foresaw(request_id: str) -> PointsmanError:
    """What a caller hears of a defect; the operator finds where it was in the log (`Faults`)."""
    return PointsmanError(f"An internal error; tell your operator the id {request_id}")


def _owned(request: Request, owner: KeySettings | None) -> Request:
    """The request with its owner's name, and the models that may answer it."""
    if owner is None:
        return request
    limits = msgspec.structs.replace(request.limits, models=owner.models) if owner.models else request.limits
    return msgspec.structs.replace(request, tenant=owner.name, limits=limits)


def _require_post(scope: Scope) -> None:
    if scope["method"] != "POST":
        raise RequestError(f"{scope['path']} takes POST, not {scope['method']}", code="method_not_allowed")
