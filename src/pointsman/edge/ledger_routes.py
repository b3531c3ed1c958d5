"""What happened, over HTTP: statistics, their reset, and what callers say of an answer.

Knows: paths, bodies, who may ask. Does not know: how anything is counted or kept (`Books`).
Statistics are for whoever has a key, with the money of that key alone; the reset is the operator's (`gate`).
"""

from typing import Any, Literal, Protocol

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Response
from starlette.requests import Request as WebRequest

from pointsman.edge.admin_routes import ERRORS
from pointsman.edge.decode import typed
from pointsman.edge.doorkeeper import TENANT
from pointsman.edge.gate import Gate
from pointsman.errors import RequestError

JSON = "application/json"
MAX_BODY_BYTES = 64 * 1024
MAX_ID_CHARS, MAX_COMMENT_CHARS = 256, 4000
TAG = "operation"
FEEDBACK_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["request_id"],
                    "description": "One of `thumbs`, `score` and `correct`, about an answer of your own.",
                    "additionalProperties": False,
                    "properties": {
                        "request_id": {"type": "string", "description": "As the answer's `x-request-id` said."},
                        "thumbs": {"enum": ["up", "down"]},
                        "score": {"type": "number", "minimum": 0, "maximum": 1},
                        "correct": {"type": "boolean"},
                        "comment": {"type": "string", "maxLength": MAX_COMMENT_CHARS, "description": "Kept as it is."},
                    },
                }
            }
        },
    }
}


class FeedbackBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/feedback`."""

    request_id: str
    thumbs: Literal["up", "down"] | None = None
    score: float | None = None
    correct: bool | None = None
    comment: str = ""

    def verdict(self) -> tuple[float, str]:
        """(value in [0, 1], source). Raises RequestError."""
        values = (
            (None if self.thumbs is None else float(self.thumbs == "up"), "thumbs"),
            (self.score, "score"),
            (None if self.correct is None else float(self.correct), "correctness"),
        )
        given = [(value, source) for value, source in values if value is not None]
        if len(given) != 1:
            raise RequestError("Say one of `thumbs` (up, down), `score` (0 to 1) and `correct` (true, false)")
        if not 0 <= given[0][0] <= 1:
            raise RequestError(f"score: must be from 0 to 1, not {self.score:g}", param="score")
        if not 0 < len(self.request_id) <= MAX_ID_CHARS or len(self.comment) > MAX_COMMENT_CHARS:
            raise RequestError(f"request_id has 1 to {MAX_ID_CHARS} characters, comment up to {MAX_COMMENT_CHARS}")
        return given[0]


class Books(Protocol):
    """What an operator and a caller can read and say. `tenant`: the key's name, "" where none is asked for."""

    def routing_statistics(self, tenant: str) -> bytes: ...
    def reset_statistics(self, who: str) -> None: ...
    async def feedback(self, request_id: str, value: float, source: str, comment: str, tenant: str) -> str: ...


def add_ledger_routes(shell: FastAPI, books: Books, gate: Gate) -> None:
    """Three routes."""
    router = APIRouter(tags=[TAG], responses=ERRORS)

    async def guard(request: WebRequest) -> None:
        gate.check(_who(request), request.headers)

    @router.get("/v1/model-routing/stats", summary="Shares, latencies, feedback, money, with 95 % intervals")
    async def stats(request: WebRequest) -> Response:
        return Response(books.routing_statistics(_tenant(request)), media_type=JSON)

    @router.post("/v1/model-routing/reset", summary="Begin the statistics anew", dependencies=[Depends(guard)])
    async def reset(request: WebRequest) -> Response:
        books.reset_statistics(_who(request))
        return _json({"status": "reset"})

    @router.post("/v1/feedback", summary="Say how good an answer was", openapi_extra=FEEDBACK_BODY)
    async def feedback(request: WebRequest) -> Response:
        body = typed(msgspec.json.Decoder(FeedbackBody), await _body(request))
        value, source = body.verdict()
        taken = await books.feedback(body.request_id, value, source, body.comment, _tenant(request))
        return _json({"request_id": body.request_id, "status": taken, "value": value, "source": source})

    shell.include_router(router)


async def _body(request: WebRequest) -> bytes:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY_BYTES:
            raise RequestError(f"The body is larger than {MAX_BODY_BYTES} bytes", code="request_too_large")
    return bytes(data)


def _tenant(request: WebRequest) -> str:
    """Whose key let it in."""
    tenant: str = request.scope.get(TENANT, "")
    return tenant


def _who(request: WebRequest) -> str:
    return request.client.host if request.client else ""


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type=JSON)
