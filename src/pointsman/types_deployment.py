"""A deployment that runs: where it listens, what it takes, how it ended, the permit to call it. On hand in `types`."""

from collections.abc import Awaitable, Callable

from pointsman.values import Value


class Endpoint(Value, frozen=True):
    """Where a running deployment listens and what it calls its model."""

    base_url: str
    upstream_model: str
    api_key: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url}, {self.upstream_model})"


class Footprint(Value, frozen=True):
    """Estimated memory of a running deployment. Pages of a mapped file (`weights_bytes`) are shared cache.

    `gpu_bytes`: (GPU index, bytes) beside the host's. `asleep_bytes`: host memory while asleep; 0: it cannot sleep.
    """

    weights_bytes: int = 0
    kv_bytes: int = 0
    overhead_bytes: int = 0
    gpu_bytes: tuple[tuple[int, int], ...] = ()
    asleep_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.overhead_bytes


class Exit(Value, frozen=True):
    """How a child ended: its return code (negative: the signal) and the last lines it wrote. `was_starved`: whether the
    kernel killed for want of memory while it ran; None: nobody could tell."""

    code: int
    log_tail: str
    was_starved: bool | None = None


class Running(Value, frozen=True):
    """A deployment that has given its warm-up answer. `exited` ends when the child does; None for attached ones."""

    endpoint: Endpoint
    pid: int | None = None
    exited: Callable[[], Awaitable[Exit]] | None = None


class FormFile(Value, frozen=True):
    """The file part of a multipart form on its way to a deployment."""

    field: str
    filename: str
    mime: str
    data: bytes


class Lease(Value, frozen=True):
    """The permit to call one deployment. Nothing calls a backend without one."""

    id: int
    deployment_id: str
    model_id: str
    endpoint: Endpoint
    waited_s: float = 0.0
    was_cold: bool = False
