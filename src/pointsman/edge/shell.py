"""The cold routes, under FastAPI: status, models, metrics, and the documentation of everything.

Knows: what an operator asks. Does not know: how any of it is measured; it reads through the `Desk`.
"""

from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from fastapi import FastAPI, Path, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request as WebRequest

from pointsman import __version__
from pointsman.edge.doorkeeper import ASKED_AS
from pointsman.edge.endpoint import nobody_foresaw
from pointsman.edge.http import error_json
from pointsman.edge.manual import add_manual
from pointsman.edge.openapi import describe
from pointsman.errors import PointsmanError, Refused, RequestError
from pointsman.policy.catalogue import default_model_of
from pointsman.redact import Hide, redact
from pointsman.settings import Settings
from pointsman.settings_changes import ConfigStatus
from pointsman.types import Breaker, DeploymentView, Modality, ModelCard, Tier, Value, World

MEDIA_TYPE = "application/json"


class Desk(Protocol):
    """What an operator can read."""

    @property
    def settings(self) -> Settings: ...
    @property
    def cards(self) -> tuple[ModelCard, ...]: ...
    def world(self) -> World: ...
    def metrics(self) -> bytes: ...
    def statistics(self) -> object: ...


class ModelHealth(Value, frozen=True):
    """One deployment's health, for people and for load balancers."""

    model: str
    healthy: bool
    state: str
    tier: Tier
    ready_in_s: float
    in_flight: int
    queued: int
    slots: int
    breaker: Breaker
    restarts: int
    memory_bytes: int
    last_error: str


class Health(Value, frozen=True):
    status: str
    version: str
    models: dict[str, ModelHealth]


class ModelEntry(Value, frozen=True):
    """One entry of `GET /v1/models`: OpenAI's members, then ours."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "pointsman"
    name: str = ""
    kinds: tuple[str, ...] = ()
    inputs: tuple[Modality, ...] = ()
    outputs: tuple[Modality, ...] = ()
    languages: tuple[str, ...] = ()
    context_tokens: int = 0
    tools: bool = False
    tier: Tier | None = None
    healthy: bool = True
    alias_of: str | None = None


class ModelList(Value, frozen=True):
    data: tuple[ModelEntry, ...]
    object: str = "list"


class RouterInfo(Value, frozen=True):
    """`GET /router/info`: the configuration in force and the state of things."""

    version: str
    routing_enabled: bool
    strategy: str
    default_model: str
    use_cases: dict[str, tuple[str, ...]]
    aliases: dict[str, str]
    models: tuple[ModelEntry, ...]
    deployments: tuple[DeploymentView, ...]
    memory_budget_bytes: int
    memory_used_bytes: int
    statistics: object
    config: ConfigStatus


class Condition(Value, frozen=True):
    """Of the process: whether it stops, which configuration is in force, which models it has brought `late`."""

    is_leaving: bool = False
    config: ConfigStatus = ConfigStatus()
    late: frozenset[str] = frozenset()


def health_of(world: World) -> Health:
    """Every deployment's health. `degraded` where one cannot answer now; a cold model is well."""
    models = {view.id: _health(view) for view in world.deployments}
    status = "ok" if all(model.healthy for model in models.values()) else "degraded"
    return Health(status=status, version=__version__, models=models)


def _health(view: DeploymentView) -> ModelHealth:
    return ModelHealth(
        model=view.model_id,
        healthy=_is_healthy(view),
        state=view.state,
        tier=view.tier,
        ready_in_s=round(view.ready_in_s, 3),
        in_flight=view.in_flight,
        queued=view.queued,
        slots=view.slots,
        breaker=view.breaker,
        restarts=view.restarts,
        memory_bytes=view.memory_bytes,
        last_error=view.last_error,
    )


def _is_healthy(view: DeploymentView) -> bool:
    return view.breaker not in (Breaker.OPEN, Breaker.FORCED_OPEN) and view.state != "failed"


def models_of(desk: Desk) -> tuple[ModelEntry, ...]:
    """`auto`, the objectives, the aliases, then every model."""
    world = desk.world()
    entries = [_entry(card, world) for card in desk.cards]
    by_id = {entry.id: entry for entry in entries}
    aliases = [
        msgspec.structs.replace(by_id[target], id=alias, alias_of=target)
        for alias, target in desk.settings.aliases.items()
        if target in by_id
    ]
    auto = ModelEntry(
        id="auto", name="The router's choice, per request", inputs=tuple(Modality), outputs=tuple(Modality)
    )
    ways = (
        msgspec.structs.replace(auto, id=name, name=f"The router's choice by {objective.strategy}, per request")
        for name, objective in desk.settings.routing.objectives.items()
    )
    return (auto, *ways, *aliases, *entries)


def _entry(card: ModelCard, world: World) -> ModelEntry:
    views = [view for view in world.deployments if view.model_id == card.id]
    tiers = [view.tier for view in views]
    return ModelEntry(
        id=card.id,
        name=card.name,
        kinds=card.kinds,
        inputs=card.inputs,
        outputs=card.outputs,
        languages=card.languages,
        context_tokens=card.context_tokens,
        tools=card.tools,
        tier=next((tier for tier in (Tier.HOT, Tier.WARM, Tier.COLD) if tier in tiers), None),
        healthy=any(_is_healthy(view) for view in views),
    )


