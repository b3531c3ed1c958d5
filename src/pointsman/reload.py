"""Another configuration while requests are under way: the file is read, and what it changes takes effect.

Knows: the order in which things change, and what is given up when. Does not know: how a room is built (`app`, `rooms`),
how a process is started (`fleet`), any setting but those of models.

1. Read and check. Invalid → nothing changes, and everybody who looks is told why.
2. Build what is new. It cannot be built → as in 1. From here on nothing can fail.
3. The fleet hears of added deployments and other terms. A model whose process is to be replaced stays as it is where it
   runs; else its new definition counts at once.
4. New rooms are in force: the next request enters them. Those under way finish in theirs.
5. Replacements are started. 5.1 ready → it takes over: 4 again. 5.2 no memory for both → it takes over at once, and is
   loaded when the old one has left; where it then fails, the old one is put back. 5.3 it fails → the old one stays
6. What neither the rooms in force, nor rooms with somebody inside, nor a replacement under way knows is removed.
   A deployment that is not in force any more leaves memory as soon as it is idle, and is loaded again for nobody but
   requests that came before.

Invariant: a deployment is removed only when no request that may still choose it is under way.
"""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.edge.jobs import Jobs
from pointsman.errors import ConfigError, PointsmanError
from pointsman.fleet.loop import Fleet
from pointsman.ledger.config_metrics import ConfigMetrics
from pointsman.ledger.lines import Event, Level
from pointsman.rooms import Prepared, Rooms, prepare
from pointsman.settings import Model, Settings, parse, text_of
from pointsman.settings_changes import Changes, ConfigStatus, changes_between, kept, process_of
from pointsman.standing import Built, Placed, Standing
from pointsman.types import Value

POLL_S = 1.0
NO_MEMORY = "out_of_memory_budget"


