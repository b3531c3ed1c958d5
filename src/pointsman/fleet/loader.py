"""Performs Start and Stop: one task for each life of a deployment, from `Backend.start` to its child's exit.

Knows: backends, and which of them runs. Does not know: why; it does what the machine decided and tells what came of it.
Invariants: every task has the fleet's task group as its parent and none ends with an exception; a Start is told as
Started or StartFailed, a Stop as Stopped, unless the other came in between.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from pointsman.clock import Clock
from pointsman.errors import PointsmanError
from pointsman.fleet.events import Event, Exited, Started, StartFailed, StopOverdue, Stopped
from pointsman.fleet.hardware import Hardware
from pointsman.fleet.timing import within
from pointsman.types import Footprint, Running

STOP_LIMIT_S = 15.0
STOP_PAUSE_S = 1.0
LAST_WORDS_CHARS = 300
LOAD_CODES = frozenset({"loading_failed", "fetch_failed"})


class Backend(Protocol):
    """What the fleet needs of `backends.base.Backend`."""

    @property
    def is_managed(self) -> bool: ...
    def footprint(self) -> Footprint: ...
    async def start(self) -> Running: ...
    async def stop(self) -> None: ...
    async def probe(self) -> None: ...


class Loader:
    """`tell` takes the events that come of it."""

    def __init__(
        self, backends: Mapping[str, Backend], clock: Clock, hardware: Hardware, tell: Callable[[Event], None]
    ) -> None:
        self._backends = backends
        self._clock = clock
        self._hardware = hardware
        self._tell = tell
        self._group: asyncio.TaskGroup | None = None
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, asyncio.Task[None]] = {}
        self.running: dict[str, Running] = {}
        self.pids: dict[str, int] = {}

    def open(self, group: asyncio.TaskGroup) -> None:
        """Tasks belong to `group` from now on."""
        self._group = group

    def start(self, deployment_id: str, life: int) -> None:
        """Begin a life. A former one has ended or is being forgotten."""
        self._lives[deployment_id] = self._task(self._live(deployment_id, life), f"live-{deployment_id}")

    def stop(self, deployment_id: str, life: int) -> None:
        """End it, whether ready or still starting."""
        self._stops[deployment_id] = self._task(self._stop(deployment_id, life), f"stop-{deployment_id}")

    async def close(self) -> None:
        """Whatever still runs is ended now, politely or not; returns after `STOP_LIMIT_S` at the latest."""
        tasks = [*self._lives.values(), *self._stops.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        ends = [within(self._clock, STOP_LIMIT_S, backend.stop()) for backend in self._backends.values()]
        await asyncio.gather(*ends, return_exceptions=True)
        self.pids.clear()

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        if self._group is None:
            work.close()
            raise RuntimeError("the fleet is not running: enter it with `async with fleet:` first")
        return self._group.create_task(work, name=name)

    async def _live(self, deployment_id: str, life: int) -> None:
        try:
            running = await self._backends[deployment_id].start()
        except PointsmanError as error:
            code = error.code if error.code in LOAD_CODES else "loading_failed"
            self._tell(self._failed(deployment_id, life, error.message, code))
            return
        except Exception as error:  # noqa: BLE001  # the seam: a backend of somebody else may raise anything
            self._tell(self._failed(deployment_id, life, f"{type(error).__name__}: {error}", "loading_failed"))
            return
        measured_bytes = await self._hardware.process_bytes(running.pid) if running.pid else 0
        self.running[deployment_id] = running
        if running.pid:
            self.pids[deployment_id] = running.pid
        now_s = self._clock.now()
        self._tell(Started(at_s=now_s, deployment_id=deployment_id, life=life, measured_bytes=measured_bytes))
        if running.exited:
            ended = await running.exited()
            self.pids.pop(deployment_id, None)
            words = ended.log_tail.strip()[-LAST_WORDS_CHARS:]
            now_s = self._clock.now()
            self._tell(Exited(at_s=now_s, deployment_id=deployment_id, life=life, code=ended.code, why=words))

    def _failed(self, deployment_id: str, life: int, why: str, code: str) -> StartFailed:
        return StartFailed(at_s=self._clock.now(), deployment_id=deployment_id, life=life, why=why, code=code)

    async def _stop(self, deployment_id: str, life: int) -> None:
        living = self._lives.pop(deployment_id, None)
        if living is not None:  # a start under way cleans up after itself before anything else is tried
            living.cancel()
            await asyncio.wait({living})
        while (problem := await self._try_to_stop(deployment_id)) is not None:
            now_s = self._clock.now()
            self._tell(StopOverdue(at_s=now_s, deployment_id=deployment_id, life=life, why=problem))
            await self._clock.sleep(STOP_PAUSE_S)
        self.pids.pop(deployment_id, None)
        self._tell(Stopped(at_s=self._clock.now(), deployment_id=deployment_id, life=life))

    async def _try_to_stop(self, deployment_id: str) -> str | None:
        """None once it has stopped, else what is wrong, in words."""
        try:
            await within(self._clock, STOP_LIMIT_S, self._backends[deployment_id].stop())
        except TimeoutError:
            return f"has not stopped after {STOP_LIMIT_S:g} s; still trying"
        except PointsmanError as error:
            return f"could not be stopped: {error.message}"
        except Exception as error:  # noqa: BLE001  # the same seam
            return f"could not be stopped: {type(error).__name__}: {error}"
        return None

    def __repr__(self) -> str:
        return f"Loader({', '.join(self.pids) or 'nothing runs'})"
