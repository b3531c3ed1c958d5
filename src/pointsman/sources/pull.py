"""Several sets of weights at once, and what became of each.

Knows: which weights models need, what a fetch may come to. Does not know: how progress looks (`display`).
"""

import asyncio
import difflib
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path

from pointsman.errors import PointsmanError, RequestError
from pointsman.settings import Model, OpenAiModel, Settings, Source, sources_of
from pointsman.sources.base import Phase, Progress
from pointsman.sources.store import WeightStore
from pointsman.types import Value

PARALLEL = 3
VARIANTS = "variants["


class Wanted(Value, frozen=True):
    """One set of weights and the models that need it. `name` is what people are shown."""

    name: str
    source: Source
    model_ids: tuple[str, ...] = ()


class State(StrEnum):
    FETCHED = "fetched"
    PRESENT = "present"
    FAILED = "failed"


class Check(StrEnum):
    """What of weights that are there already is looked at: that they are; that every byte is as it was; that a hub's
    revision still names the same commit. What is damaged or outdated is fetched anew."""

    PRESENCE = "presence"
    BYTES = "bytes"
    REVISION = "revision"


class Pulled(Value, frozen=True):
    """What became of one. `path` is what an engine opens; `error` says what, where and what to do."""

    wanted: Wanted
    state: State
    duration_s: float
    size_bytes: int = 0
    path: Path | None = None
    error: str = ""


class PullReport(Value, frozen=True):
    """One line for each set of weights, in the order they were asked for."""

    pulled: tuple[Pulled, ...]
    duration_s: float

    @property
    def failed(self) -> tuple[Pulled, ...]:
        return tuple(one for one in self.pulled if one.state is State.FAILED)

    @property
    def fetched_bytes(self) -> int:
        return sum(one.size_bytes for one in self.pulled if one.state is State.FETCHED)


OnPull = Callable[[Wanted, Progress], None]


def wanted_of(
    settings: Settings, names: tuple[str, ...] = (), *, everything: bool = False, variants: bool = False
) -> tuple[Wanted, ...]:
    """The weights that the named models need; without names those of `preload: true`, or of every model. `variants`:
    also those that are only for when the first does not fit.

    Two models with one source make one Wanted. Raises RequestError `model_not_found`.
    """
    needed: dict[Source, Wanted] = {}
    for model in _chosen(settings, names, everything=everything):
        for where, source in sources_of(model) if variants else needed_of(model):
            name = model.id if where == "source" else f"{model.id} {where.replace('voices.', 'voice ')}"
            one = needed.get(source, Wanted(name=name, source=source))
            needed[source] = Wanted(name=one.name, source=source, model_ids=(*one.model_ids, model.id))
    return tuple(needed.values())


def needed_of(model: Model) -> tuple[tuple[str, Source], ...]:
    """`sources_of` without the variants, of which one at most is ever loaded."""
    return tuple((where, source) for where, source in sources_of(model) if not where.startswith(VARIANTS))


def _chosen(settings: Settings, names: tuple[str, ...], *, everything: bool) -> tuple[Model, ...]:
    if not names:
        return tuple(model for model in settings.models if everything or _is_preloaded(model))
    by_id = {model.id: model for model in settings.models}
    chosen = []
    for name in names:
        model = by_id.get(settings.aliases.get(name, name))
        if model is None:
            near = difflib.get_close_matches(name, [*by_id, *settings.aliases], n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"models are {', '.join(by_id)}"
            raise RequestError(f"there is no model `{name}`; {hint}", code="model_not_found", param="model")
        chosen.append(model)
    return tuple(chosen)


def _is_preloaded(model: Model) -> bool:
    return not isinstance(model, OpenAiModel) and model.preload


async def pull(
    store: WeightStore,
    wanted: tuple[Wanted, ...],
    on_progress: OnPull,
    *,
    check: Check = Check.PRESENCE,
    parallel: int = PARALLEL,
) -> PullReport:
    """Fetch what is not there, `parallel` at a time. One that fails does not stop the others."""
    started_s = store.clock.now()
    slots = asyncio.Semaphore(parallel)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_one(store, one, on_progress, slots, check)) for one in wanted]
    return PullReport(pulled=tuple(task.result() for task in tasks), duration_s=store.clock.now() - started_s)


async def _one(
    store: WeightStore, wanted: Wanted, on_progress: OnPull, slots: asyncio.Semaphore, check: Check
) -> Pulled:
    async with slots:
        started_s = store.clock.now()
        try:
            state, path = await _fetch(store, wanted, on_progress, check)
        except PointsmanError as error:
            on_progress(wanted, Progress(phase=Phase.FAILED))
            spent_s = store.clock.now() - started_s
            return Pulled(wanted=wanted, state=State.FAILED, duration_s=spent_s, error=error.message)
        size_bytes = store.size_bytes(wanted.source)
        if check is Check.BYTES or state is State.FETCHED:
            on_progress(wanted, Progress(phase=Phase.DONE, done_bytes=size_bytes, total_bytes=size_bytes))
        spent_s = store.clock.now() - started_s
        return Pulled(wanted=wanted, state=state, duration_s=spent_s, size_bytes=size_bytes, path=path)


async def _fetch(store: WeightStore, wanted: Wanted, on_progress: OnPull, check: Check) -> tuple[State, Path]:
    path = store.present(wanted.source)
    if path is not None and check is Check.REVISION and await store.update(wanted.source, partial(on_progress, wanted)):
        return State.FETCHED, store.present(wanted.source) or path
    if path is not None and check is Check.BYTES:
        on_progress(wanted, Progress(phase=Phase.CHECKING))
        if await store.verify(wanted.source):
            path = None
    if path is not None:
        return State.PRESENT, path
    return State.FETCHED, await store.fetch(wanted.source, partial(on_progress, wanted))
