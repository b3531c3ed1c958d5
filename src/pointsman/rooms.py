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
from typing import Self

import msgspec

from pointsman.admission.control import Admission
from pointsman.admission.keys import Keyring
from pointsman.backends.base import Backend
from pointsman.cache.exact import Cache, NoCache
from pointsman.clock import Clock
from pointsman.dispatch.run import Dispatcher
from pointsman.doors import Classifier as ClassifierDoor
from pointsman.edge.doorkeeper import Doorkeeper
from pointsman.edge.endpoint import Prepare
from pointsman.edge.http import MEBIBYTE, BodyLimits
from pointsman.encoder.service import SecondStage
from pointsman.errors import ConfigError
from pointsman.fleet.loop import Fleet
from pointsman.gateway import Gateway
from pointsman.ledger.conversations import Conversations
from pointsman.ledger.entry import Ledger
from pointsman.ledger.latencies import Latencies
from pointsman.media.fetch import Fetcher
from pointsman.policy.catalogue import cards_of
from pointsman.policy.quality import ProfileError, QualityProfile
from pointsman.policy.router import Router
from pointsman.settings import Settings
from pointsman.signals.classifier import Classifier
from pointsman.signals.off import Unread
from pointsman.types import Request, Value, World


class Ground(Value, frozen=True):
    """What lasts for the process, as far as the rooms of a tree stand on it."""

    clock: Clock
    fleet: Fleet
    backends: Mapping[str, Backend]
    ledger: Ledger
    conversations: Conversations
    latencies: Latencies
    admission: Admission
    second: SecondStage


class Rooms:
    """One tree's. A request enters (`with rooms:`) and leaves. `left` is called when nobody is inside any more."""

    def __init__(self, settings: Settings, ground: Ground, cache: Cache | NoCache) -> None:
        self.settings = settings
        self.cards = cards_of(settings)
        self.cache = cache
        self.fetcher = Fetcher(settings.media)
        self._fleet = ground.fleet
        self._conversations = ground.conversations
        self._quotas = ground.admission.quotas
        self._experiments = ground.experiments
        self._learner = ground.learner
        self._visitors = 0
        self.left: Callable[[], None] = _nothing
        server, routing = settings.server, settings.routing
        self.profile = profile_of(settings)
        self.router = Router(settings, self.profile)
        classifier: ClassifierDoor = Classifier(routing) if routing.enabled else Unread()
        dispatcher = Dispatcher(
            ground.fleet,
            ground.backends,
            settings.retry,
            server.request_timeout_s,
            ground.clock,
            ground.latencies,
            ground.admission.quotas,
        )
        self.gateway = Gateway(
            ground.admission, classifier, ground.second, self.router, dispatcher, ground.ledger, self.world_for, cache
        )
        # What the edge asks of them, beside the gateway.
        self.door = Doorkeeper(Keyring(settings.keys).owner, server.allowed_hosts)
        self.limits = BodyLimits(max_bytes=int(server.max_body_mb * MEBIBYTE), timeout_s=server.body_timeout_s)
        self.keep_alive_s = server.keep_alive_s
        self.media: Prepare | None = self.fetcher.inlined if settings.media.fetch else None

    def world_for(self, request: Request) -> World:
        """The present as one request's decision may know it."""
        world = self._fleet.world()
        held_by, trials = self._conversations.held_by(request), self._experiments.trials()
        full = self._quotas.full()
        learned = self._learner.learned if self.settings.routing.bandit.enabled else ()
        if not (held_by or trials or full or learned):
            return world
        return msgspec.structs.replace(world, held_by=held_by, experiments=trials, full=full, learned=learned)

    def __enter__(self) -> Self:
        self._visitors += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._visitors -= 1
        if not self._visitors:
            self.left()

    def __repr__(self) -> str:
        return f"Rooms({len(self.cards)} models, {self._visitors} inside)"


def _nothing() -> None:
    """Nobody waits for the last to leave."""


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
