"""The fleet in an operator's hands: load, unload, sleep, wake; which model an alias means; what a child has written.

Knows: what an operator may want, what he is told. Does not know: HTTP (`admin_routes`), how the fleet does any of it.
Invariants: a change that takes longer than its caller waits goes on, and is told when it ends; an alias moves only when
the model it moves to is ready; one move of an alias at a time.
"""

import asyncio
import difflib
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from pointsman.edge.gate import Gate
from pointsman.edge.jobs import Jobs
from pointsman.errors import PointsmanError, RequestError
from pointsman.fleet.status import DeploymentStatus, FleetStatus
from pointsman.redact import Hide, redact
from pointsman.settings import Settings
from pointsman.types import Breaker, DeploymentView, Tier, Value

TAIL_BYTES = 4 << 20
OK = "ok"
STATES = {"auto": None, "forced_open": Breaker.FORCED_OPEN, "forced_closed": Breaker.FORCED_CLOSED}
"""What an operator may want of a breaker."""


class Action(StrEnum):
    LOAD = "load"
    UNLOAD = "unload"
    SLEEP = "sleep"
    WAKE = "wake"
    POINT = "point"
    BREAKER = "breaker"


class Change(Value, frozen=True):
    """One change that an operator asked for, once it has ended. `result` is `ok` or a code of `errors.TABLE`."""

    action: Action
    model_id: str
    result: str
    who: str
    alias: str = ""


class Breakers(Protocol):
    """`state` is forced; None: the breaker sees for itself. Raises RequestError."""

    def force(self, deployment_id: str, state: Breaker | None) -> DeploymentView: ...


class Fleet(Breakers, Protocol):
    """Each returns once it is so. Raise Refused, RequestError."""

    async def load(self, deployment_id: str) -> DeploymentView: ...
    async def unload(self, deployment_id: str) -> DeploymentView: ...
    async def rest(self, deployment_id: str) -> DeploymentView: ...
    async def wake(self, deployment_id: str) -> DeploymentView: ...
    def status(self) -> FleetStatus: ...


class Office(Protocol):
    """What the app gives an operator beside the fleet."""

    @property
    def settings(self) -> Settings: ...
    def point(self, alias: str, model_id: str) -> None: ...
    def estimated_bytes(self, deployment_id: str) -> int: ...
    def log_path(self, deployment_id: str) -> Path | None: ...
    def administered(self, change: Change) -> None: ...


class ModelRow(Value, frozen=True):
    """One deployment: its status, its backend, the aliases that mean its model, its footprint by its metadata alone."""

    backend: str
    aliases: tuple[str, ...]
    estimated_bytes: int
    status: DeploymentStatus


class ModelRows(Value, frozen=True):
    """Every deployment, and what of the budget is taken."""

    rows: tuple[ModelRow, ...]
    fleet: FleetStatus


class Answer(Value, frozen=True):
    """How a change stands. `is_done`: it is so; else it goes on. `deployments`: as they are now."""

    is_done: bool
    model_id: str
    deployments: tuple[DeploymentStatus, ...]
    alias: str = ""


class AliasRow(Value, frozen=True):
    """`moving_to`: the model that is being loaded for it; `last_error`: why the last move failed."""

    name: str
    model_id: str
    moving_to: str = ""
    last_error: str = ""


class Move(Value, frozen=True):
    """An alias on its way."""

    model_id: str
    task: asyncio.Task[None]


