"""The composition root: settings → App. With `rooms`, the only place that constructs things and knows every room.

An App is entered once: the fleet's children, the HTTP client and the log live inside `running()`.
Where a new thing goes: it remembers, counts, holds a connection or a child → here; it follows from the settings and
remembers nothing → `rooms`. A sink of the ledger is one more in `_sinks`; a cold route one more line in `_build_site`;
what must be entered and left, one more line in `running`.
"""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import msgspec

from pointsman import __version__
from pointsman.admission.build import counters_of
from pointsman.admission.control import Admission
from pointsman.backends.base import Toolbox
from pointsman.bookkeeping import Books
from pointsman.cache.build import build_cache
from pointsman.cache.exact import Cache, NoCache
from pointsman.clock import Clock, SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.edge.admin import Admin, Change
from pointsman.edge.admin_routes import add_admin_routes
from pointsman.edge.console.live import Look
from pointsman.edge.console.routes import Console, add_console_routes
from pointsman.edge.experiment_routes import add_experiment_routes
from pointsman.edge.gate import Gate
from pointsman.edge.jobs import Jobs
from pointsman.edge.leaving import Leaving
from pointsman.edge.ledger_routes import add_ledger_routes
from pointsman.edge.rag import add_rag_routes
from pointsman.edge.reload_routes import add_reload_routes
from pointsman.edge.shell import Condition, build_shell
from pointsman.edge.site import Site, build_site
from pointsman.encoder.e5 import E5
from pointsman.encoder.service import SecondStage
from pointsman.errors import PointsmanError
from pointsman.experiments.build import company_of
from pointsman.experiments.controller import Experiments
from pointsman.experiments.course import Change as ExperimentChange
from pointsman.experiments.course import Experiment
from pointsman.experiments.shadow import Copies
from pointsman.fleet.hardware import HostHardware
from pointsman.gateway import Gateway
from pointsman.ledger.alerts import Alerts
from pointsman.ledger.conversations import Conversations
from pointsman.ledger.entry import Ledger, Sink
from pointsman.ledger.experiment_metrics import ExperimentMetrics
from pointsman.ledger.fleet_metrics import GpuMemory
from pointsman.ledger.foreign import heard
from pointsman.ledger.latencies import Latencies
from pointsman.ledger.lines import Event
from pointsman.ledger.log import Log
from pointsman.ledger.metrics import Metrics
from pointsman.ledger.recent import Recent
from pointsman.ledger.record import record_of
from pointsman.ledger.stats import Statistics
from pointsman.ledger.traces import traces_of
from pointsman.ledger.usage import usage_of
from pointsman.newsroom import Newsroom, row_of
from pointsman.reading_room import ReadingRoom
from pointsman.redact import Redactor
from pointsman.reload import ConfigFile, Reloader
from pointsman.rooms import Ground, Prepared, Rooms, encoding_of, prepare
from pointsman.server import Server
from pointsman.settings import ManagedBase, Model, Settings, sources_of
from pointsman.settings_changes import ConfigStatus
from pointsman.sources.store import WeightStore
from pointsman.standing import Standing
from pointsman.types import DeploymentView, ModelCard, Outcome, Tier, World
from pointsman.types_record import Record

LOG_FOLDER = "logs"
EXPERIMENTS_FILE = "experiments.json"
COLD_START_S = 20.0


