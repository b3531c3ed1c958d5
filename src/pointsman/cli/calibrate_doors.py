"""How `pointsman calibrate` reaches models: a fleet of one in this process, or a URL. Both speak server-sent events.

Knows: settings, the app, the HTTP client. Does not know: questions beyond their bodies, grades.
Invariant: a model measured in this process is alone in its fleet, so that nothing else takes its memory or its turn.
"""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import msgspec
from rich.console import Console

from pointsman.app import App
from pointsman.calibration.asking import Answer, body_of, listen
from pointsman.calibration.items import Item
from pointsman.calibration.journal import print_of
from pointsman.calibration.runner import Target
from pointsman.clock import Clock, SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.dispatch.mapping import error_of
from pointsman.dispatch.stream import whole_events
from pointsman.edge.http import Incoming
from pointsman.edge.openai import decode_chat
from pointsman.errors import RequestError, UpstreamError
from pointsman.policy.catalogue import cards_of
from pointsman.settings import LedgerSettings, LogSettings, Model, OpenAiModel, RoutingSettings, Settings, sources_of
from pointsman.sources.display import pull_with_display
from pointsman.sources.pull import wanted_of
from pointsman.sources.store import WeightStore
from pointsman.types import Kind

MOST_AT_ONCE = 8  # of a remote model, unless told otherwise: somebody else pays for its other slots
LOAD_TIMEOUT_S = 3600.0  # weights may have to be fetched first
SAMPLE_BYTES = 1024 * 1024
# What cannot change an answer.
NO_PART_OF_A_PRINT = {"preload", "pin", "ttl_s", "memory_gb", "slots", "threads", "quality", "name", "tokens_per_s"}
SAID_OR_NOT = ("system_prompt", "chat_template")
"""Part of a print where something is said: who says nothing answers as before there were such settings."""
GREETING = Item(
    id="greeting", family="", language="en", intent="", complexity="", prompt="Hi", max_tokens=1, grader="", expected=""
)


# ---------------------------------------------------------------- which models


def targets_of(settings: Settings, names: tuple[str, ...], concurrency: int | None) -> tuple[Target, ...]:
    """The named models, or every one that chats about plain text. Raises RequestError for a name that is none."""
    chatting = {card.id for card in cards_of(settings) if Kind.CHAT in card.kinds and not card.requires}
    models = {model.id: model for model in settings.models if model.id in chatting}
    wanted = tuple(dict.fromkeys(settings.aliases.get(name, name) for name in names)) or tuple(models)
    for name in wanted:
        if name not in models:
            raise RequestError(
                f"`{name}` is no chat model of this configuration; there are {', '.join(models) or 'none'}"
            )
    store = WeightStore.of(settings, SystemClock())
    return tuple(_target(models[name], store, concurrency) for name in wanted)


async def fetch_missing(settings: Settings, targets: tuple[Target, ...], console: Console) -> None:
    """Fetch the weights that are not here; what cannot be had is shown, and fails again when its model is started."""
    store = WeightStore.of(settings, SystemClock())
    wanted = wanted_of(settings, tuple(target.model for target in targets))
    missing = tuple(one for one in wanted if store.present(one.source) is None)
    if missing:
        await pull_with_display(store, missing, console)


def chat_models(settings: Settings, listed: tuple[str, ...]) -> tuple[str, ...]:
    """Of what a server lists: the chat models of the settings where it has any of them, else all."""
    known = tuple(model.model for model in targets_of(settings, (), None) if model.model in listed)
    return known or listed


def _target(model: Model, store: WeightStore, concurrency: int | None) -> Target:
    sources = [source for _, source in sources_of(model)]
    silent = {name for name in SAID_OR_NOT if not getattr(model, name, None)}
    settings = model.model_dump(mode="json", exclude=NO_PART_OF_A_PRINT | silent)
    weights = [_sample(path) if (path := store.present(source)) else "" for source in sources]
    slots = min(model.slots, MOST_AT_ONCE) if isinstance(model, OpenAiModel) else model.slots
    return Target(
        model=model.id,
        model_print=print_of(settings, weights),
        concurrency=concurrency or slots,
        cost_per_mtok=model.cost_per_mtok,
        size_bytes=sum(store.size_bytes(source) for source in sources),
    )


def _sample(path: Path) -> str:
    """What tells one weight file from another without reading a gigabyte: its size, its first and its last MiB."""
    if path.is_dir():
        return ""
    digest = hashlib.sha256(str(size_bytes := path.stat().st_size).encode())
    with path.open("rb") as file:
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(max(0, size_bytes - SAMPLE_BYTES))
        digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


# ---------------------------------------------------------------- in this process


class FleetAsker:
    """`runner.Asker`: an app of one model at a time, started for it and stopped after it."""

    def __init__(self, settings: Settings, clock: Clock, seed: int) -> None:
        self._settings = settings
        self._clock = clock
        self._seed = seed

    @asynccontextmanager
    async def opened(self, target: Target) -> AsyncIterator["FleetCaller"]:
        """The model, loaded. Raises PointsmanError where it cannot be."""
        app = App(alone(self._settings, target.model))
        async with app.running():
            caller = FleetCaller(app, target.model, self._clock, self._seed)
            await caller.ask(GREETING)
            yield caller


