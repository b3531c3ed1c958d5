"""Performs Start, Sleep, Wake and Stop: one task for each life of a deployment, from `Backend.start` to its end.

Knows: backends, and which of them runs. Does not know: why; it does what the machine decided and tells what came of it.
Invariants: every task has the fleet's task group as its parent and none ends with an exception; a Start is told as
Started or StartFailed, a Sleep as Slept or SleepFailed, a Wake as Woken or WakeFailed, a Stop as Stopped, unless
another came in between. Stopped and Slept are told when the memory is back (`scales`).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from pointsman.backends.base import Sleeper
from pointsman.clock import Clock
from pointsman.errors import PointsmanError
from pointsman.fleet.events import (
    Event,
    Exited,
    SleepFailed,
    Slept,
    Started,
    StartFailed,
    StopOverdue,
    Stopped,
    WakeFailed,
    Woken,
)
from pointsman.fleet.hardware import Hardware
from pointsman.fleet.memory import in_words
from pointsman.fleet.scales import Holding, Scales, is_asleep
from pointsman.fleet.timing import within
from pointsman.types import Footprint, Running

STOP_LIMIT_S = 15.0
STOP_PAUSE_S = 1.0
SLEEP_LIMIT_S = 180.0
LOAD_CODES = frozenset({"loading_failed", "fetch_failed", "out_of_memory"})


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
        self._scales = Scales(hardware, clock)
        self._tell = tell
        self._group: asyncio.TaskGroup | None = None
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._naps: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, Holding] = {}
        self.running: dict[str, Running] = {}
        self.pids: dict[str, int] = {}

    def open(self, group: asyncio.TaskGroup) -> None:
        """Tasks belong to `group` from now on."""
        self._group = group

    def start(self, deployment_id: str, life: int) -> None:
        """Begin a life. A former one has ended or is being forgotten, and its nap with it."""
        if nap := self._naps.pop(deployment_id, None):
            nap.cancel()
        self._lives[deployment_id] = self._task(self._live(deployment_id, life), f"live-{deployment_id}")

    def sleep(self, deployment_id: str, life: int) -> None:
        """Have its engine give memory back."""
        self._naps[deployment_id] = self._task(self._sleep(deployment_id, life), f"sleep-{deployment_id}")

    def wake(self, deployment_id: str, life: int) -> None:
        """Have its engine serve again."""
        self._naps[deployment_id] = self._task(self._wake(deployment_id, life), f"wake-{deployment_id}")

    def stop(self, deployment_id: str, life: int) -> None:
        """End it, whether ready, asleep, or still on the way there."""
        self._stops[deployment_id] = self._task(self._stop(deployment_id, life), f"stop-{deployment_id}")

    def forget(self, deployment_id: str) -> None:
        """Its last life has ended, and there will be no other."""
        for known in (self._lives, self._naps, self._stops, self._held, self.running, self.pids):
            known.pop(deployment_id, None)

    async def close(self) -> None:
        """Whatever still runs is ended now, politely or not; returns after `STOP_LIMIT_S` at the latest."""
        tasks = [*self._lives.values(), *self._naps.values(), *self._stops.values()]
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
        held = self._held[deployment_id] = await self._scales.weigh(running.pid)
        self.running[deployment_id] = running
        if running.pid:
            self.pids[deployment_id] = running.pid
        self._tell(
            Started(
                at_s=self._clock.now(),
                deployment_id=deployment_id,
                life=life,
                measured_bytes=held.host_bytes,
                gpu_bytes=held.gpu_bytes,
            )
        )
        if running.exited:
            ended = await running.exited()
            self.pids.pop(deployment_id, None)
            words = ", ".join(filter(None, (ended.fault, f"see `GET /models/{deployment_id}/logs`")))
            now_s = self._clock.now()
            self._tell(Exited(at_s=now_s, deployment_id=deployment_id, life=life, code=ended.code, why=words))

    def _failed(self, deployment_id: str, life: int, why: str, code: str) -> StartFailed:
        return StartFailed(at_s=self._clock.now(), deployment_id=deployment_id, life=life, why=why, code=code)

    # ------------------------------------------------------------ asleep

    async def _sleep(self, deployment_id: str, life: int) -> None:
        problem = await self._try_to_sleep(deployment_id)
        if problem and await self._try_to_wake(deployment_id):  # neither asleep nor awake: it ends, and `_live` tells
            await self._try_to_stop(deployment_id)
        now_s = self._clock.now()
        if problem:
            self._tell(SleepFailed(at_s=now_s, deployment_id=deployment_id, life=life, why=problem))
            return
        left = self._held[deployment_id]
        self._tell(
            Slept(
                at_s=now_s,
                deployment_id=deployment_id,
                life=life,
                measured_bytes=left.host_bytes,
                gpu_bytes=left.gpu_bytes,
            )
        )

    async def _wake(self, deployment_id: str, life: int) -> None:
        if problem := await self._try_to_wake(deployment_id):
            self._tell(WakeFailed(at_s=self._clock.now(), deployment_id=deployment_id, life=life, why=problem))
            return
        held = self._held[deployment_id] = await self._scales.weigh(self.pids.get(deployment_id))
        self._tell(
            Woken(
                at_s=self._clock.now(),
                deployment_id=deployment_id,
                life=life,
                measured_bytes=held.host_bytes,
                gpu_bytes=held.gpu_bytes,
            )
        )

    async def _try_to_sleep(self, deployment_id: str) -> str:
        """Empty once it sleeps and its memory is back, else what is wrong, in words."""
        pid = self.pids.get(deployment_id)
        held = await self._scales.weigh(pid)
        problem = await self._attempt(deployment_id, lambda one: within(self._clock, SLEEP_LIMIT_S, one.sleep()))
        if problem:
            return problem
        left = await self._scales.until_freed(pid, held, self._asleep_bytes(deployment_id))
        if not is_asleep(held, left):
            return f"its engine says that it sleeps, but of {in_words(held.deciding_bytes)} nearly all are still held"
        self._held[deployment_id] = left
        return ""

    async def _try_to_wake(self, deployment_id: str) -> str:
        """Empty once it has answered, else what is wrong, in words. Its backend limits the time, as for a start."""
        return await self._attempt(deployment_id, lambda one: one.wake())

    async def _attempt(self, deployment_id: str, nap: Callable[[Sleeper], Coroutine[Any, Any, None]]) -> str:
        backend = self._backends[deployment_id]
        if not isinstance(backend, Sleeper):
            return "its engine cannot"
        try:
            await nap(backend)
        except TimeoutError:
            return f"not done after {SLEEP_LIMIT_S:g} s"
        except PointsmanError as error:
            return error.message
        except Exception as error:  # noqa: BLE001  # the same seam
            return f"{type(error).__name__}: {error}"
        return ""

    def _asleep_bytes(self, deployment_id: str) -> int:
        try:
            return self._backends[deployment_id].footprint().asleep_bytes
        except PointsmanError:  # its weights are gone meanwhile; the sleep is judged without an estimate
            return 0

    # ------------------------------------------------------------ the end

    async def _stop(self, deployment_id: str, life: int) -> None:
        doing = {task for task in (self._lives.pop(deployment_id, None), self._naps.pop(deployment_id, None)) if task}
        for task in doing:
            task.cancel()
        if doing:  # a start under way cleans up after itself before anything else is tried
            await asyncio.wait(doing)
        held, pid = self._held.pop(deployment_id, Holding()), self.pids.get(deployment_id)
        taken = self._scales.taken() if held.gpu_bytes else {}
        while (problem := await self._try_to_stop(deployment_id)) is not None:
            self._overdue(deployment_id, life, problem)
            await self._clock.sleep(STOP_PAUSE_S)
        self.pids.pop(deployment_id, None)
        if pid is not None and (missing := await self._scales.until_back(pid, held, taken)):
            self._overdue(deployment_id, life, f"has stopped, but {missing}")
        self._tell(Stopped(at_s=self._clock.now(), deployment_id=deployment_id, life=life))

    def _overdue(self, deployment_id: str, life: int, why: str) -> None:
        self._tell(StopOverdue(at_s=self._clock.now(), deployment_id=deployment_id, life=life, why=why))

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
