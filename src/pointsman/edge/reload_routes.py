"""`POST /admin/reload`: the configuration file is read now.

Knows: the path and its answers. Does not know: what a reload does, who may ask (`gate`).
"""

from collections.abc import Awaitable, Callable

import msgspec
from fastapi import Depends, FastAPI, Response
from starlette.requests import Request as WebRequest

from pointsman.edge.gate import Gate
from pointsman.settings_changes import Changes, ConfigStatus

JSON = "application/json"


def add_reload_routes(
    shell: FastAPI, gate: Gate, reload: Callable[[str], Awaitable[Changes]], status: Callable[[], ConfigStatus]
) -> None:
    """Behind the gate. A file that cannot be used answers 400 with every problem, and changes nothing."""

    async def check(request: WebRequest) -> None:
        gate.check(request.client.host if request.client else "", request.headers)

    @shell.post(
        "/admin/reload",
        tags=["operation"],
        summary="Read the configuration file and put it in force; what that changed",
        dependencies=[Depends(check)],
        responses={400: {"description": "The file cannot be used; the configuration before it stays in force"}},
    )
    async def reload_now(request: WebRequest) -> Response:
        who = request.client.host if request.client else "here"
        changes = await reload(f"asked for from {who}")
        said = {"said": str(changes), "changes": changes, "config": status()}
        return Response(msgspec.json.encode(said), media_type=JSON)
