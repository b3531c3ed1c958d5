"""What follows from one settings tree: built anew for every tree, and read as one snapshot by each request.

Knows: which rooms depend on the settings, and how they are wired. Does not know: what lasts for the process (`app`,
which hands it over as `Ground`), nor who reloads and why.
Where a new thing goes: it follows from the settings and remembers nothing → here. It remembers, counts, holds a
connection or a child → `app`.
Invariant: a request enters one tree and reads no other; a tree that was replaced is given up when the last has left.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import msgspec

from pointsman.admission.control import Admission
from pointsman.admission.keys import Keyring
from pointsman.backends.base import Backend
from pointsman.cache.exact import Cache, NoCache
from pointsman.cache.keys import fingerprint_of
from pointsman.clock import Clock
from pointsman.dispatch.manners import manners_of
from pointsman.dispatch.run import Dispatcher
from pointsman.doors import Classifier as ClassifierDoor
from pointsman.edge.doorkeeper import Doorkeeper
from pointsman.edge.endpoint import Prepare
from pointsman.edge.http import MEBIBYTE, BodyLimits
from pointsman.encoder.service import SecondStage
from pointsman.errors import ConfigError
from pointsman.experiments.controller import Experiments
from pointsman.experiments.shadow import Copies, Shadowing
from pointsman.fleet.loop import Fleet
from pointsman.gateway import Gateway
from pointsman.ledger.conversations import Conversations
from pointsman.ledger.cost import Prices
from pointsman.ledger.entry import Ledger
from pointsman.ledger.latencies import Latencies
from pointsman.ledger.learner import Learner
from pointsman.media.fetch import Fetcher
from pointsman.policy.catalogue import cards_of, large_of
from pointsman.policy.experiments import Assigner
from pointsman.policy.quality import ProfileError, QualityProfile
from pointsman.policy.router import Router
from pointsman.settings import EncoderSettings, RoutingSettings, Settings
from pointsman.signals.classifier import Classifier
from pointsman.signals.off import Unread
from pointsman.signals.opinion import Opinion, load_opinion
from pointsman.types import Request, Value, World


class Ground(Value, frozen=True):
    """What lasts for the process, as far as the rooms of a tree stand on it."""

    clock: Clock
    fleet: Fleet
    ledger: Ledger
    conversations: Conversations
    latencies: Latencies
    admission: Admission
    second: SecondStage
    experiments: Experiments
    copies: Copies
    learner: Learner


class Prepared(Value, frozen=True):
    """What takes a tenth of a second to build, or reads files."""

    classifier: ClassifierDoor
    opinion: Opinion
    profile: QualityProfile | None


def prepare(settings: Settings, before: "Rooms | None" = None) -> Prepared:
    """Blocks. What `before` has and would be the same is taken over. Raises ConfigError."""
    routing, profile = settings.routing, profile_of(settings)
    if before is not None and _read_by(before.settings.routing) == _read_by(routing):
        return msgspec.structs.replace(before.prepared, profile=profile)
    classifier = Classifier(routing) if routing.enabled else Unread()
    return Prepared(classifier=classifier, opinion=load_opinion(routing.abstain_below), profile=profile)


def _read_by(routing: RoutingSettings) -> tuple[object, ...]:
    """What of the section a classifier and the encoder's opinion are made from."""
    return routing.enabled, routing.rules, routing.builtin_rules, routing.abstain_below


class Present:
    """The world as one tree's requests may know it. Does not know the rooms: what is replaced is free at once."""

    def __init__(self, ground: Ground, names: frozenset[str], *, learns: bool) -> None:
        self._fleet = ground.fleet
        self._conversations = ground.conversations
        self._quotas = ground.admission.quotas
        self._experiments = ground.experiments
        self._learner = ground.learner
        self._names = names
        self._learns = learns

    def world(self) -> World:
        """As far as these deployments go: one that takes over later is not there yet."""
        world = self._fleet.world()
        if len(world.deployments) == len(self._names):
            return world
        return msgspec.structs.replace(world, deployments=tuple(d for d in world.deployments if d.id in self._names))

    def world_for(self, request: Request) -> World:
        """As one request's decision may know it."""
        world = self.world()
        held_by, trials = self._conversations.held_by(request), self._experiments.trials()
        full = self._quotas.full()
        learned = self._learner.learned if self._learns else ()
        if not (held_by or trials or full or learned):
            return world
        return msgspec.structs.replace(world, held_by=held_by, experiments=trials, full=full, learned=learned)


