"""Runs generated Python in a child that may do next to nothing, and says whether it passes its tests.

Knows: the child process, its clock, its empty folder, what it may say back. Does not know: the walls themselves
(`jail`), items, models.
Invariants: whatever the code does, a verdict comes within `timeout_s` and a little; nothing of the child is left
afterwards, whoever is cancelled; what it says back is bounded; it has no environment and no file but its own.
"""

import asyncio
import contextlib
import math
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from pointsman.types import Value

JAIL = Path(__file__).with_name("jail.py")
MEMORY_BYTES = 512 * 1024 * 1024
OUTPUT_BYTES = 1024 * 1024
MAX_VERDICT_BYTES = 64 * 1024
TIMEOUT_S, REHEARSAL_TIMEOUT_S = 10.0, 60.0


class SandboxError(Exception):
    """The sandbox does not work here."""


class Verdict(Value, frozen=True):
    """Whether the code passed, why not, and which walls this system could not give (in words; empty: all stand)."""

    passed: bool
    why: str
    missing: tuple[str, ...] = ()


class _Job(Value, frozen=True):
    code: str
    tests: str
    secret: str
    cpu_s: int
    memory_bytes: int
    output_bytes: int


class _Told(Value, frozen=True):
    secret: str
    passed: bool
    why: str
    missing: tuple[str, ...] = ()


async def run_python(
    code: str, tests: str, timeout_s: float = TIMEOUT_S, *, memory_bytes: int = MEMORY_BYTES
) -> Verdict:
    """Run the definitions of `code`, then `tests` (assert statements), in a child of its own.

    Never raises for what the code does. Wall-clock time and processor time are both limited to `timeout_s`.
    """
    job = _Job(
        code=code,
        tests=tests,
        secret=secrets.token_hex(16),
        cpu_s=max(1, math.ceil(timeout_s)),
        memory_bytes=memory_bytes,
        output_bytes=OUTPUT_BYTES,
    )
    with tempfile.TemporaryDirectory(prefix="pointsman-answer-", ignore_cleanup_errors=True) as folder:
        async with _child(folder) as child:
            try:
                async with asyncio.timeout(timeout_s):
                    said = await _talk(child, msgspec.json.encode(job))
                    code_of_exit = await child.wait()
            except TimeoutError:
                return Verdict(passed=False, why=f"is not done after {timeout_s:g} s")
    return _verdict(said, job.secret, code_of_exit)


async def rehearse() -> tuple[str, ...]:
    """Which walls this system cannot give, in words. Raises SandboxError where not even harmless code can be run: then
    no code may be graded, or every answer would count as wrong."""
    verdict = await run_python("def one():\n    return 1\n", "assert one() == 1\n", REHEARSAL_TIMEOUT_S)
    if not verdict.passed:
        raise SandboxError(f"generated code cannot be run on this system: a harmless function {verdict.why}")
    return verdict.missing


@asynccontextmanager
async def _child(folder: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The jail in a session of its own; killed with all its group on leaving."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-B", "-X", "utf8", str(JAIL)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env={},
        start_new_session=True,
        limit=MAX_VERDICT_BYTES,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await asyncio.shield(child.wait())


async def _talk(child: asyncio.subprocess.Process, job: bytes) -> bytes:
    """The last line it says, or nothing; reading stops at a bound."""
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("the child has no pipes")
    with contextlib.suppress(ConnectionError):  # it died at once; its silence says so
        child.stdin.write(job)
        await child.stdin.drain()
        child.stdin.close()
    said = b""
    while len(said) < MAX_VERDICT_BYTES and (piece := await child.stdout.read(MAX_VERDICT_BYTES)):
        said += piece
    if len(said) >= MAX_VERDICT_BYTES:
        os.killpg(child.pid, signal.SIGKILL)
    return said.strip().rpartition(b"\n")[2]


def _verdict(said: bytes, secret: str, code_of_exit: int) -> Verdict:
    """What the jail told, if it was the jail that told it."""
    try:
        told = msgspec.json.decode(said, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    if told is not None and secrets.compare_digest(told.secret, secret):
        return Verdict(passed=told.passed, why=told.why, missing=told.missing)
    if code_of_exit in {-signal.SIGXCPU, -signal.SIGKILL}:
        return Verdict(passed=False, why="used up its processor time")
    how = f"signal {signal.Signals(-code_of_exit).name}" if code_of_exit < 0 else f"exit code {code_of_exit}"
    return Verdict(passed=False, why=f"ended before its tests did ({how})")
