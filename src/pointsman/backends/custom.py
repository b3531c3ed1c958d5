"""Engines of other packages, found by their entry points.

Knows: the group of entry points and what stands behind each: a callable that takes the `CustomModel` and returns a
`managed.Engine`. Does not know: any of them. Its package runs inside the gateway, so it must be as careful as one of
ours: no heavy imports, no work in `launch`, `warm_up` and `footprint` beyond reading metadata; engines live in the
child.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pointsman.backends.managed import Engine
from pointsman.errors import ConfigError
from pointsman.settings import CustomModel

GROUP = "pointsman.engines"
METHODS = ("sources", "launch", "warm_up", "footprint")


def custom(model: CustomModel) -> Engine:
    """The engine that the model names. Raises ConfigError where no package offers it, or what it offers is none."""
    factory = _load(_find(model), model)
    engine: Engine = factory(model)
    if missing := [name for name in METHODS if not callable(getattr(engine, name, None))]:
        raise _wrong(model, f"gave something of type `{type(engine).__name__}`, without {', '.join(missing)}")
    return engine


def _find(model: CustomModel) -> EntryPoint:
    offered = entry_points(group=GROUP)
    found = [point for point in offered if point.name == model.engine]
    if len(found) != 1:
        names = ", ".join(sorted(offered.names)) or "none"
        count = f"{len(found)} installed packages offer" if found else "no installed package offers"
        raise ConfigError(
            (f"models.{model.id}.engine: {count} `{model.engine}` (entry points `{GROUP}`); there are: {names}",)
        )
    return found[0]


def _load(point: EntryPoint, model: CustomModel) -> Callable[[CustomModel], Any]:
    try:
        factory = point.load()
    except (ImportError, AttributeError) as error:
        raise _wrong(model, f"cannot be loaded: {error}") from error
    if not callable(factory):
        raise _wrong(model, "is not callable")
    return factory  # type: ignore[no-any-return]  # somebody else's object


def _wrong(model: CustomModel, why: str) -> ConfigError:
    return ConfigError((f"models.{model.id}.engine: `{model.engine}` (entry points `{GROUP}`) {why}",))