class Rooms:
    """One tree's, and its deployments' names. A request enters (`with rooms:`) and leaves.

    `left` is called whenever the last has left. `close` when nobody comes any more; the cache is closed by its owner.
    """

    def __init__(
        self, settings: Settings, ground: Ground, cache: Cache | NoCache, prepared: Prepared, names: frozenset[str]
    ) -> None:
        self.settings = settings
        self.prepared = prepared
        self.names = names
        self.cards = cards_of(settings)
        self.prices = Prices(self.cards, settings.ledger.baseline_model, large_of(settings))
        self.cache = cache
        self.fetcher = Fetcher(settings.media)
        self.present = Present(ground, names, learns=settings.routing.bandit.enabled)
        self.visitors = 0
        self.left: Callable[[], None] = _nothing
        server = settings.server
        self.router = Assigner(Router(settings, prepared.profile), settings.routing)
        dispatcher = Dispatcher(
            ground.fleet,
            cast("Mapping[str, Backend]", ground.fleet.backends),  # the fleet never calls those it was given
            settings.retry,
            server.request_timeout_s,
            ground.clock,
            ground.latencies,
            ground.admission.quotas,
            manners_of(settings.models),
        )
        copied = {one.name: one.max_copies for one in settings.experiments if one.kind == "shadow"}
        dispatch = Shadowing(dispatcher, ground.copies, ground.experiments.trials, copied) if copied else dispatcher
        self.gateway = Gateway(
            ground.admission,
            prepared.classifier,
            ground.second,
            self.router,
            dispatch,
            ground.ledger,
            self.present.world_for,
            cache.under(fingerprint_of(settings), ground.experiments.epoch),
        )
        # What the edge asks of them, beside the gateway.
        self.door = Doorkeeper(Keyring(settings.keys).owner, server.allowed_hosts)
        self.limits = BodyLimits(max_bytes=int(server.max_body_mb * MEBIBYTE), timeout_s=server.body_timeout_s)
        self.keep_alive_s = server.keep_alive_s
        self.media: Prepare | None = self.fetcher.inlined if settings.media.fetch else None

    def __enter__(self) -> Self:
        self.visitors += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.visitors -= 1
        if not self.visitors:
            self.left()

    async def close(self) -> None:
        """Let go of connections."""
        await self.fetcher.__aexit__(None, None, None)

    def __repr__(self) -> str:
        return f"Rooms({len(self.cards)} models, {self.visitors} inside)"


def _nothing() -> None:
    """Nobody waits for the last to leave."""


def encoding_of(settings: Settings) -> EncoderSettings:
    """The encoder is asked where the classifier can be unsure at all."""
    routing = settings.routing
    may_be_unsure = routing.enabled and routing.builtin_rules
    return routing.encoder if may_be_unsure else routing.encoder.model_copy(update={"enabled": False})


def profile_of(settings: Settings) -> QualityProfile | None:
    """The quality profile that the settings name; a relative path counts from the working folder.

    Raises ConfigError where it cannot be read.
    """
    path = settings.routing.profile
    if path is None:
        return None
    try:
        profile = QualityProfile.from_bytes(Path(path).expanduser().read_bytes())
    except (OSError, ProfileError) as error:
        raise ConfigError((f"routing.profile: {error}; write one with `pointsman calibrate`",)) from None
    if not {model.id for model in settings.models} & set(profile.models):
        graded = ", ".join(profile.models)
        raise ConfigError((f"routing.profile: {path} speaks of {graded}, none of which is configured here",))
    return profile
