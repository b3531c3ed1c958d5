"""A deployment that runs: where it listens, what it takes, how it ended, the permit to call it. On hand in `types`."""

import re
from collections.abc import Awaitable, Callable

from pointsman.values import Value

MAX_WORDS_CHARS = 200
_FRAME = re.compile(r'Traceback \(most recent call last\)|File "[^"\n]*", line \d+')
_EXCEPTION = re.compile(r"(?m)\b((?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Exit|Interrupt))(?:: .*)?$")
_INNARDS = re.compile(rf"{_FRAME.pattern}|^\s|[\^~]{{3}}|During handling of the above|direct cause of the following")


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
    kernel killed for want of memory while it ran; None: nobody could tell.

    The lines are for operators: an engine may log prompts. Of one that served, others hear its `fault` alone; of one
    that never did, its `last_words`.
    """

    code: int
    log_tail: str
    was_starved: bool | None = None

    @property
    def fault(self) -> str:
        """The kind of exception that ended it; "" where it left none."""
        raised = _raised_in(self.log_tail)
        return raised[1] if raised else ""

    @property
    def last_words(self) -> str:
        """See `last_words_of`."""
        return last_words_of(self.log_tail)


def last_words_of(text: str) -> str:
    """One short line: the exception at a traceback's end, else the last that is no part of a traceback; "" for none."""
    if raised := _raised_in(text):
        return raised[0][:MAX_WORDS_CHARS]
    said = (line.strip() for line in reversed(text.splitlines()) if not _INNARDS.search(line))
    return next(filter(None, said), "")[:MAX_WORDS_CHARS]


def _raised_in(text: str) -> re.Match[str] | None:
    """An exception's own line, after the last frame of a traceback, of which only the end may be there."""
    frames = tuple(_FRAME.finditer(text))
    return _EXCEPTION.search(text, frames[-1].end()) if frames else None


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
