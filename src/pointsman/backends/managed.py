"""A backend whose engine is a child process of ours: everything that is alike for all of them.

Knows: the order fetch → spawn → warm up → ready, and how to undo it. Does not know: any engine; an `Engine` says what
it needs, how it is launched and what its warm-up request is. One object stands for one deployment.

Invariants: READY means that a real answer came over HTTP, because an engine's health page lies while the first request
would kill it; whatever interrupts `start`, no child is left. The fleet starts a deployment once at a time, and stops it
only without leases.
"""

import asyncio
import contextlib
import os
import secrets
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from pointsman.backends import openai_http
from pointsman.backends.base import HttpReply, Toolbox, Variant
from pointsman.backends.process import ChildProcess, load_problem
from pointsman.errors import PointsmanError, UpstreamError
from pointsman.settings import Source
from pointsman.types import Endpoint, Exit, Footprint, FormFile, Lease, Request, Running, Value
from pointsman.types_deployment import last_words_of

STOP_GRACE_S = 2.0
PROBE_TIMEOUT_S = 5.0
DYING_S = 1.0
LISTENING_PAUSE_S = 0.05


class Launch(Value, frozen=True):
    """How to start a child. `config` is one JSON object for its standard input; it holds the key, `argv` never does.

    `defaults`: JSON members that a chat or completion request gets where the caller left them open. `upstream_model`:
    what the child calls its model; empty: the model's id. `health`: its cheap page, which says 200. `listens_later`:
    it names its port before it listens there, as a keeper does (`external`). `is_open`: it was told no key.
    `continues`: see `openai_http.Wire`.
    """

    argv: tuple[str, ...]
    config: bytes
    env: tuple[tuple[str, str], ...] = ()
    defaults: tuple[tuple[str, bytes], ...] = ()
    upstream_model: str = ""
    health: str = "/health"
    listens_later: bool = False
    is_open: bool = False
    stop_grace_s: float = STOP_GRACE_S
    continues: openai_http.Continues = ""

    def __repr__(self) -> str:
        return f"Launch({' '.join(self.argv)})"


class WarmUp(Value, frozen=True):
    """The request whose answer proves that the engine works: POST `path` (`/chat/completions`) below the base URL.

    A JSON `body`, or `fields` and `file` as a multipart form. The answer must be 200 and not empty.
    """

    path: str
    body: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()
    file: FormFile | None = None


class Engine(Protocol):
    """What one engine's file provides. All four are pure but for reading the weights' metadata on disk.

    The child serves `/health` (200, no key needed) and OpenAI's paths below `/v1`, and refuses requests without
    `Authorization: Bearer <api_key>`.
    """

    def sources(self) -> tuple[Source, ...]:
        """The weights it needs, in the order in which `launch` takes their paths."""
        ...

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch: ...

    def warm_up(self) -> WarmUp: ...

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        """Estimated memory; a path is None where that source is not on disk yet."""
        ...


class Post(Value, frozen=True):
    """POST to a path below the child's root (`/sleep?level=1`), with its key; the answer must be 2xx."""

    path: str
    body: bytes = b""


class Order(Value, frozen=True):
    """One word over the lifeline, to a worker of ours that takes orders."""

    word: str


class Nap(Value, frozen=True):
    """How a child falls asleep and how it wakes: steps, one after the other, each within `limit_s`; waking may take as
    long as a load.
    """

    sleep: tuple[Post | Order, ...]
    wake: tuple[Post | Order, ...]
    limit_s: float = 60.0


@runtime_checkable
class Sleepy(Protocol):
    """An `Engine` that can give its memory back without ending."""

    def nap(self) -> Nap | None:
        """None where it cannot, as it is configured. Pure."""
        ...


def _named(source: Source) -> str:
    return " ".join((str(source), *source.include))


def worker_argv(module: str) -> tuple[str, ...]:
    """This interpreter running `pointsman.backends.worker.<module>`."""
    return (sys.executable, "-m", f"pointsman.backends.worker.{module}")


def default_threads() -> int:
    """Compute threads where the settings name none: one core less than this process may use, so that a spinning engine
    does not starve the gateway. Counts a container's CPU quota too.
    """
    cores = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or no quota in it (`max`)
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, float(quota) / float(period))
    return max(1, int(cores) - 1)


