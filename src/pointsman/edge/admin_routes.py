"""`/models` and `/aliases`: the fleet in an operator's hands, over HTTP.

Knows: paths, parameters, status codes. Does not know: what any of it does (`admin`), who may (`gate`).
A change answers 200 when it is done, 202 where it is still under way after `wait_s`: then it goes on, as `GET /models`
shows.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Path, Query, Response
from starlette.requests import Request as WebRequest

from pointsman.edge.admin import STATES, Action, Admin, AliasRow, Answer, ModelRow
from pointsman.edge.gate import Gate
from pointsman.errors import NOT_JSON, RequestError
from pointsman.types import Value

JSON = "application/json"
MAX_BODY_BYTES = 64 * 1024
ALIAS = r"^[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._:-]*)*$"
TAG = "fleet"
WAIT = Query(ge=0, le=3600, description="Wait so long for it to be done; then answer 202, and it goes on.")
Name = Annotated[str, Path(description="A model's id, an alias of it, or the id of one of its deployments")]
Wait = Annotated[float, WAIT]
DEFAULT_WAIT_S = 30.0
SUMMARIES = {
    Action.LOAD: "Load a model now; idle ones may have to leave memory for it",
    Action.UNLOAD: "Stop a model when the requests it is answering are done; a later request loads it again",
    Action.SLEEP: "Put a model to sleep when the requests it is answering are done, where its engine can",
    Action.WAKE: "Wake a model, or load it where it is cold",
}
ERROR: dict[str, Any] = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request must change, or is not allowed"} | ERROR,
    "5XX": {"description": "It failed; the error says why"} | ERROR,
}
LATER: dict[int | str, dict[str, Any]] = {202: {"description": "Still under way; it goes on"}}
ALIAS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["model"],
                    "properties": {"model": {"type": "string", "description": "What the alias is to mean."}},
                }
            }
        },
    }
}


BREAKER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["state"],
                    "properties": {"state": {"enum": list(STATES), "description": "`auto`: it sees for itself."}},
                }
            }
        },
    }
}
B = TypeVar("B")


class AliasBody(Value, frozen=True, forbid_unknown_fields=True):
    model: str


class BreakerBody(Value, frozen=True, forbid_unknown_fields=True):
    state: str


def add_admin_routes(shell: FastAPI, admin: Admin) -> None:
    """All of them behind the gate."""
    router = APIRouter(tags=[TAG], dependencies=[_guard(admin.gate)], responses=ERRORS)
    _add_reading(router, admin)
    for action, summary in SUMMARIES.items():
        _add_change(router, admin, action, summary)
    _add_breakers(router, admin)
    _add_aliases(router, admin)
    shell.include_router(router)


def _guard(gate: Gate) -> Any:  # FastAPI's own marker
    async def check(request: WebRequest) -> None:
        client = request.client.host if request.client else ""
        gate.check(client, request.headers)

    return Depends(check)


def _add_reading(router: APIRouter, admin: Admin) -> None:
    @router.get("/models", summary="Every deployment: tier, state, slots, queue, memory, ages, last error")
    async def models() -> Response:
        found = await admin.models()
        fleet = found.fleet
        memory = {"budget_bytes": fleet.budget_bytes, "used_bytes": fleet.used_bytes, "gpus": fleet.gpus}
        return _json({"object": "list", "data": [_row(row) for row in found.rows], "memory": memory})

    @router.get("/models/{name}", summary="One model's deployments")
    async def model(name: Name) -> Response:
        return _json({"object": "list", "data": [_row(row) for row in await admin.model(name)]})

    @router.get("/models/{name:path}/logs", summary="The last lines its child wrote, without secrets; plain text")
    async def logs(
        name: Name,
        lines: Annotated[int, Query(ge=1, le=10_000)] = 100,
        previous: Annotated[bool, Query(description="Of the child before this one.")] = False,
    ) -> Response:
        return Response(await admin.log(name, lines, previous=previous), media_type="text/plain; charset=utf-8")


def _add_change(router: APIRouter, admin: Admin, action: Action, summary: str) -> None:
    @router.post(f"/models/{{name:path}}/{action}", summary=summary, name=action.value, responses=LATER)
    async def change(request: WebRequest, name: Name, wait_s: Wait = DEFAULT_WAIT_S) -> Response:
        return _answer(await admin.change(action, name, wait_s, _who(request)))


def _add_breakers(router: APIRouter, admin: Admin) -> None:
    @router.post(
        "/models/{name:path}/breaker",
        summary="Force a model's breakers open (nobody calls it) or closed (however it fails), or end that",
        openapi_extra=BREAKER_BODY,
    )
    async def force(request: WebRequest, name: Name) -> Response:
        body = await _body(request, BreakerBody, '{"state": "forced_open"}')
        return _answer(admin.force(name, body.state, _who(request)))


def _add_aliases(router: APIRouter, admin: Admin) -> None:
    @router.get("/aliases", summary="Which model each alias means")
    async def aliases() -> Response:
        return _json({"object": "list", "data": [_alias(row) for row in admin.aliases()]})

    @router.put(
        "/aliases/{name:path}",
        summary="Load a model, then let the alias mean it",
        responses=LATER,
        openapi_extra=ALIAS_BODY,
    )
    async def point(
        request: WebRequest,
        name: Annotated[str, Path(pattern=ALIAS, description="A new alias, or one there is")],
        wait_s: Wait = DEFAULT_WAIT_S,
    ) -> Response:
        body = await _body(request, AliasBody, '{"model": "ID"}')
        return _answer(await admin.point(name, body.model, wait_s, _who(request)))


async def _body(request: WebRequest, kind: type[B], example: str) -> B:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY_BYTES:
            raise RequestError(f"The body is larger than {MAX_BODY_BYTES} bytes", code="request_too_large")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        param = next(iter(msgspec.json.decode(example)))
        raise RequestError(f"The body must be `{example}`: {error}", param=param) from None
    except NOT_JSON as error:
        raise RequestError(f"The body is not JSON: {error}", code="invalid_json") from None


def _answer(answer: Answer) -> Response:
    states = [msgspec.to_builtins(status) for status in answer.deployments]
    said = {"model": answer.model_id, "done": answer.is_done, "deployments": states}
    if answer.alias:
        said["alias"] = answer.alias
    return _json(said, 200 if answer.is_done else 202)


def _row(row: ModelRow) -> dict[str, Any]:
    status = msgspec.to_builtins(row.status)
    memory = status.pop("memory") | {"estimated_bytes": row.estimated_bytes}
    return {"id": status.pop("id"), "backend": row.backend, "aliases": row.aliases, **status, "memory": memory}


def _alias(row: AliasRow) -> dict[str, str]:
    return {"id": row.name, "model": row.model_id, "moving_to": row.moving_to, "last_error": row.last_error}


def _who(request: WebRequest) -> str:
    return request.client.host if request.client else ""


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=JSON)
