"""The composition root: settings → App. With `rooms`, the only place that constructs things and knows every room.

An App is entered once: the fleet's children, the HTTP client and the log live inside `running()`.
Where a new thing goes: it remembers, counts, holds a connection or a child → here; it follows from the settings and
remembers nothing → `rooms`. A sink of the ledger is one more in `_sinks`; a cold route one more line in `_build_site`;
what must be entered and left, one more line in `running`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import uvicorn

from pointsman import __version__
from pointsman.admission.control import Admission
from pointsman.admission.counters import counters_of
from pointsman.backends.base import Toolbox
from pointsman.backends.managed import ManagedBackend
from pointsman.backends.registry import build
from pointsman.cache.build import build_cache
from pointsman.cache.exact import Cache
from pointsman.cache.keys import fingerprint_of
from pointsman.clock import Clock, SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.edge.admin import Admin, Change
from pointsman.edge.admin_routes import add_admin_routes
from pointsman.edge.gate import Gate
from pointsman.edge.jobs import Jobs
from pointsman.edge.shell import build_shell
from pointsman.edge.site import Site, build_site
from pointsman.encoder.e5 import E5
from pointsman.encoder.service import SecondStage
from pointsman.errors import PointsmanError
from pointsman.fleet.hardware import HostHardware
from pointsman.fleet.loop import DeploymentSpec, Fleet
from pointsman.fleet.remembered import Remembered
from pointsman.gateway import Gateway
from pointsman.ledger.conversations import Conversations
from pointsman.ledger.entry import Ledger, Sink
from pointsman.ledger.fleet_metrics import GpuMemory
from pointsman.ledger.foreign import heard
from pointsman.ledger.latencies import Latencies
from pointsman.ledger.lines import Event
from pointsman.ledger.log import Log
from pointsman.ledger.metrics import Metrics
from pointsman.ledger.stats import Statistics, Stats
from pointsman.newsroom import Newsroom
from pointsman.policy.router import Router
from pointsman.redact import Redactor
from pointsman.rooms import Ground, Rooms
from pointsman.settings import ManagedBase, Settings, sources_of
from pointsman.signals.opinion import load_opinion
from pointsman.sources.store import WeightStore
from pointsman.types import DeploymentView, ModelCard, Tier, World

BACKLOG = 2048
KEEP_ALIVE_S = 75
LOG_FOLDER = "logs"
FIGURES_FILE = "measured.json"
COLD_START_S = 20.0


class App:
    """Every room, wired. Is the shell's Desk and the operator's Office too."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.hide = Redactor.of(os.environ, settings.model_dump())
        names = {model.id: model.name or model.id for model in settings.models}
        self.log = Log.to_stderr(self.clock, settings.log.level, settings.log.requests, self.hide)
        self.http = AiohttpClient()
        self.weights = WeightStore.of(settings, self.clock)
        self._hardware = HostHardware()
        self._log_dir = settings.cache_path() / LOG_FOLDER
        toolbox = self._toolbox(settings)
        built = [(name, model, backend) for model in settings.models for name, backend in build(model, toolbox)]
        self._models = {name: model for name, model, _ in built}
        self.backends = {name: backend for name, _, backend in built}
        self.fleet = self._build_fleet(settings)
        self.stats = Stats(names, self.clock.unix())
        self._metrics = Metrics(names, self.fleet.world, __version__)
        self._metrics.fleet.watch_gpus(self._gpus)
        attached = frozenset(name for name, model in self._models.items() if model.is_attached)
        self._newsroom = Newsroom(self.log, self._metrics.fleet, attached, self.clock)
        self.fleet.subscribe(self._newsroom.hear)
        self.admission = self._build_admission(settings)
        self._conversations = Conversations(self.clock.now)
        self._latencies = Latencies()
        self.ledger = Ledger(self.clock, self._sinks(), names)
        self.second = self._build_second(settings)
        self.rooms = self._furnish(settings)
        self.admin = Admin(self, self.fleet, Gate.of(settings.server.admin_key_env, os.environ), self.hide)
        self.site = self._build_site()

    # What lasts for the process.

    def _toolbox(self, settings: Settings) -> Toolbox:
        retry = settings.retry
        return Toolbox(
            http=self.http,
            weights=self.weights,
            clock=self.clock,
            log_dir=self._log_dir,
            first_byte_timeout_s=retry.first_byte_timeout_s,
            idle_timeout_s=retry.idle_timeout_s,
            load_timeout_s=settings.fleet.load_timeout_s,
            gpu_bytes=tuple((gpu.index, gpu.total_bytes) for gpu in self._hardware.gpus()),
            oom_kills=self._hardware.oom_kills,
        )

    def _build_fleet(self, settings: Settings) -> Fleet:
        """Every deployment under one budget."""
        return Fleet(
            tuple(DeploymentSpec.of(name, model) for name, model in self._models.items()),
            self.backends,
            settings.fleet,
            self.clock,
            self._hardware,
            missing_bytes=self._missing_bytes,
            remembered=self._remembered(settings),
            drain_timeout_s=settings.server.drain_timeout_s,
        )

    def _build_admission(self, settings: Settings) -> Admission:
        counters = counters_of(settings.admission, self.clock, self._newsroom.hear_limits)
        return Admission(settings.keys, settings.admission, counters, self.clock, settings.server.request_timeout_s)

    def _sinks(self) -> tuple[Sink, ...]:
        """Who hears of every request, in this order. Cheap, and never blocking."""
        return (self._metrics, self.stats, self.log, self._conversations, self._latencies, self.admission)

    def _build_second(self, settings: Settings) -> SecondStage:
        """Asked where the classifier can be unsure at all."""
        routing = settings.routing
        may_be_unsure = routing.enabled and routing.builtin_rules
        encoding = routing.encoder if may_be_unsure else routing.encoder.model_copy(update={"enabled": False})
        opinion = load_opinion(routing.abstain_below)
        return SecondStage(E5, opinion, encoding, self.clock, self._metrics.encoder)

    def _remembered(self, settings: Settings) -> Remembered:
        """What earlier runs measured."""
        remembered = Remembered.of_models(settings.cache_path() / FIGURES_FILE, self._models)
        if remembered.problem:
            message = f"measured figures of earlier runs are ignored: {remembered.problem}"
            self.log.event(Event(name="figures_ignored", message=message, level="warning"))
        return remembered

    def _missing_bytes(self, deployment_id: str) -> int:
        """What would have to be fetched before a deployment could start."""
        backend = self.backends[deployment_id]
        return backend.missing_bytes() if isinstance(backend, ManagedBackend) else 0

    def _build_site(self) -> Site:
        shell = build_shell(self, self.hide)
        add_admin_routes(shell, self.admin)
        return build_site(lambda: self.rooms, shell, clock=self.clock, faults=self.log, hide=self.hide)

    # What follows from one settings tree.

    def _furnish(self, settings: Settings) -> Rooms:
        """The tree's rooms, on what lasts. Raises ConfigError."""
        cache = build_cache(settings, self.clock, self._newsroom.hear_cache, self.second)
        if isinstance(cache, Cache):
            self._metrics.cache.watch(cache.statistics)
        ground = Ground(
            clock=self.clock,
            fleet=self.fleet,
            backends=self.backends,
            ledger=self.ledger,
            conversations=self._conversations,
            latencies=self._latencies,
            admission=self.admission,
            second=self.second,
        )
        rooms = Rooms(settings, ground, cache)
        self.admission.quotas.configure({model.id: model.limits for model in settings.models})
        self.experiments.configure(settings.experiments, {card.id: card.cost_per_mtok for card in rooms.cards})
        return rooms

    @property
    def settings(self) -> Settings:
        """The tree in force."""
        return self.rooms.settings

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        return self.rooms.cards

    @property
    def gateway(self) -> Gateway:
        return self.rooms.gateway

    # The life of the process.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Children may run and requests be answered while this is open; closing drains and stops them."""
        async with AsyncExitStack() as stack:
            stack.callback(self.log.close)
            stack.enter_context(heard(self.log.event))
            await stack.enter_async_context(self.http)
            await stack.enter_async_context(self.rooms.fetcher)
            await stack.enter_async_context(self.fleet)
            await stack.enter_async_context(self.second)
            stack.push_async_callback(self.rooms.cache.close)
            stack.push_async_callback(self.admission.close)
            await stack.enter_async_context(self.admin)
            jobs = await stack.enter_async_context(Jobs())
            jobs.begin(self._learn_sizes(), "sizes")
            yield self

    async def _learn_sizes(self) -> None:
        """So that routing and memory reckon with weights that are still to be fetched."""
        await self.weights.learn_sizes(source for model in self.settings.models for _, source in sources_of(model))
        self.fleet.survey()

    def server(self) -> uvicorn.Server:
        """The HTTP server of this app; signals and the listening socket are the caller's."""
        return uvicorn.Server(
            uvicorn.Config(
                self.site,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(self.settings.server.drain_timeout_s),
            )
        )

    # The shell's Desk.

    def world(self) -> World:
        return self.fleet.world()

    def metrics(self) -> bytes:
        return self._metrics.render()

    def statistics(self) -> Statistics:
        return self.stats.snapshot()

    def _gpus(self) -> tuple[GpuMemory, ...]:
        return tuple((gpu.index, gpu.used_bytes, gpu.budget_bytes) for gpu in self.fleet.status().gpus)

    # The operator's Office.

    def point(self, alias: str, model_id: str) -> None:
        """From the next request on the alias means this model; after a restart the file's word counts again."""
        aliases = {**self.settings.aliases, alias: model_id}
        self.rooms.settings = settings = self.settings.model_copy(update={"aliases": aliases})
        self.gateway.router = self.rooms.router = Router(settings, self.rooms.profile)
        self.rooms.cache.reconfigured(fingerprint_of(settings))

    def estimated_bytes(self, deployment_id: str) -> int:
        """By the weights' metadata alone; 0 where they cannot be read."""
        try:
            return self.backends[deployment_id].footprint().total_bytes
        except PointsmanError:
            return 0

    def log_path(self, deployment_id: str) -> Path | None:
        """Where a child of ours writes."""
        return self._log_dir / f"{deployment_id}.log" if self.backends[deployment_id].is_managed else None

    def administered(self, change: Change) -> None:
        self._newsroom.hear_change(change)


def world_after_start(settings: Settings) -> World:
    """The world as it is when every preloaded model is ready and nothing else has happened: for `explain`."""
    views = []
    for model in settings.models:
        hot = model.is_attached or (isinstance(model, ManagedBase) and model.preload)
        views.append(
            DeploymentView(
                id=model.id,
                model_id=model.id,
                tier=Tier.HOT if hot else Tier.COLD,
                state="ready" if hot else "cold",
                ready_in_s=0.0 if hot else COLD_START_S,
                slots=model.slots,
                is_managed=not model.is_attached,
            )
        )
    return World(deployments=tuple(views))