class FleetCaller:
    """`runner.Caller` through the gateway."""

    def __init__(self, app: App, model: str, clock: Clock, seed: int) -> None:
        self._app = app
        self._model = model
        self._clock = clock
        self._seed = seed

    async def ask(self, item: Item) -> Answer:
        asked_s = self._clock.now()
        body = body_of(item, self._model, self._seed)
        incoming = Incoming(request_id=item.id, content_type="application/json", body=body, received_s=asked_s)
        async with self._app.gateway.answer(decode_chat(incoming)) as reply:
            if reply.events is None:
                raise UpstreamError("sent no stream", code="upstream_protocol")
            return await listen(reply.events, self._clock, asked_s)


def alone(settings: Settings, model_id: str) -> Settings:
    """The same settings with one model, unrouted, quiet, with time to fetch and load."""
    (model,) = (model for model in settings.models if model.id == model_id)
    server = settings.server.model_copy(update={"request_timeout_s": LOAD_TIMEOUT_S})
    update = {
        "models": (model.model_copy(update={"preload": False} if hasattr(model, "preload") else {}),),
        "routing": RoutingSettings.model_validate({"enabled": False, "encoder": {"enabled": False}}),
        "log": LogSettings.model_validate({"level": "error", "requests": False}),
        "aliases": {},
        "experiments": (),
        "ledger": LedgerSettings(enabled=False),
        "server": server,
    }
    return settings.model_copy(update=update)


# ---------------------------------------------------------------- at a URL


class UrlAsker:
    """`runner.Asker` for anything that speaks OpenAI's wire. Enter it once."""

    def __init__(
        self, base_url: str, clock: Clock, seed: int, *, api_key: str = "", timeout_s: float = LOAD_TIMEOUT_S
    ) -> None:
        self._base_url = with_version(base_url)
        self._headers = (("Authorization", f"Bearer {api_key}"),) if api_key else ()
        self._clock = clock
        self._seed = seed
        self._timeout_s = timeout_s
        self._http = AiohttpClient(clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self._http.__aexit__(None, None, None)

    async def models(self) -> tuple[str, ...]:
        """What the server says it has. Raises UpstreamError."""
        url = f"{self._base_url}/models"
        status, body = await self._http.get(url, headers=self._headers, timeout_s=30)
        if status != 200:
            raise error_of(status, body, url)
        try:
            return tuple(one.id for one in msgspec.json.decode(body, type=_Listing).data)
        except msgspec.MsgspecError:
            raise UpstreamError(f"{url} lists no models; name them with --model", code="upstream_protocol") from None

    @asynccontextmanager
    async def opened(self, target: Target) -> AsyncIterator["UrlCaller"]:
        """The model, once it has answered a greeting, which may load it."""
        caller = UrlCaller(self, target.model)
        await caller.ask(GREETING)
        yield caller

    async def ask(self, model: str, item: Item) -> Answer:
        """One question. Raises PointsmanError."""
        asked_s = self._clock.now()
        posted = self._http.post(
            f"{self._base_url}/chat/completions",
            body=body_of(item, model, self._seed),
            headers=self._headers,
            first_byte_timeout_s=self._timeout_s,
            idle_timeout_s=self._timeout_s,
        )
        async with posted as reply:
            if reply.status != 200:
                raise error_of(reply.status, await reply.read(), model)
            return await listen(whole_events(reply.chunks(), Kind.CHAT, model), self._clock, asked_s)


class UrlCaller:
    """`runner.Caller` for one model of a URL."""

    def __init__(self, asker: UrlAsker, model: str) -> None:
        self._asker = asker
        self._model = model

    async def ask(self, item: Item) -> Answer:
        return await self._asker.ask(self._model, item)


class _Listed(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    data: list[_Listed]


def with_version(base_url: str) -> str:
    """`http://host:8001` means `http://host:8001/v1`."""
    bare = base_url.rstrip("/")
    return bare if urlsplit(bare).path else f"{bare}/v1"


def url_targets(
    settings: Settings, base_url: str, names: tuple[str, ...], concurrency: int | None
) -> tuple[Target, ...]:
    """Models of a URL; what the settings say of a model of that name (price, size) is believed."""
    store = WeightStore.of(settings, SystemClock())
    known = {model.id: _target(model, store, concurrency) for model in settings.models}
    nobody = Target(model="", model_print="", concurrency=concurrency or 1)
    return tuple(
        msgspec.structs.replace(
            known.get(name, nobody), model=name, model_print=print_of("url", with_version(base_url), name)
        )
        for name in names
    )


def api_key_of(variable: str | None) -> str:
    """The key in an environment variable; none where no variable is named."""
    return os.environ.get(variable, "") if variable else ""
