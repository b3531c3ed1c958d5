"""`/v1/experiments`: how every experiment stands, for anyone; its ratio, for an operator.

Knows: paths, bodies. Does not know: what is proved by what (`experiments`), who may change anything (`gate`).
"""

from typing import Annotated, Any, Literal, Protocol

import msgspec
from fastapi import Depends, FastAPI, Path, Response
from starlette.requests import Request as WebRequest

from pointsman.edge.gate import Gate
from pointsman.errors import NOT_JSON, RequestError
from pointsman.experiments.controller import Standing
from pointsman.experiments.course import Change
from pointsman.types import Value

JSON = "application/json"
MAX_BODY_BYTES = 4096
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "description": "Either of the two.",
                    "properties": {
                        "ratio": {"type": "number", "minimum": 0, "maximum": 1, "description": "The treatment's share"},
                        "action": {"enum": ["pause", "resume", "rollback"]},
                    },
                }
            }
        },
    }
}


class Order(Value, frozen=True, forbid_unknown_fields=True):
    """What an operator asks for: a ratio or an action."""

    ratio: float | None = None
    action: Literal["pause", "resume", "rollback"] | None = None


class Board(Protocol):
    """Where experiments are read and changed."""

    def standings(self) -> tuple[Standing, ...]: ...
    def order(self, name: str, action: str, ratio: float | None, who: str) -> Change: ...


def add_experiment_routes(shell: FastAPI, board: Board, gate: Gate) -> None:
    """Reading is for anyone who may use the server; changing is behind the gate."""

    async def check(request: WebRequest) -> None:
        gate.check(request.client.host if request.client else "", request.headers)

    @shell.get("/v1/experiments", tags=["operation"], summary="Every experiment: arms, evidence, what was decided")
    async def experiments() -> Response:
        return Response(msgspec.json.encode({"object": "list", "data": board.standings()}), media_type=JSON)

    @shell.post(
        "/v1/experiments/{name}",
        tags=["operation"],
        summary="Set an experiment's ratio, pause, resume or roll it back",
        dependencies=[Depends(check)],
        openapi_extra=BODY,
    )
    async def change(request: WebRequest, name: Annotated[str, Path(description="An experiment's name")]) -> Response:
        order = await _order(request)
        who = request.client.host if request.client else "here"
        done = board.order(name, order.action or "ratio", order.ratio, who)
        return Response(msgspec.json.encode(done), media_type=JSON)


async def _order(request: WebRequest) -> Order:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY_BYTES:
            raise RequestError(f"The body is larger than {MAX_BODY_BYTES} bytes", code="request_too_large")
    try:
        order = msgspec.json.decode(data, type=Order)
    except msgspec.ValidationError as error:
        raise RequestError(f"The body must hold `ratio` or `action`: {error}") from None
    except NOT_JSON as error:
        raise RequestError(f"The body is not JSON: {error}", code="invalid_json") from None
    if (order.ratio is None) == (order.action is None):
        raise RequestError("Give either `ratio`, from 0 to 1, or `action`: pause, resume or rollback")
    return order
