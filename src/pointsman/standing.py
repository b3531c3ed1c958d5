"""Which deployments stand for which model, and by which definition of it.

Knows: how a model's backends are built and called. Does not know: when one definition follows another (`reload`).
Two definitions of one model live side by side while the one takes over from the other: `small`, then `small@2`. A name
is given again once it is free, so that there are never more of them than of deployments at once.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from pointsman.backends.base import Backend, Toolbox
from pointsman.backends.managed import ManagedBackend
from pointsman.backends.registry import build
from pointsman.clock import Clock
from pointsman.fleet.hardware import Hardware
from pointsman.fleet.loop import DeploymentSpec, Fleet
from pointsman.fleet.remembered import Remembered
from pointsman.ledger.lines import Event
from pointsman.settings import Model, Settings
from pointsman.settings_changes import process_of
from pointsman.types import Value

FIGURES_FILE = "measured.json"


class Placed(Value, frozen=True):
    """A model and its deployments. `process`: what of the settings these were made from."""

    model: Model
    names: tuple[str, ...]
    process: dict[str, Any]

    def specs(self) -> tuple[DeploymentSpec, ...]:
        return tuple(DeploymentSpec.of(name, self.model) for name in self.names)


def _missing_bytes(backend: object) -> int:
    """What would have to be fetched before a start."""
    return backend.missing_bytes() if isinstance(backend, ManagedBackend) else 0


Built = tuple[Placed, Mapping[str, Backend]]


class Standing:
    """`placed`: by model id, in the configured order; replaced whole, never changed in place."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self.placed: Mapping[str, Placed] = {}

    def fleet(self, settings: Settings, clock: Clock, hardware: Hardware, tell: Callable[[Event], None]) -> Fleet:
        """The first deployments of all, under one budget. `tell` hears where what earlier runs measured is no use.

        Raises ConfigError.
        """
        built = [self.build(model, settings, ()) for model in settings.models]
        self.placed = {one.model.id: one for one, _ in built}
        models = {name: one.model for one in self.placed.values() for name in one.names}
        remembered = Remembered.of_models(settings.cache_path() / FIGURES_FILE, models)
        if remembered.problem:
            message = f"measured figures of earlier runs are ignored: {remembered.problem}"
            tell(Event(name="figures_ignored", message=message, level="warning"))
        fleet = Fleet(
            tuple(spec for one in self.placed.values() for spec in one.specs()),
            {name: backend for _, backends in built for name, backend in backends.items()},
            settings.fleet,
            clock,
            hardware,
            missing_bytes=lambda name: _missing_bytes(fleet.backends[name]),
            remembered=remembered,
            drain_timeout_s=settings.server.drain_timeout_s,
        )
        return fleet

    def build(self, model: Model, settings: Settings, taken: Collection[str]) -> Built:
        """Its backends, under names that are not `taken`; nothing is started. Raises ConfigError."""
        toolbox = msgspec.structs.replace(
            self._toolbox,
            first_byte_timeout_s=settings.retry.first_byte_timeout_s,
            idle_timeout_s=settings.retry.idle_timeout_s,
            load_timeout_s=settings.fleet.load_timeout_s,
            gpu_budgets=tuple((gpu, settings.fleet.gpu_budget_bytes(size)) for gpu, size in self._toolbox.gpu_bytes),
        )
        for number in count(1):
            mark = f"@{number}" if number > 1 else ""
            own = msgspec.structs.replace(toolbox, log_dir=toolbox.log_dir / mark)
            backends = {f"{name}{mark}": backend for name, backend in build(model, own)}
            if not backends.keys() & set(taken):
                break
        return Placed(model=model, names=tuple(backends), process=process_of(model, settings)), backends

    def names(self) -> frozenset[str]:
        """Of all deployments in force."""
        return frozenset(name for one in self.placed.values() for name in one.names)

    def log_path(self, deployment_id: str) -> Path:
        """Where a child of ours writes."""
        name, _, number = deployment_id.partition("@")
        return self._toolbox.log_dir / (f"@{number}" if number else "") / f"{name}.log"

    def __repr__(self) -> str:
        return f"Standing({', '.join(sorted(self.names()))})"
