"""`/console`: the page for everybody, what it shows for those who may see the fleet.

Knows: paths, headers, who may look. Does not know: how anything is measured.

Who may look, as in `_guard`: whoever the gate lets in (the admin key; without one a program on this machine), and where
there are API keys but no admin key, one of those too.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Query, Response
from fastapi.responses import StreamingResponse
from starlette.requests import Request as WebRequest

from pointsman import __version__
from pointsman.admission.keys import Keyring
from pointsman.clock import Clock
from pointsman.edge.console.assets import Asset, Assets
from pointsman.edge.console.live import Look, tell
from pointsman.edge.console.story import Row, row_of, story_of
from pointsman.edge.gate import Gate
from pointsman.edge.shell import Desk, ModelEntry, models_of
from pointsman.errors import Refused, RequestError
from pointsman.policy.catalogue import default_model_of
from pointsman.types import Value

MOST_LISTENERS = 16
FOR_EVER = "public, max-age=31536000, immutable"
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
GUARDS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


class State(Value, frozen=True):
    """What the page asks first."""

    version: str
    strategy: str
    default_model: str
    models: tuple[ModelEntry, ...]
    statistics: object


class Rows(Value, frozen=True):
    """`last`: the number of the newest request there has been."""

    last: int
    rows: tuple[Row, ...]


class Console:
    """What the routes share."""

    def __init__(self, look: Look, desk: Desk, gate: Gate, clock: Clock) -> None:
        self.look = look
        self.desk = desk
        self.clock = clock
        self.assets = Assets(Path(__file__).with_name("static"))
        self.listeners = 0
        self._gate = gate

    async def check(self, request: WebRequest) -> None:
        """Nothing where the caller may look. Raises RequestError."""
        headers = request.headers
        self._gate.check(request.client.host if request.client else "", headers)
        if not self._gate.has_key:
            keyring = Keyring(self.desk.settings.keys)
            keyring.owner(headers.get("authorization", ""), headers.get("x-api-key", ""))

    @property
    def is_operators(self) -> bool:
        """Whether only an operator gets in, who may see what each key spends."""
        return self._gate.has_key

    async def listen(self, after: int, after_event: int) -> AsyncIterator[bytes]:
        """What is new, while there is a place for one more listener. Raises Refused."""
        if self.listeners >= MOST_LISTENERS:
            said = f"{MOST_LISTENERS} consoles are open already; close one"
            raise Refused(said, code="rate_limit_exceeded", retry_after_s=10.0)
        return self._seated(tell(self.look, self.clock, after, after_event))

    async def _seated(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.listeners += 1
        try:
            async for event in events:
                yield event
        finally:
            self.listeners -= 1

    def __repr__(self) -> str:
        return f"Console({self.listeners} listening)"


def add_console_routes(shell: FastAPI, console: Console) -> None:
    """The page's files for everybody, the rest behind `Console.check`. None of it stands in the API's document."""
    _add_files(shell, console.assets)
    router = APIRouter(prefix="/console/api", dependencies=[Depends(console.check)], include_in_schema=False)
    _add_reading(router, console)
    shell.include_router(router)


def _add_files(shell: FastAPI, assets: Assets) -> None:
    @shell.get("/console", include_in_schema=False)
    @shell.get("/console/", include_in_schema=False)
    async def page(request: WebRequest) -> Response:
        return _sent(assets.page, request, "no-cache")

    @shell.get("/console/static/{digest}/{name:path}", include_in_schema=False)
    async def file(request: WebRequest, digest: str, name: str) -> Response:
        asset = assets.find(digest, name)
        if asset is None:
            raise RequestError("The console has no such file; load the page anew", code="not_found")
        return _sent(asset, request, FOR_EVER)


def _sent(asset: Asset, request: WebRequest, caching: str) -> Response:
    headers = GUARDS | {"etag": asset.etag, "cache-control": caching, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    if asset.packed and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, headers=headers | {"content-encoding": "gzip"}, media_type=asset.mime)
    return Response(asset.body, headers=headers, media_type=asset.mime)


def _add_reading(router: APIRouter, console: Console) -> None:
    recent, after, most = console.look.recent, Query(ge=0), Query(ge=1, le=500)

    @router.get("/state")
    async def state() -> Response:
        settings, desk = console.desk.settings, console.desk
        return _json(
            State(
                version=__version__,
                strategy=settings.routing.strategy,
                default_model=default_model_of(settings),
                models=models_of(desk),
                statistics=desk.statistics(),
            )
        )

    @router.get("/requests")
    async def requests(after: Annotated[int, after] = 0, limit: Annotated[int, most] = 500) -> Response:
        found = recent.outcomes.after(after, limit)
        return _json(Rows(last=recent.outcomes.last, rows=tuple(row_of(number, one) for number, one in found)))

    @router.get("/requests/{request_id:path}")
    async def request(request_id: str) -> Response:
        record = await console.look.record(request_id)
        if record is None:
            said = f"Nothing is kept of the request {request_id[:128]}"
            raise RequestError(said, code="not_found", param="request_id")
        return _json(story_of(record))

    @router.get("/series")
    async def series() -> Response:
        return _json(recent.series())

    @router.get("/experiments")
    async def experiments() -> Response:
        return _json({"data": console.look.experiments()})

    @router.get("/statistics")
    async def statistics() -> Response:
        return _json(msgspec.Raw(console.look.books(None if console.is_operators else "")))

    @router.get("/live")
    async def live(after: Annotated[int, after] = 0, after_event: Annotated[int, after] = 0) -> Response:
        events = await console.listen(after, after_event)
        return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _json(value: object) -> Response:
    headers: dict[str, Any] = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(msgspec.json.encode(value), headers=headers, media_type="application/json")
