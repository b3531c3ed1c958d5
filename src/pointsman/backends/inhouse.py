"""What the engines of our own worker have alike: how the child is launched, how big its weights are.

Knows: `python -m pointsman.backends.worker`, files on disk. Does not know: their libraries: the gateway imports none.
"""

import sys
from pathlib import Path

import msgspec

from pointsman.backends.managed import Launch, default_threads
from pointsman.backends.worker.config import WorkerConfig
from pointsman.settings import ManagedBase

THREAD_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ONE_HEAP = ("MALLOC_ARENA_MAX", "2")
"""Worker threads share a heap: what one request needed is there for the next, instead of held twice."""
OFFLINE = ("HF_HUB_OFFLINE", "1")
"""Weights come from `sources` only; no library fetches its own."""


def launch(engine: str, config: WorkerConfig) -> Launch:
    """`engine` as in `worker.__main__.ENGINES`."""
    pools = tuple((name, str(config.threads)) for name in THREAD_POOLS)
    return Launch(
        argv=(sys.executable, "-m", "pointsman.backends.worker", engine),
        config=msgspec.json.encode(config),
        env=(*pools, ONE_HEAP, OFFLINE),
    )


def threads_of(model: ManagedBase) -> int:
    return model.threads or default_threads()


def size_bytes(path: Path | None) -> int:
    """Of a file, or of the files in a folder; 0 where there is none."""
    if path is None:
        return 0
    try:
        files = path.iterdir() if path.is_dir() else (path,)
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:  # `launch` says what is wrong with it; an estimate is always to be had
        return 0


def sample(name: str) -> bytes:
    """A tiny file to warm up with, shipped beside this module: `ready.ogg` is spoken (by the joe
    voice), `ready.png` is drawn."""
    return Path(__file__).with_name(name).read_bytes()
