"""Which deployments stand for which model, and by which definition of it.

Knows: how a model's backends are built and called. Does not know: when one definition follows another (`reload`).
Two definitions of one model live side by side while the one takes over from the other: `small`, then `small@2`. A name
is given again once it is free, so that there are never more of them than of deployments at once.
"""

from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from pointsman.backends.base import Backend, Toolbox
from pointsman.backends.registry import build
from pointsman.fleet.loop import DeploymentSpec
from pointsman.settings import Model, Settings
from pointsman.settings_changes import process_of
from pointsman.types import Value


class Placed(Value, frozen=True):
    """A model and its deployments. `process`: what of the settings these were made from."""

    model: Model
    names: tuple[str, ...]
    process: dict[str, Any]

    def specs(self) -> tuple[DeploymentSpec, ...]:
        return tuple(DeploymentSpec.of(name, self.model) for name in self.names)


Built = tuple[Placed, Mapping[str, Backend]]


class Standing:
    """`placed`: by model id, in the configured order; replaced whole, never changed in place."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self.placed: Mapping[str, Placed] = {}

    def open(self, settings: Settings) -> dict[str, Backend]:
        """The first deployments of all. Raises ConfigError."""
        built = [self.build(model, settings, ()) for model in settings.models]
        self.placed = {one.model.id: one for one, _ in built}
        return {name: backend for _, backends in built for name, backend in backends.items()}

    def build(self, model: Model, settings: Settings, taken: Collection[str]) -> Built:
        """Its backends, under names that are not `taken`; nothing is started. Raises ConfigError."""
        toolbox = msgspec.structs.replace(
            self._toolbox,
            first_byte_timeout_s=settings.retry.first_byte_timeout_s,
            idle_timeout_s=settings.retry.idle_timeout_s,
            load_timeout_s=settings.fleet.load_timeout_s,
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