def waited_for(desk: Desk, late: frozenset[str] = frozenset()) -> dict[str, str]:
    """The state of every deployment that is to be preloaded and is not hot; not of one that has failed for good, which
    `/health` reports instead. Nobody waits for `late` ones, which a reload has brought: a server that was ready stays
    so."""
    preloaded = {model.id for model in desk.settings.models if getattr(model, "preload", False)} - late
    cool = (view for view in desk.world().deployments if view.tier is not Tier.HOT and view.state != "failed")
    return {view.id: view.state for view in cool if view.model_id in preloaded}


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=MEDIA_TYPE)


def build_shell(desk: Desk, hide: Hide = redact, condition: Callable[[], Condition] | None = None) -> FastAPI:
    """The FastAPI application of the cold routes; its OpenAPI document describes the hot ones too."""
    shell = FastAPI(
        title="Pointsman",
        version=__version__,
        description="A self-hosted, OpenAI-compatible gateway: every request to the right one of your models.",
        docs_url=None,
        redoc_url=None,
    )
    _add_status_routes(shell, desk, condition or Condition)
    _add_model_routes(shell, desk)
    _add_errors(shell, hide)
    describe(shell)
    add_manual(shell)
    return shell


def _add_status_routes(shell: FastAPI, desk: Desk, condition: Callable[[], Condition]) -> None:
    @shell.get("/health", tags=["operation"], summary="All models' health; 200 while the process lives")
    async def health() -> Response:
        return _json(health_of(desk.world()))

    @shell.get("/ready", tags=["operation"], summary="200 once every preloaded model is ready, 503 before")
    async def ready() -> Response:
        now = condition()
        if now.is_leaving:
            return _json({"status": "draining"}, 503)
        if waiting := waited_for(desk, now.late):
            return _json({"status": "loading", "waiting_for": waiting}, 503)
        return _json({"status": "ready"})

    @shell.get("/metrics", tags=["operation"], summary="Prometheus exposition")
    async def metrics() -> Response:
        return Response(desk.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @shell.get("/router/info", tags=["operation"], summary="Configuration in force and state of things")
    async def info() -> Response:
        world, settings = desk.world(), desk.settings
        return _json(
            RouterInfo(
                version=__version__,
                routing_enabled=settings.routing.enabled,
                strategy=settings.routing.strategy,
                default_model=default_model_of(settings),
                use_cases={str(name): models for name, models in settings.routing.use_cases.items()},
                aliases=dict(settings.aliases),
                models=models_of(desk),
                deployments=world.deployments,
                memory_budget_bytes=world.budget_bytes,
                memory_used_bytes=world.used_bytes,
                statistics=desk.statistics(),
                config=condition().config,
            )
        )


def _add_model_routes(shell: FastAPI, desk: Desk) -> None:
    @shell.get("/v1/models", tags=["openai"], summary="Models with capabilities, tier and health")
    async def models() -> Response:
        return _json(ModelList(data=models_of(desk)))

    @shell.get("/v1/models/{model_id:path}", tags=["openai"], summary="One model")
    async def model(model_id: Annotated[str, Path(description="An id, an alias or `auto`")]) -> Response:
        if not model_id:  # only a stroke behind the list's own path
            return await models()
        for entry in models_of(desk):
            if entry.id == model_id:
                return _json(entry)
        known = ", ".join(entry.id for entry in models_of(desk))
        raise RequestError(f"There is no model `{model_id}`; there are {known}", code="model_not_found", param="model")


def _add_errors(shell: FastAPI, hide: Hide) -> None:
    """Whatever the shell's routes raise, as the one error object."""

    async def told(request: WebRequest, error: Exception) -> Response:
        own = _as_ours(request, error)
        body = hide(error_json(own).decode()).encode()
        return Response(body, own.http_status, _headers(own), media_type=MEDIA_TYPE)

    for kind in (HTTPException, RequestValidationError, PointsmanError, Exception):
        shell.add_exception_handler(kind, told)


def _as_ours(request: WebRequest, error: Exception) -> PointsmanError:
    """Starlette's own 404 and 405, FastAPI's 422 with the status that everything else here uses, and what nobody
    foresaw, which is raised on after the answer so that the site writes it down."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return RequestError(f"`{name}`: {first['msg']}", param=name)
    if isinstance(error, HTTPException) and error.status_code == 405:
        return RequestError(f"{request.url.path} does not take {request.method}", code="method_not_allowed")
    if isinstance(error, HTTPException):
        return RequestError(f"There is no {request.url.path}; /docs lists what there is", code="not_found")
    return error if isinstance(error, PointsmanError) else nobody_foresaw(request.scope.get(ASKED_AS, ""))


def _headers(error: PointsmanError) -> dict[str, str]:
    """When to come back, or how to show who one is."""
    if isinstance(error, Refused):
        return {"retry-after": str(max(1, round(error.retry_after_s)))}
    return {"www-authenticate": "Bearer"} if error.http_status == 401 else {}