class ConfigFile:
    """The file, and the environment that is laid over it."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self._environ = dict(environ)

    def read(self) -> tuple[Settings, str]:
        """The tree, and the hash of the text. Blocks. Raises ConfigError."""
        text = text_of(self.path)
        return parse(text, str(self.path), self._environ), _hash(text)

    def look(self) -> tuple[int, int, int]:
        """What changes when the file does; the same while it cannot be seen."""
        try:
            seen = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (seen.st_ino, seen.st_mtime_ns, seen.st_size)

    def hash(self) -> str:
        """Of the text as it is now; empty where it cannot be read. Blocks."""
        try:
            return _hash(text_of(self.path))
        except ConfigError:
            return ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class House(Protocol):
    """What the app does for a reload. `furnish` raises ConfigError."""

    @property
    def rooms(self) -> Rooms: ...
    def furnish(self, settings: Settings, names: frozenset[str], prepared: Prepared) -> Rooms: ...
    def move(self, rooms: Rooms) -> None: ...
    def know(self, rooms: tuple[Rooms, ...]) -> None: ...
    async def learn_sizes(self, models: tuple[Model, ...]) -> None: ...


class Swap(Value, frozen=True):
    """A replacement that is being started."""

    placed: Placed
    task: asyncio.Task[None]


class Reloader:
    """`async with reloader:` follows the file where that is wished; leaving ends what is under way."""

    def __init__(
        self,
        house: House,
        fleet: Fleet,
        standing: Standing,
        clock: Clock,
        tell: Callable[[Event], None],
        metrics: ConfigMetrics,
        file: ConfigFile | None = None,
    ) -> None:
        self._house = house
        self._fleet = fleet
        self._standing = standing
        self._clock = clock
        self._tell = tell
        self._metrics = metrics
        self._file = file
        self._wanted = house.rooms.settings
        self._old: list[Rooms] = []
        self._swaps: dict[str, Swap] = {}
        self._late: set[str] = set()
        self._jobs = Jobs()
        # One thread for all reading: each thread that builds a classifier keeps some of that memory for itself.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reload")
        self._turn = asyncio.Lock()
        self._is_due = False
        self._status = ConfigStatus(loaded_unix_s=clock.unix(), sha256=file.hash() if file else "")
        metrics.loaded(self._status.loaded_unix_s)

    @property
    def late(self) -> frozenset[str]:
        """Models whose process this or an earlier reload has brought."""
        return frozenset(self._late)

    @property
    def status(self) -> ConfigStatus:
        return replace(self._status, replacing=tuple(self._swaps))

    async def __aenter__(self) -> Self:
        if self._file is not None and self._wanted.server.reload:
            self._jobs.begin(self._follow(self._file), "follow the configuration")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._jobs.__aexit__(kind, error, trace)
        self._reader.shutdown(wait=False, cancel_futures=True)
        for rooms in (*self._old, self._house.rooms):
            await rooms.close()
        for cache in {id(rooms.cache): rooms.cache for rooms in (*self._old, self._house.rooms)}.values():
            await cache.close()

    def __repr__(self) -> str:
        return f"Reloader({self._status.reloads} reloads, {len(self._old)} old trees in use, {self._jobs!r})"

    # ------------------------------------------------------------ when

    def begin(self, why: str) -> None:
        """Reload soon; what comes of it is told. Asked again before it has begun to read, it reads once."""
        if not self._is_due:
            self._is_due = True
            self._attempt(why)

    def _attempt(self, why: str) -> asyncio.Task[None]:
        task = self._jobs.begin(self._try(why), "reload")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A defect of ours ends one attempt, and is told; not the next."""
        if not task.cancelled() and (error := task.exception()):
            self._is_due = False
            said = f"A reload failed, by a defect in this server: {type(error).__name__}"
            self._status = replace(self._status, last_error=said)
            self._say("config_failed", said, level="error")

    async def reload(self, why: str) -> Changes:
        """Read the file and put it in force; what that changed. Raises ConfigError, and all is as before."""
        async with self._turn:
            self._is_due = False
            try:
                settings, sha256, prepared = await asyncio.get_running_loop().run_in_executor(self._reader, self._read)
                changes = self._adopt(settings, prepared)
            except ConfigError as error:
                self._refuse(error, why)
                raise
            self._status = replace(self._status, loaded_unix_s=self._clock.unix(), sha256=sha256, last_error="")
            self._status = replace(self._status, reloads=self._status.reloads + 1)
            self._metrics.loaded(self._status.loaded_unix_s)
            self._metrics.reloaded("ok" if changes else "unchanged")
            self._say("config_reloaded", f"Configuration reloaded ({why}): {changes}")
            return changes

    def _read(self) -> tuple[Settings, str, Prepared]:
        """1 and the dear part of 2. Blocks."""
        if self._file is None:
            raise ConfigError(("this server was started without a configuration file; there is none to read",))
        settings, sha256 = self._file.read()
        return settings, sha256, prepare(settings, self._house.rooms)

    async def _try(self, why: str) -> None:
        try:
            await self.reload(why)
        except ConfigError:
            return  # told already

    async def _follow(self, file: ConfigFile) -> None:
        """For ever. A change counts when the file was left alone for one look: an editor may still be writing."""
        handled = seen = file.look()
        tried = self._status.sha256
        while True:
            await self._clock.sleep(POLL_S)
            before, seen = seen, file.look()
            if seen == handled or seen != before:
                continue
            handled = seen
            sha256 = await asyncio.get_running_loop().run_in_executor(self._reader, file.hash)
            if sha256 not in (tried, self._status.sha256):
                await asyncio.wait({self._attempt("the file has changed")})
            tried = sha256

    # ------------------------------------------------------------ what changes

    def point(self, alias: str, model_id: str) -> None:
        """The alias means that model from the next request on; after a reload the file's word counts again."""
        self._wanted = self._wanted.model_copy(update={"aliases": {**self._wanted.aliases, alias: model_id}})
        self._refurnish()

    def _adopt(self, settings: Settings, prepared: Prepared) -> Changes:
        """2 – 5. Nothing is awaited, so that nobody sees half of it. Raises ConfigError, and nothing has changed."""
        changes, wanted = changes_between(self._wanted, settings), kept(self._wanted, settings)
        stale = self._stale(wanted)
        fresh = {
            one.id: self._standing.build(one, wanted, self._fleet.backends)
            for one in wanted.models
            if self._is_new(one, wanted, stale)
        }
        waiting = {name for name in fresh if self._runs(name)} | (self._swaps.keys() - stale)
        placed = {one.id: self._place(one, fresh, waiting) for one in wanted.models}
        rooms = self._house.furnish(_in_force(wanted, placed), _names(placed), prepared)
        for name in stale:
            self._swaps.pop(name).task.cancel()
        for one, backends in fresh.values():
            for spec in one.specs():
                self._fleet.add(spec, backends[spec.id], one.model)
        for name, one in placed.items():
            before = self._standing.placed.get(name)
            if before is not None and before.names == one.names and before.model != one.model:
                for spec in one.specs():
                    self._fleet.amend(spec)
        if self._wanted.fleet != wanted.fleet:
            self._fleet.govern(wanted.fleet)
        if fresh:
            self._jobs.begin(self._house.learn_sizes(tuple(one.model for one, _ in fresh.values())), "sizes")
        self._wanted = wanted
        self._late = (self._late | fresh.keys()) & placed.keys()
        for name in fresh.keys() & waiting:
            self._begin_swap(fresh[name][0])
        self._enter(rooms, placed)
        for name in fresh.keys() - waiting:
            if getattr(placed[name].model, "preload", False):
                self._jobs.begin(self._load_quietly(placed[name]), f"load {name}")
        return changes

    def _stale(self, wanted: Settings) -> set[str]:
        """Models whose replacement under way nobody wants any more."""
        processes = {one.id: process_of(one, wanted) for one in wanted.models}
        return {name for name, swap in self._swaps.items() if swap.placed.process != processes.get(name)}

    def _is_new(self, model: Model, wanted: Settings, stale: set[str]) -> bool:
        """Whether it needs a process that is neither there nor being started."""
        placed, process = self._standing.placed.get(model.id), process_of(model, wanted)
        is_under_way = model.id in self._swaps and model.id not in stale
        return not is_under_way and (placed is None or placed.process != process)

    def _runs(self, model_id: str) -> bool:
        placed = self._standing.placed.get(model_id)
        return placed is not None and any(self._fleet.is_resident(name) for name in placed.names)

    def _place(self, model: Model, fresh: Mapping[str, Built], waiting: Collection[str]) -> Placed:
        """3"""
        placed = self._standing.placed.get(model.id)
        if model.id in fresh and model.id not in waiting:
            return fresh[model.id][0]
        assert placed is not None  # noqa: S101  # what is neither new nor waits has been there
        return placed if model.id in waiting else replace(placed, model=model)

    def _enter(self, rooms: Rooms, placed: Mapping[str, Placed]) -> None:
        """4"""
        old, self._standing.placed = self._house.rooms, placed
        self._house.move(rooms)
        self._old.append(old)
        old.left = self._sweep
        for name in old.names - rooms.names:
            self._fleet.retire(name)
        self._sweep()

    def _refurnish(self) -> None:
        """4, where only models or aliases have changed."""
        placed, prepared = self._standing.placed, self._house.rooms.prepared
        self._enter(self._house.furnish(_in_force(self._wanted, placed), _names(placed), prepared), placed)

    def _sweep(self) -> None:
        """6"""
        empty = [rooms for rooms in self._old if not rooms.visitors]
        self._old = [rooms for rooms in self._old if rooms.visitors]
        living = (*self._old, self._house.rooms)
        for rooms in empty:
            if not any(rooms.cache is other.cache for other in living):
                self._jobs.begin(rooms.cache.close(), "close a cache")
            self._jobs.begin(rooms.close(), "close old rooms")
        known = {name for rooms in living for name in rooms.names}
        known.update(name for swap in self._swaps.values() for name in swap.placed.names)
        for name in self._fleet.backends.keys() - known:
            self._fleet.remove(name)
        self._house.know(living)

    # ------------------------------------------------------------ replacements

    def _begin_swap(self, placed: Placed) -> None:
        name = placed.model.id
        task = self._jobs.begin(self._swap(placed), f"replace {name}")
        self._swaps[name] = Swap(placed=placed, task=task)

    async def _swap(self, new: Placed) -> None:
        """5"""
        name, old = new.model.id, self._standing.placed[new.model.id]
        try:
            await self._load(new, may_evict=False)
        except PointsmanError as error:
            if error.code != NO_MEMORY:  # 5.3
                del self._swaps[name]
                self._sweep()
                self._keep(name, error)
                return
        else:  # 5.1
            self._take_over(new)
            self._say("model_replaced", f"{name}: the new process is ready and has taken over", model=name)
            return
        self._take_over(new)  # 5.2
        self._say("model_replaced", f"{name}: there is no memory for both, the old process leaves first", model=name)
        try:
            await self._load(new)
        except PointsmanError as error:
            now = self._standing.placed.get(name)
            if now is not None and now.names == new.names:  # else another reload has come between
                self._put_back(old)
                self._keep(name, error)

    def _take_over(self, new: Placed) -> None:
        """With its terms as they are wanted now, where they are those of the same process."""
        wanted = next(one for one in self._wanted.models if one.id == new.model.id)
        if new.process == process_of(wanted, self._wanted) and new.model != wanted:
            new = replace(new, model=wanted)
            for spec in new.specs():
                self._fleet.amend(spec)
        self._swaps.pop(new.model.id, None)
        self._standing.placed = {**self._standing.placed, new.model.id: new}
        self._refurnish()

    def _put_back(self, old: Placed) -> None:
        """Under another name where the old one is not free yet."""
        again, backends = self._standing.build(old.model, self._wanted, self._fleet.backends)
        for spec in again.specs():
            self._fleet.add(spec, backends[spec.id], old.model)
        self._take_over(again)

    async def _load(self, placed: Placed, *, may_evict: bool = True) -> None:
        """One of its deployments is enough. Raises PointsmanError."""
        loads = (self._fleet.load(name, may_evict=may_evict) for name in placed.names)
        ends = await asyncio.gather(*loads, return_exceptions=True)
        failures = [end for end in ends if isinstance(end, BaseException)]
        if len(failures) == len(ends):
            raise failures[0]

    async def _load_quietly(self, placed: Placed) -> None:
        try:
            await self._load(placed, may_evict=False)
        except PointsmanError:
            return  # the fleet has told it, or there is no memory: it is loaded when it is asked for

    # ------------------------------------------------------------ what is told

    def _keep(self, name: str, error: PointsmanError) -> None:
        said = f"models.{name}: the old process stays, for the new one could not be started: {error.message}"
        self._status = replace(self._status, last_error=said)
        self._say("model_kept", said, level="error", model=name)

    def _refuse(self, error: ConfigError, why: str) -> None:
        self._metrics.reloaded("invalid")
        self._status = replace(self._status, last_error=error.message)
        said = f"The configuration cannot be used ({why}); the one before stays in force:\n{error.message}"
        self._say("config_invalid", said, level="error")

    def _say(self, name: str, said: str, level: Level = "info", **details: str) -> None:
        self._tell(Event(name=name, message=said, level=level, details=tuple(details.items())))


def _names(placed: Mapping[str, Placed]) -> frozenset[str]:
    return frozenset(name for one in placed.values() for name in one.names)


def _in_force(wanted: Settings, placed: Mapping[str, Placed]) -> Settings:
    """What is wanted, but for models whose old process still runs."""
    return wanted.model_copy(update={"models": tuple(placed[one.id].model for one in wanted.models)})