class Admin:
    """`async with admin:` ends with whatever it has under way."""

    def __init__(self, office: Office, fleet: Fleet, gate: Gate, hide: Hide = redact) -> None:
        self.gate = gate
        self._office = office
        self._fleet = fleet
        self._hide = hide
        self._jobs = Jobs()
        self._moves: dict[str, Move] = {}
        self._failed: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        await self._jobs.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._jobs.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"Admin({self.gate!r}, {self._jobs!r})"

    # ------------------------------------------------------------ reading

    async def models(self) -> ModelRows:
        """Every deployment, in the configured order."""
        fleet = self._fleet.status()
        estimates = await asyncio.to_thread(self._estimates, fleet)
        rows = tuple(self._row(status, estimates[status.id]) for status in fleet.deployments)
        return ModelRows(rows=rows, fleet=fleet)

    async def model(self, name: str) -> tuple[ModelRow, ...]:
        """The deployments that a model, an alias or a deployment's own id names. Raises RequestError."""
        ids = {status.id for status in self._named(name)}
        return tuple(row for row in (await self.models()).rows if row.status.id in ids)

    async def log(self, name: str, lines: int, *, previous: bool = False) -> str:
        """The last lines that a model's child wrote, or the one before it, without secrets. Raises RequestError."""
        status = self._named(name)[0]
        path = self._office.log_path(status.id)
        if path is None:
            raise RequestError(f"`{status.id}` runs elsewhere; its log is there", code="not_found")
        path = path.with_name(f"{path.name}.1") if previous else path
        try:
            text = await asyncio.to_thread(_tail, path, lines)
        except OSError:
            when = "before the present one" if previous else "on this machine yet"
            raise RequestError(f"`{status.id}` has not run {when}: there is no log", code="not_found") from None
        return self._hide(text)

    def aliases(self) -> tuple[AliasRow, ...]:
        """Every alias, and those on their way to being one."""
        known = self._office.settings.aliases
        new = {name: "" for name in self._moves if name not in known}
        return tuple(self._alias(name, model_id) for name, model_id in {**known, **new}.items())

    # ------------------------------------------------------------ changing

    async def change(self, action: Action, name: str, wait_s: float, who: str) -> Answer:
        """Do it to every deployment that `name` means, and wait so long at most. Raises PointsmanError."""
        statuses = self._named(name)
        for status in statuses:
            _check(action, status)
        model_id, ids = statuses[0].model_id, tuple(status.id for status in statuses)
        change = Change(action=action, model_id=model_id, result=OK, who=who)
        task = self._jobs.begin(self._told(partial(self._all, action, ids), change), f"{action} {name}")
        is_done = await self._jobs.wait(task, wait_s)
        return Answer(is_done=is_done, model_id=model_id, deployments=self._now(ids))

    async def point(self, alias: str, model: str, wait_s: float, who: str) -> Answer:
        """Load `model`, then let `alias` mean it; until it is ready, and where it fails, all stays as it is.

        Raises RequestError `model_not_found`, `conflict`, and whatever a load may raise.
        """
        model_id = self._settled(model)
        self._check_alias(alias)
        ids = tuple(status.id for status in self._named(model_id))
        move = self._moves.get(alias)
        if move and move.model_id != model_id:
            said = f"`{alias}` is on its way to `{move.model_id}`; wait for that, then ask again"
            raise RequestError(said, code="conflict", param="model")
        if move is None:
            change = Change(action=Action.POINT, model_id=model_id, result=OK, who=who, alias=alias)
            work = partial(self._move, alias, model_id, ids)
            task = self._jobs.begin(self._told(work, change), f"point {alias}")
            move = self._moves[alias] = Move(model_id=model_id, task=task)
        is_done = await self._jobs.wait(move.task, wait_s)
        return Answer(is_done=is_done, model_id=model_id, deployments=self._now(ids), alias=alias)

    def force(self, name: str, wish: str, who: str) -> Answer:
        """Force the breakers of every deployment that `name` means; `auto` ends that. Raises RequestError."""
        if wish not in STATES:
            said = f"`state` must be one of {', '.join(STATES)}, not `{wish[:40]}`"
            raise RequestError(said, param="state")
        statuses = self._named(name)
        for status in statuses:
            self._fleet.force(status.id, STATES[wish])
        model_id, ids = statuses[0].model_id, tuple(status.id for status in statuses)
        self._office.administered(Change(action=Action.BREAKER, model_id=model_id, result=OK, who=who))
        return Answer(is_done=True, model_id=model_id, deployments=self._now(ids))

    async def _move(self, alias: str, model_id: str, ids: tuple[str, ...]) -> None:
        self._failed.pop(alias, None)
        try:
            await self._all(Action.LOAD, ids)
        except PointsmanError as error:
            if alias in self._office.settings.aliases:
                self._failed[alias] = error.message
            raise
        finally:
            del self._moves[alias]
        self._office.point(alias, model_id)

    async def _all(self, action: Action, ids: tuple[str, ...]) -> None:
        """Every deployment of a model. A load has succeeded where one is ready; else the first failure is raised."""
        ends = await asyncio.gather(*(self._one(action, name) for name in ids), return_exceptions=True)
        failures = [end for end in ends if isinstance(end, BaseException)]
        is_enough = action in (Action.LOAD, Action.WAKE) and len(failures) < len(ends)
        if failures and not is_enough:
            raise failures[0]

    async def _one(self, action: Action, deployment_id: str) -> None:
        match action:
            case Action.UNLOAD:
                await self._fleet.unload(deployment_id)
            case Action.SLEEP:
                await self._fleet.rest(deployment_id)
            case Action.WAKE:
                await self._fleet.wake(deployment_id)
            case _:
                await self._fleet.load(deployment_id)

    async def _told(self, work: Callable[[], Awaitable[None]], change: Change) -> None:
        """The work, and word of its end: the caller may have left by then."""
        try:
            await work()
        except PointsmanError as error:
            self._office.administered(msgspec.structs.replace(change, result=error.code))
            raise
        self._office.administered(change)

    # ------------------------------------------------------------ names

    def _named(self, name: str) -> tuple[DeploymentStatus, ...]:
        target = self._office.settings.aliases.get(name, name)
        statuses = self._fleet.status().deployments
        found = tuple(status for status in statuses if target in (status.model_id, status.id))
        if not found:
            raise self._unknown(name)
        return found

    def _settled(self, name: str) -> str:
        """The model that a name means."""
        model_id = self._office.settings.aliases.get(name, name)
        if model_id not in {model.id for model in self._office.settings.models}:
            raise self._unknown(name)
        return model_id

    def _unknown(self, name: str) -> RequestError:
        known = [model.id for model in self._office.settings.models]
        near = difflib.get_close_matches(name, [*known, *self._office.settings.aliases], n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"models are {', '.join(known)}"
        return RequestError(f"There is no model `{name}`; {hint}", code="model_not_found", param="model")

    def _check_alias(self, alias: str) -> None:
        settings = self._office.settings
        taken = {model.id: "a model's id" for model in settings.models}
        taken |= dict.fromkeys(settings.routing.objectives, "an objective's name") | {"auto": "the router's own name"}
        if alias in taken:
            raise RequestError(f"`{alias}` is {taken[alias]}; choose another name", code="conflict", param="name")

    def _now(self, ids: tuple[str, ...]) -> tuple[DeploymentStatus, ...]:
        return tuple(status for status in self._fleet.status().deployments if status.id in ids)

    def _row(self, status: DeploymentStatus, estimated_bytes: int) -> ModelRow:
        settings = self._office.settings
        backend = next((model.backend for model in settings.models if model.id == status.model_id), "")
        aliases = tuple(alias for alias, model_id in settings.aliases.items() if model_id == status.model_id)
        return ModelRow(backend=backend, aliases=aliases, estimated_bytes=estimated_bytes, status=status)

    def _estimates(self, fleet: FleetStatus) -> dict[str, int]:
        """Reads the metadata of weights, in a thread."""
        managed = {status.id: status.is_managed for status in fleet.deployments}
        return {name: self._office.estimated_bytes(name) if ours else 0 for name, ours in managed.items()}

    def _alias(self, name: str, model_id: str) -> AliasRow:
        move = self._moves.get(name)
        moving_to = move.model_id if move else ""
        return AliasRow(name=name, model_id=model_id, moving_to=moving_to, last_error=self._failed.get(name, ""))


def _check(action: Action, status: DeploymentStatus) -> None:
    """What can be known beforehand to be impossible."""
    if action in (Action.UNLOAD, Action.SLEEP) and not status.is_managed:
        said = f"`{status.id}` runs elsewhere and is not ours to {action}; do so where it runs"
        raise RequestError(said, code="conflict", param="model")
    if action is Action.SLEEP and status.tier is Tier.HOT and not status.memory.asleep_bytes:
        said = f"the engine of `{status.id}` cannot sleep; unload it instead"
        raise RequestError(said, code="conflict", param="model")


def _tail(path: Path, lines: int) -> str:
    """The last lines, of the last `TAIL_BYTES`."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    kept = text.splitlines()[-lines:]
    return "".join(f"{line}\n" for line in kept)
