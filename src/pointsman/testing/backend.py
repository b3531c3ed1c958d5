"""A backend that does what a test says: slow or failing starts, crashes, stops that hang, probes that fail, any reply.

Knows: `backends.base.Backend`, and what may not be done to one. Does not know: any engine.
What was done wrong to it stands in `misuse`; a test asserts that it is empty.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pointsman.clock import Clock
from pointsman.errors import PointsmanError, UpstreamError
from pointsman.types import Endpoint, Exit, Footprint, Lease, Request, Running, Value

_PIDS = itertools.count(50_000)


class ScriptedStart(Value, frozen=True):
    """One start: it takes `after_s` (None: for ever), then fails with `error`, or succeeds where that is empty."""

    after_s: float | None = 0.0
    error: str = ""
    code: str = "loading_failed"


class ScriptedReply:
    """An upstream's answer. After its chunks it breaks off with `error`, where one is given."""

    def __init__(
        self,
        *chunks: bytes,
        status: int = 200,
        content_type: str = "application/json",
        retry_after_s: float | None = None,
        error: PointsmanError | None = None,
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.retry_after_s = retry_after_s
        self._chunks = chunks
        self._error = error

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._error is not None:
            raise self._error

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])


class ScriptedBackend:
    """`backends.base.Backend`. `starts` and `replies` are used up one by one; without any, all goes well.

    `probe_problem`: what the next probes raise; empty: nothing. `stop_s`: None hangs for ever.
    """

    def __init__(
        self,
        clock: Clock,
        name: str = "scripted",
        *,
        is_managed: bool = True,
        footprint_bytes: int = 0,
        load_s: float = 0.0,
        stop_s: float | None = 0.0,
    ) -> None:
        self.name = name
        self.is_managed = is_managed
        self.can_continue = False
        self.footprint_bytes = footprint_bytes
        self.load_s = load_s
        self.stop_s = stop_s
        self.starts: deque[ScriptedStart] = deque()
        self.replies: deque[ScriptedReply] = deque()
        self.probe_problem = ""
        self.start_count = self.stop_count = self.probe_count = 0
        self.calls: list[tuple[Lease, Request]] = []
        self.open_calls = 0
        self.misuse: list[str] = []
        self.pid: int | None = None
        self._clock = clock
        self._starting = 0
        self._exit: asyncio.Future[Exit] | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a child, ready or not."""
        return self._starting > 0 or (self._exit is not None and not self._exit.done())

    def footprint(self) -> Footprint:
        return Footprint(weights_bytes=self.footprint_bytes)

    async def start(self) -> Running:
        if self.is_running and self.is_managed:
            self.misuse.append("started twice")
        script = self.starts.popleft() if self.starts else ScriptedStart(after_s=self.load_s)
        self.start_count += 1
        self._starting += 1
        try:
            if script.after_s is None:
                await asyncio.Event().wait()
            elif script.after_s:
                await self._clock.sleep(script.after_s)
            if script.error:
                raise UpstreamError(script.error, code=script.code)
        finally:
            self._starting -= 1
        endpoint = Endpoint(base_url=f"http://127.0.0.1:9/{self.name}/{self.start_count}", upstream_model=self.name)
        if not self.is_managed:
            return Running(endpoint=endpoint)
        self._exit = asyncio.get_running_loop().create_future()
        self.pid = next(_PIDS)
        return Running(endpoint=endpoint, pid=self.pid, exited=self._wait)

    async def stop(self) -> None:
        self.stop_count += 1
        if self.stop_s is None:
            await asyncio.Event().wait()
        elif self.stop_s:
            await self._clock.sleep(self.stop_s)
        self.crash(0)

    async def probe(self) -> None:
        self.probe_count += 1
        if self.probe_problem:
            raise UpstreamError(self.probe_problem, code="upstream_unreachable")

    @asynccontextmanager
    async def call(self, lease: Lease, request: Request) -> AsyncIterator[ScriptedReply]:
        """The next scripted reply; open calls are counted, so that a test sees an abort."""
        self.calls.append((lease, request))
        self.open_calls += 1
        try:
            yield self.replies.popleft() if self.replies else ScriptedReply(b"{}")
        finally:
            self.open_calls -= 1

    def crash(self, code: int = -9, words: str = "") -> None:
        """The child ends now. Nothing where there is none."""
        if self._exit is not None and not self._exit.done():
            self._exit.set_result(Exit(code=code, log_tail=words))

    async def _wait(self) -> Exit:
        if self._exit is None:
            raise RuntimeError("nothing was started")
        return await asyncio.shield(self._exit)

    def __repr__(self) -> str:
        return f"ScriptedBackend({self.name}, {'running' if self.is_running else 'stopped'})"