class ManagedBackend:
    """`backends.base.Backend`, and `Sleeper`, for a child process."""

    is_managed = True

    def __init__(self, model_id: str, engine: Engine, toolbox: Toolbox, *, smaller: tuple[Engine, ...] = ()) -> None:
        self.model_id = model_id
        self._engine = engine
        self._engines = (engine, *smaller)
        self._toolbox = toolbox
        self._child: ChildProcess | None = None
        self._launch = Launch(argv=(), config=b"")
        self._api_key = ""
        self._wire = openai_http.Wire()
        self.can_continue = False  # until a launch says so

    def footprint(self) -> Footprint:
        """The engine's estimate; weights that are not here yet count with their size once fetched."""
        return self._footprint(self._engine)

    def variants(self) -> tuple[Variant, ...]:
        """The engine itself first. Each is called like its weights."""
        return tuple(
            Variant(name=", ".join(map(_named, engine.sources())), footprint=self._footprint(engine))
            for engine in self._engines
        )

    def choose(self, index: int) -> None:
        self._engine = self._engines[index]

    def missing_bytes(self) -> int:
        """What would have to be fetched before a start; 0 for what nobody knows the size of."""
        return self._missing_bytes(self._engine)

    def _missing_bytes(self, engine: Engine) -> int:
        weights = self._toolbox.weights
        return sum(weights.size_bytes(source) for source in engine.sources() if weights.present(source) is None)

    def _footprint(self, engine: Engine) -> Footprint:
        known = engine.footprint(tuple(self._toolbox.weights.present(source) for source in engine.sources()))
        return msgspec.structs.replace(known, weights_bytes=known.weights_bytes + self._missing_bytes(engine))

    async def start(self) -> Running:
        await self.stop()
        tools = self._toolbox
        paths = tuple([await tools.weights.fetch(source) for source in self._engine.sources()])
        self._api_key = secrets.token_urlsafe(24)
        self._launch = launch = self._engine.launch(paths, self._api_key)
        child = await ChildProcess.spawn(
            launch.argv,
            launch.config,
            log_path=tools.log_dir / f"{self.model_id}.log",
            clock=tools.clock,
            ready_timeout_s=tools.load_timeout_s,
            env=launch.env,
            oom_kills=tools.oom_kills,
        )
        endpoint = self._endpoint(child)
        try:
            if launch.listens_later:
                await self._until_it_listens(child)
            await self._warm_up(child, endpoint)
        except BaseException:  # cancellation too: nobody else has a handle to this child
            await child.stop(0)
            raise
        self._child = child
        self._wire = openai_http.Wire(
            defaults=launch.defaults,
            continues=launch.continues,
            first_byte_timeout_s=tools.first_byte_timeout_s,
            idle_timeout_s=tools.idle_timeout_s,
        )
        self.can_continue = bool(launch.continues)
        return Running(endpoint=endpoint, pid=child.pid, exited=child.exited)

    async def stop(self) -> None:
        child = self._child
        if child is not None:
            await child.stop(self._launch.stop_grace_s)
            self._child = None

    async def probe(self) -> None:
        child = self._child
        if child is None:
            raise UpstreamError(f"`{self.model_id}` is not running", code="upstream_unreachable")
        child.trim_log()
        status, body = await self._health(child)
        if status != 200:
            said = body[:200].decode("utf-8", "replace")
            raise UpstreamError(f"`{self.model_id}`: health {status}: {said}", upstream_status=status)

    def call(self, lease: Lease, request: Request) -> AbstractAsyncContextManager[HttpReply]:
        return openai_http.call(self._toolbox.http, lease, request, self._wire)

    # ------------------------------------------------------------ asleep

    @property
    def can_sleep(self) -> bool:
        return self._nap() is not None

    async def sleep(self) -> None:
        await self._take_steps("sleep", "sleep_failed")

    async def wake(self) -> None:
        child = await self._take_steps("wake", "loading_failed")
        await self._warm_up(child, self._endpoint(child))

    def _nap(self) -> Nap | None:
        return self._engine.nap() if isinstance(self._engine, Sleepy) else None

    async def _take_steps(self, name: str, code: str) -> ChildProcess:
        """Those of `Nap.sleep` or `Nap.wake`. Raises UpstreamError with the code."""
        child, nap = self._child, self._nap()
        if child is None or nap is None:
            why = "is not running" if child is None else "cannot, as it is configured"
            raise UpstreamError(f"`{self.model_id}` cannot {name}: it {why}", code=code)
        is_sleep = name == "sleep"
        limit_s = nap.limit_s if is_sleep else max(nap.limit_s, self._toolbox.load_timeout_s)
        try:
            for step in nap.sleep if is_sleep else nap.wake:
                if isinstance(step, Order):
                    await child.order(step.word, limit_s)
                else:
                    await self._post(child, step, limit_s)
        except UpstreamError as error:
            raise UpstreamError(f"`{self.model_id}` did not {name}: {error.message}", code=code) from error
        return child

    async def _post(self, child: ChildProcess, step: Post, limit_s: float) -> None:
        async with self._toolbox.http.post(
            f"http://127.0.0.1:{child.port}{step.path}",
            body=step.body,
            headers=openai_http.bearer(self._api_key),
            first_byte_timeout_s=limit_s,
            idle_timeout_s=limit_s,
        ) as reply:
            status, answer = reply.status, await reply.read()
        if status // 100 != 2:
            said = answer[:200].decode("utf-8", "replace")
            raise UpstreamError(f"POST {step.path}: HTTP {status}: {said}", upstream_status=status)

    # ------------------------------------------------------------ helpers

    def _endpoint(self, child: ChildProcess) -> Endpoint:
        launch, base_url = self._launch, f"http://127.0.0.1:{child.port}/v1"
        api_key = "" if launch.is_open else self._api_key
        return Endpoint(base_url=base_url, upstream_model=launch.upstream_model or self.model_id, api_key=api_key)

    async def _health(self, child: ChildProcess) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{child.port}{self._launch.health}"
        return await self._toolbox.http.get(url, timeout_s=PROBE_TIMEOUT_S)

    async def _until_it_listens(self, child: ChildProcess) -> None:
        """Until its health page says 200, which is no more than that. Ends early where the child does."""
        why, began_s = "it does not listen", self._toolbox.clock.now()
        try:
            async with asyncio.timeout(max(1.0, self._toolbox.load_timeout_s - child.ready_in_s)):
                while await self._end_of(child, LISTENING_PAUSE_S) is None:
                    try:
                        status, _ = await self._health(child)
                    except UpstreamError as error:
                        why = error.message
                        continue
                    if status == 200:
                        child.ready_in_s += self._toolbox.clock.now() - began_s
                        return
                    why = f"health {status}"
        except TimeoutError:
            why += f"; not ready after {self._toolbox.load_timeout_s:g} s, see `load_timeout_s`"
        raise await self._failed(child, why)

    @staticmethod
    async def _end_of(child: ChildProcess, within_s: float) -> Exit | None:
        """None where it still runs then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await child.exited()
        return None

    async def _warm_up(self, child: ChildProcess, endpoint: Endpoint) -> None:
        warm, left_s = self._engine.warm_up(), max(1.0, self._toolbox.load_timeout_s - child.ready_in_s)
        try:
            async with self._toolbox.http.post(
                endpoint.base_url + warm.path,
                body=warm.body,
                fields=warm.fields,
                file=warm.file,
                headers=openai_http.bearer(endpoint.api_key),
                first_byte_timeout_s=left_s,
                idle_timeout_s=left_s,
            ) as reply:
                status, answer = reply.status, await reply.read()
        except PointsmanError as error:
            raise await self._failed(child, error.message) from error
        if status != 200 or not answer:
            words = last_words_of(answer.decode("utf-8", "replace"))
            raise await self._failed(child, f"HTTP {status}: {words}")

    async def _failed(self, child: ChildProcess, why: str) -> UpstreamError:
        ended = await self._end_of(child, DYING_S)  # how it died, where it did
        said = last_words_of(child.log_tail()) or "nothing"
        return UpstreamError(
            f"`{self.model_id}` started but did not answer its warm-up request ({why}). Its log, `GET /models/"
            f"{self.model_id}/logs`, ends with: {said}",
            code=load_problem(ended or Exit(code=0, log_tail=why)),
        )

    def __repr__(self) -> str:
        return f"ManagedBackend({self.model_id}, {self._child or 'stopped'})"
