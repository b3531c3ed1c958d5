"""Pinned wheels by the user's own pip, one child process a wheel.

Knows: pip's command line, how to watch, retry, explain and end it. Does not know: what is inside a wheel.
The user's pip configuration decides on index, mirror, proxy and certificates; no host is named here. Nothing is ever
installed, built or imported. pip's own cache is left out: it would keep every wheel a second time.
Invariants: a wheel has its final name only when pip found its hash right; no child outlives the call or this process.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from pointsman.clock import Clock
from pointsman.sources.base import OnProgress, Phase, Progress, fetch_failed
from pointsman.sources.catalogue import Wheel
from pointsman.sources.pip_child import NO_PIP
from pointsman.types import Value

CHILD = Path(__file__).with_name("pip_child.py")
OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--require-hashes",
    "--no-cache-dir",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar=off",
)
TRIES = 3
BACKOFF_S = 1.0
POLL_S = 0.2
SAID_CHARS = 600


class Trouble(Value, frozen=True):
    """Why pip gave no wheel; `again` where another try may."""

    message: str
    again: bool


class Pip:
    """Downloads wheels, `parallel` at a time, with the pip of `python`.

    `environ` replaces this process's environment.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        python: str = sys.executable,
        environ: Mapping[str, str] | None = None,
        parallel: int = 3,
    ) -> None:
        self.clock = clock
        self.python = python
        self.environ = environ
        self.parallel = parallel

    def __repr__(self) -> str:
        return f"Pip({self.python}, parallel={self.parallel})"

    async def download(self, wheels: tuple[Wheel, ...], folder: Path, on_progress: OnProgress) -> None:
        """Put every wheel into `folder` under its `filename`; one that lies there already is kept.

        Raises UpstreamError `fetch_failed` with pip's last words; the wheels that arrived stay for the next try.
        """
        slots = asyncio.Semaphore(self.parallel)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(wheels, folder, on_progress))
                jobs = [group.create_task(self._get(wheel, folder, slots)) for wheel in wheels]
                await asyncio.wait(jobs)
                watch.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first to fail cancelled the others

    async def _watch(self, wheels: tuple[Wheel, ...], folder: Path, on_progress: OnProgress) -> None:
        total_bytes = sum(wheel.size_bytes for wheel in wheels)
        while True:
            done_bytes = sum(arrived_bytes(wheel, folder) for wheel in wheels)
            on_progress(Progress(phase=Phase.DOWNLOADING, done_bytes=done_bytes, total_bytes=total_bytes))
            await self.clock.sleep(POLL_S)

    async def _get(self, wheel: Wheel, folder: Path, slots: asyncio.Semaphore) -> None:
        async with slots:
            for attempt in range(1, TRIES + 1):
                if is_staged(wheel, folder):
                    return
                trouble = await self._attempt(wheel, folder)
                if trouble and (attempt == TRIES or not trouble.again):
                    raise fetch_failed(f"{wheel.requirement}: {trouble.message}")
                if trouble:
                    await self.clock.sleep(BACKOFF_S * 2 ** (attempt - 1))

    async def _attempt(self, wheel: Wheel, folder: Path) -> Trouble | None:
        """One pip, in a folder of its own that is gone afterwards."""
        own = workshop(wheel, folder)
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        try:
            (own / "requirements.txt").write_text(
                f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8"
            )
            code = await self._run(own)
            got = [path for path in (own / "got").glob("*.whl") if path.stat().st_size == wheel.size_bytes]
            if code == 0 and len(got) == 1:
                got[0].replace(folder / wheel.filename)
                return None
            return diagnose(code, (own / "log").read_text(encoding="utf-8", errors="replace"), self.python)
        finally:
            shutil.rmtree(own, ignore_errors=True)

    async def _run(self, own: Path) -> int:
        """pip's exit status. Its group is dead when this returns or raises."""
        arguments = ("download", *OPTIONS, "--dest", str(own / "got"), "--requirement", str(own / "requirements.txt"))
        environ = {**(os.environ if self.environ is None else self.environ), "TMPDIR": str(own)}
        with (own / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                self.python, "-P", str(CHILD), str(os.getpid()), *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environ, cwd=own, start_new_session=True,
            )  # fmt: skip
            try:
                return await process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):  # the whole group has ended by itself
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


def workshop(wheel: Wheel, folder: Path) -> Path:
    """Where pip works on this wheel: its temporary files too."""
    return folder / f"{wheel.filename}.tmp"


def is_staged(wheel: Wheel, folder: Path) -> bool:
    path = folder / wheel.filename
    return path.is_file() and path.stat().st_size == wheel.size_bytes


def arrived_bytes(wheel: Wheel, folder: Path) -> int:
    """Bytes of the wheel on disk so far. pip copies at the end, so the largest file counts, not the sum."""
    if is_staged(wheel, folder):
        return wheel.size_bytes
    largest = 0
    for where, _, names in os.walk(workshop(wheel, folder)):  # unlike rglob, it bears folders that vanish meanwhile
        for name in names:
            with contextlib.suppress(OSError):
                largest = max(largest, Path(where, name).stat().st_size)
    return min(largest, wheel.size_bytes)


def diagnose(code: int, said: str, python: str) -> Trouble:
    """pip's failure in the operator's words."""
    if code == NO_PIP:
        remedy = f"`{python} -m ensurepip --upgrade`, or `uv pip install pip` where uv made the environment"
        return Trouble(message=f"this environment has no pip to fetch it with; install one: {remedy}", again=False)
    words = last_words(said)
    if "DO NOT MATCH THE HASHES" in said:
        return Trouble(
            message=f"the index served other bytes than the pinned ones; check what `pip config list` names. {words}",
            again=True,
        )
    if "No matching distribution" in said:
        return Trouble(
            message=f"pip did not get it; check the network, and the index that `pip config list` names. {words}",
            again=False,
        )
    return Trouble(message=f"pip ended with {code}; run the same command again to continue. {words}", again=True)


def last_words(said: str) -> str:
    """pip's errors, or else its last lines, short."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
    return f"pip said: {' / '.join(errors)[-SAID_CHARS:]}" if errors else "pip said nothing"
