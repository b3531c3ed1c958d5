"""The hot endpoints: read → decode → the corridor → send, one class for all of them.

Invariant: whatever happens, the caller hears exactly one answer or one error, and nothing of the request outlives it.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pointsman.clock import Clock
from pointsman.edge.http import (
    BodyLimits,
    ClientLeft,
    DisconnectWatch,
    Incoming,
    Receive,
    Response,
    Scope,
    Send,
    read,
    request_id_of,
)
from pointsman.errors import PointsmanError, RequestError
from pointsman.types import Reply, Request


class Corridor(Protocol):
    """The gateway, as the edge sees it."""

    def answer(self, request: Request) -> AbstractAsyncContextManager[Reply]: ...


class Faults(Protocol):
    """Where an exception that nobody foresaw is written down."""

    def unforeseen(self, request_id: str, error: Exception) -> None: ...


def _require_post(scope: Scope) -> None:
    if scope["method"] != "POST":
        raise RequestError(f"{scope['path']} takes POST, not {scope['method']}", code="method_not_allowed")


Decode = Callable[[Incoming], Request]


class Endpoint:
    """One POST route as a plain ASGI application."""

    def __init__(self, corridor: Corridor, decode: Decode, limits: BodyLimits, clock: Clock, faults: Faults) -> None:
        self._corridor = corridor
        self._decode = decode
        self._limits = limits
        self._clock = clock
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope)
        response = Response(send, request_id)
        try:
            _require_post(scope)
            incoming = await read(scope, receive, request_id, self._limits, self._clock)
            request = self._decode(incoming)
            async with DisconnectWatch(receive, response), self._corridor.answer(request) as reply:
                await response.reply(request, reply)
        except ClientLeft:
            return
        except PointsmanError as error:
            await response.fail(error)
        except Exception as error:  # noqa: BLE001  # named place 1 of 3: the edge, where a bug must still become an answer
            self._faults.unforeseen(request_id, error)
            await response.fail(PointsmanError(f"An internal error; tell your operator the id {request_id}"))