class App:
    """Every room, wired. Is the shell's Desk and the operator's Office too."""

    def __init__(self, settings: Settings, clock: Clock | None = None, config: ConfigFile | None = None) -> None:
        self.clock = clock or SystemClock()
        self.hide = Redactor.of(os.environ, settings.model_dump())
        names = {model.id: model.name or model.id for model in settings.models}
        self.log = Log.to_stderr(self.clock, settings.log.level, settings.log.requests, self.hide, self._cost)
        self.recent = Recent(self.clock.unix, self.hide, self._in_flight)
        self.log.subscribe(self.recent.event)
        self.http = AiohttpClient()
        self._traces = traces_of(settings)
        self._alerts = self._build_alerts(settings)
        self.weights = WeightStore.of(settings, self.clock)
        self._hardware = HostHardware()
        self.standing = Standing(self._toolbox(settings))
        self.fleet = self.standing.fleet(settings, self.clock, self._hardware, self.log.event)
        self._metrics = Metrics(names, self.fleet.world, __version__, self._in_flight)
        self._metrics.fleet.watch_gpus(self._gpus)
        self._metrics.count("agent_router_alerts", "Events for webhooks, by what became of them", self._alerts.counts)
        self._metrics.count("agent_router_traces", "Traces, by what became of them", self._traces.counts)
        self._newsroom = Newsroom(self.log, self._metrics.fleet, self._is_attached, self.clock)
        self.fleet.subscribe(self._newsroom.hear)
        self.experiments = self._build_experiments(settings)
        self._copies = Copies(self.clock, self.fleet.world, self.experiments.copied, usage_of)
        self._metrics.count("agent_router_experiment_copies", "Shadows' copies", self._copies.counts)
        self.admission = self._build_admission(settings)
        self._conversations = Conversations(self.clock.now)
        self._latencies = Latencies()
        self.books = self._build_books(settings)
        self.ledger = Ledger(self.clock, self._sinks(), names, self.books.prompts)
        prepared = prepare(settings)
        self.second = SecondStage(E5, prepared.opinion, encoding_of(settings), self.clock, self._metrics.encoder)
        self._cache: tuple[object, Cache | NoCache] | None = None
        self.move(self.furnish(settings, self.standing.names(), prepared))
        self.reloader = Reloader(
            self, self.fleet, self.standing, self.clock, self.log.event, self._metrics.config, config
        )
        self.admin = Admin(self, self.fleet, Gate.of(settings.server.admin_key_env, os.environ), self.hide)
        self._server: Server | None = None
        self.leaving = Leaving()
        self._library = ReadingRoom(settings, lambda: self.rooms, self.clock)
        self.site = self._build_site()

    # What lasts for the process.

    def _toolbox(self, settings: Settings) -> Toolbox:
        return Toolbox(
            http=self.http,
            weights=self.weights,
            clock=self.clock,
            log_dir=settings.cache_path() / LOG_FOLDER,
            gpu_bytes=tuple((gpu.index, gpu.total_bytes) for gpu in self._hardware.gpus()),
            oom_kills=self._hardware.oom_kills,
        )

    def _build_admission(self, settings: Settings) -> Admission:
        counters = counters_of(settings.admission, self.clock, self._newsroom.hear_limits)
        return Admission(settings.keys, settings.admission, counters, self.clock, settings.server.request_timeout_s)

    def _sinks(self) -> tuple[Sink, ...]:
        """Who hears of every request, in this order. Cheap, and never blocking."""
        return (
            self._metrics,
            self.log,
            self._conversations,
            self._latencies,
            self.fleet.speeds,
            self._traces,
            self.admission,
            self.recent,
            self.experiments,
            *self.books.sinks,
        )

    def _cost(self, outcome: Outcome) -> float:
        return self.rooms.prices.cost(outcome)

    def _in_flight(self) -> int:
        return self.ledger.in_flight()

    def _build_books(self, settings: Settings) -> Books:
        """What is kept of requests, and what callers say of them."""
        books = Books(
            settings,
            settings=lambda: self.settings,
            prices=lambda: self.rooms.prices,
            metrics=self._metrics,
            newsroom=self._newsroom,
            tell=self.log.event,
            clock=self.clock,
            ratio=self.experiments.ratio,
            in_flight=self._in_flight,
        )
        books.subscribe(self.experiments)
        return books

    def _build_experiments(self, settings: Settings) -> Experiments:
        """Where earlier runs left them; what they are, each tree says."""

        def hear(change: ExperimentChange) -> None:
            metrics.changed(change.experiment, change.event)
            self._newsroom.hear_experiment(change)

        company = company_of(settings, self.clock, self._newsroom.hear_company)
        found = Experiments(self.clock, settings.cache_path() / EXPERIMENTS_FILE, hear, company)
        metrics = ExperimentMetrics(self._metrics.registry, lambda: (row_of(one) for one in found.standings()))
        if found.problem:
            message = f"experiments begin anew, their file is ignored: {found.problem}"
            self.log.event(Event(name="experiments_ignored", message=message, level="warning"))
        return found

    def _build_alerts(self, settings: Settings) -> Alerts:
        """Webhooks hear of what the log hears."""
        source = f"{settings.telemetry.service_name}@{socket.gethostname()}"
        alerts = Alerts(settings.alerts, self.http, self.clock, environ=os.environ, source=source, redact=self.hide)
        self.log.subscribe(alerts.hear)
        return alerts

    def _build_site(self) -> Site:
        shell = self.shell = build_shell(self, self.hide, self.condition)
        add_rag_routes(shell, self._library.rag)
        add_admin_routes(shell, self.admin)
        add_reload_routes(shell, self.admin.gate, self.reloader.reload, self.config_status)
        add_experiment_routes(shell, self.experiments, self.admin.gate)
        add_ledger_routes(shell, self.books, self.admin.gate)
        look = Look(
            recent=self.recent,
            fleet=self.fleet.status,
            record=self.record,
            experiments=self.experiments.standings,
            books=self.books.routing_statistics,
            is_leaving=self.is_leaving,
        )
        self.console = Console(look, self, self.admin.gate, self.clock)
        add_console_routes(shell, self.console)
        return build_site(
            lambda: self.rooms,
            shell,
            rag=self._library.rag,
            begin=self._traces.begin,
            clock=self.clock,
            faults=self.log,
            register=self.ledger,
            hide=self.hide,
            leaving=self.leaving,
        )

    # What follows from one settings tree.

    def furnish(self, settings: Settings, names: frozenset[str], prepared: Prepared) -> Rooms:
        """The tree's rooms, on what lasts. Changes nothing. Raises ConfigError."""
        ground = Ground(
            clock=self.clock,
            fleet=self.fleet,
            ledger=self.ledger,
            conversations=self._conversations,
            latencies=self._latencies,
            admission=self.admission,
            second=self.second,
            experiments=self.experiments,
            copies=self._copies,
            learner=self.books.learner,
        )
        return Rooms(settings, ground, self._cache_for(settings), prepared, names)

    def _cache_for(self, settings: Settings) -> Cache | NoCache:
        """The one there is, where its settings are the same."""
        determined_by = (settings.cache, settings.server.request_timeout_s)
        if self._cache is None or self._cache[0] != determined_by:
            self._cache = determined_by, build_cache(settings, self.clock, self._newsroom.hear_cache, self.second)
        return self._cache[1]

    def move(self, rooms: Rooms) -> None:
        """These are in force from now on, and what lasts is told what of it follows from settings."""
        self.rooms, settings = rooms, rooms.settings
        self.hide.learn(os.environ, settings.model_dump())
        self.admission.reconfigured(settings.keys, settings.admission, settings.server.request_timeout_s)
        self.admission.quotas.configure({model.id: model.limits for model in settings.models})
        self.second.reconfigured(rooms.prepared.opinion, encoding_of(settings))
        self.experiments.configure(settings.experiments, {card.id: card.cost_per_mtok for card in rooms.cards})
        if isinstance(rooms.cache, Cache):
            self._metrics.cache.watch(rooms.cache.statistics)

    def _is_attached(self, deployment_id: str) -> bool:
        backend = self.fleet.backends.get(deployment_id)
        return backend is not None and not backend.is_managed

    def know(self, living: tuple[Rooms, ...]) -> None:
        """Of these models there may still be word; what is kept of others by name is given up."""
        names = {card.id: card.name for rooms in living for card in rooms.cards}
        self.ledger.names = names
        self._metrics.know(names)
        self.books.know(names)
        self._latencies.keep({name for rooms in living for name in rooms.names})

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
            stack.push_async_callback(self.books.close)
            stack.callback(self._traces.close)
            await stack.enter_async_context(self.http)
            await stack.enter_async_context(self._alerts)
            await stack.enter_async_context(self.fleet)
            await stack.enter_async_context(self.second)
            stack.push_async_callback(self.admission.close)
            stack.push_async_callback(self._library.close)
            await stack.enter_async_context(self.reloader)
            await stack.enter_async_context(self.admin)
            stack.push_async_callback(self.experiments.close)
            await self.experiments.meet()
            jobs = await stack.enter_async_context(Jobs())
            jobs.begin(self.learn_sizes(self.settings.models), "sizes")
            jobs.begin(self.experiments.watch(), "experiments")
            jobs.begin(self._copies.work(), "copies")
            jobs.begin(self.books.learner.watch(self.clock), "learned")
            stack.callback(self.experiments.write)
            yield self

    async def learn_sizes(self, models: tuple[Model, ...]) -> None:
        """So that routing and memory reckon with weights that are still to be fetched."""
        await self.weights.learn_sizes(source for model in models for _, source in sources_of(model))
        self.fleet.survey()

    def server(self) -> Server:
        """The HTTP server of this app; the listening socket is the caller's."""
        self._server = Server(self.site, self.leaving, self.clock, lambda: self.settings.server, self.fleet.hurry)
        return self._server

    # The console's Look.

    async def record(self, request_id: str) -> Record | None:
        """What is kept of a request."""
        outcome = self.recent.find(request_id)
        return record_of(outcome, self.rooms.prices.spent(outcome)) if outcome else await self.books.record(request_id)

    def is_leaving(self) -> bool:
        """Whether the server has been told to stop."""
        return self.leaving.is_begun or (self._server is not None and self._server.should_exit)

    def condition(self) -> Condition:
        """Of the process, for who asks whether it is ready and what is in force."""
        return Condition(self.is_leaving(), self.config_status(), self.reloader.late)

    def config_status(self) -> ConfigStatus:
        """A problem may quote what stands in the file."""
        status = self.reloader.status
        return msgspec.structs.replace(status, last_error=self.hide(status.last_error))

    # The shell's Desk.

    def world(self) -> World:
        return self.rooms.present.world()

    def metrics(self) -> bytes:
        return self._metrics.render()

    def statistics(self) -> Statistics:
        return self.books.statistics()

    def _gpus(self) -> tuple[GpuMemory, ...]:
        return tuple((gpu.index, gpu.used_bytes, gpu.budget_bytes) for gpu in self.fleet.status().gpus)

    # The operator's Office.

    def point(self, alias: str, model_id: str) -> None:
        """From the next request on the alias means this model; after a reload the file's word counts again."""
        self.reloader.point(alias, model_id)

    def estimated_bytes(self, deployment_id: str) -> int:
        """By the weights' metadata alone; 0 where they cannot be read."""
        try:
            return self.fleet.backends[deployment_id].footprint().total_bytes
        except PointsmanError:
            return 0

    def log_path(self, deployment_id: str) -> Path | None:
        """Where a child of ours writes."""
        return self.standing.log_path(deployment_id) if self.fleet.backends[deployment_id].is_managed else None

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
    trials = (Experiment(one, 0.0).trial(0.0) for one in settings.experiments)
    return World(deployments=tuple(views), experiments=tuple(trial for trial in trials if trial))
