"""What a backend is: how one engine is started, probed and called.

Knows: the five methods and the values they exchange. Does not know: the fleet that calls them, memory budgets, plans.
One backend object stands for one deployment. It is driven by the fleet (start, stop, probe) and by dispatch (call).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from pointsman.clock import Clock
from pointsman.settings import Source
from pointsman.types import Footprint, FormFile, Lease, Request, Running, Value


class HttpReply(Protocol):
    """An upstream's answer while its connection is open. Raises UpstreamError, never a library's exception."""

    status: int
    content_type: str
    retry_after_s: float | None

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. UpstreamError `upstream_cut` where it breaks off, `upstream_timeout` at a stall."""
        ...

    async def read(self) -> bytes:
        """The whole body."""
        ...


class HttpClient(Protocol):
    """The one way out: `dispatch.http` in production, a script in tests. Never follows redirects."""

    def post(
        self,
        url: str,
        *,
        body: bytes = b"",
        fields: tuple[tuple[str, str], ...] = (),
        file: FormFile | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        first_byte_timeout_s: float,
        idle_timeout_s: float,
    ) -> AbstractAsyncContextManager[HttpReply]:
        """POST `body` as JSON, or `fields` and `file` as multipart/form-data where `file` is given."""
        ...

    async def get(self, url: str, *, headers: tuple[tuple[str, str], ...] = (), timeout_s: float) -> tuple[int, bytes]:
        """GET a small document: status and body."""
        ...


class Weights(Protocol):
    """Where weights come from (`sources`)."""

    def present(self, source: Source) -> Path | None:
        """The verified file or folder, if it is on disk already. Cheap: no hashing."""
        ...

    def size_bytes(self, source: Source) -> int:
        """Size on disk once fetched; 0 where unknown."""
        ...

    async def fetch(self, source: Source) -> Path:
        """The verified file or folder, fetched where needed; one fetch serves all who wait. Raises UpstreamError."""
        ...


class Toolbox(Value, frozen=True):
    """What `app` hands to every backend. `gpu_bytes`: (index, memory) of each GPU here, `gpu_budgets`: what models may
    take of it. `oom_kills`: how often the kernel has killed for want of memory so far; None: it does not say."""

    http: HttpClient
    weights: Weights
    clock: Clock
    log_dir: Path
    first_byte_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    load_timeout_s: float = 180.0
    gpu_bytes: tuple[tuple[int, int], ...] = ()
    gpu_budgets: tuple[tuple[int, int], ...] = ()
    oom_kills: Callable[[], int | None] = lambda: None


class Backend(Protocol):
    """One deployment of one engine. `can_continue`: it goes on with an answer that another began (`Request.prefix`)."""

    is_managed: bool
    can_continue: bool

    def footprint(self) -> Footprint:
        """Memory it will take, estimated without starting it. Pure apart from reading the weights' metadata on disk."""
        ...

    async def start(self) -> Running:
        """Fetch, start, wait until a warm-up request was answered. Raises UpstreamError(code="loading_failed") with the
        child's last words; on any exception, cancellation included, nothing is left running."""
        ...

    async def stop(self) -> None:
        """End the child and return when its memory is back. Idempotent; a no-op for attached deployments."""
        ...

    async def probe(self) -> None:
        """Ask the engine's own cheap health endpoint; raises UpstreamError. Costs no tokens."""
        ...

    def call(self, lease: Lease, request: Request) -> AbstractAsyncContextManager[HttpReply]:
        """Send the request on the lease. Leaving the context closes the upstream connection, which cancels its work."""
        ...


@runtime_checkable
class Sleeper(Protocol):
    """A backend whose engine can give memory back without ending. Whether it did, the fleet measures."""

    @property
    def can_sleep(self) -> bool: ...

    async def sleep(self) -> None:
        """Return when the engine sleeps. Raises UpstreamError `sleep_failed`."""
        ...

    async def wake(self) -> None:
        """Return when a warm-up request was answered. Raises UpstreamError `loading_failed`."""
        ...


class Variant(Value, frozen=True):
    """One quantisation of a model and what it would take."""

    name: str
    footprint: Footprint


@runtime_checkable
class Varied(Protocol):
    """A backend that can run one of several quantisations. `footprint` and `start` mean the one chosen."""

    def variants(self) -> tuple[Variant, ...]:
        """Best first. Pure, as `footprint` is."""
        ...

    def choose(self, index: int) -> None:
        """Run that one from the next start on."""
        ...
