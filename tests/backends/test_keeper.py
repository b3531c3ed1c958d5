"""A foreign program lives while its keeper's cord holds, and no longer, and so does all it started: real kills."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from pointsman.backends.managed import worker_argv
from pointsman.backends.process import ChildProcess
from pointsman.backends.worker.keeper import Charge
from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError

WITH_FAMILY = """
    import os, subprocess, sys, time
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
    if os.fork() == 0:  # a daemon: it lets go of its parent
        if os.fork() == 0:
            os.setsid()
            os.execv(sleep[0], sleep)
        os._exit(0)
    os.wait()
    print("running", flush=True)
    time.sleep(60)
"""
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
    print("running", flush=True)
    while True:
        time.sleep(60)
"""
POLITE = """
    import signal, sys, time
    signal.signal(signal.SIGINT, lambda *_: (print("bye", flush=True), sys.exit(3)))
    print("running", flush=True)
    time.sleep(60)
"""


def charge(code: str, *arguments: str, **more: Any) -> bytes:
    argv = (sys.executable, "-c", textwrap.dedent(code), *arguments)
    return msgspec.json.encode(Charge(argv=argv, **more))


async def spawn(config: bytes, folder: Path) -> ChildProcess:
    return await ChildProcess.spawn(
        worker_argv("keeper"), config, log_path=folder / "m.log", clock=SystemClock(), ready_timeout_s=10
    )


async def running(config: bytes, folder: Path) -> ChildProcess:
    child = await spawn(config, folder)
    await until(lambda: "running" in child.log_tail())
    return child


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < within_s, "did not happen in time"
        await asyncio.sleep(0.005)


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def strays_of(pid: int) -> list[psutil.Process]:
    """Who left the keeper's process group."""
    return [one for one in family(pid) if os.getpgid(one.pid) != pid]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    left = [child for child in psutil.Process().children() if is_alive(child)]
    for child in left:  # one failure is enough
        child.kill()
    assert left == []


def test_it_fills_in_the_port_and_keeps_the_key_to_the_program(tmp_path: Path) -> None:
    code = "import os, sys; print('running', sys.argv[1], os.environ['URL'], os.environ['KEY']); sys.stdin.read(1)"

    async def scene() -> None:
        config = charge(code, "--port={port}", env=(("URL", "http://127.0.0.1:{port}"), ("KEY", "hush")))
        child = await spawn(config, tmp_path)
        await child.exited()
        assert child.log_tail() == f"running --port={child.port} http://127.0.0.1:{child.port} hush"

    asyncio.run(scene())


def test_the_key_is_not_in_the_keepers_environment(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await running(charge(POLITE, env=(("KEY", "hush"),)), tmp_path)
        keeper = psutil.Process(child.pid)
        assert "hush" not in keeper.environ().values()
        assert "hush" not in " ".join(keeper.cmdline())
        assert [one.environ()["KEY"] for one in family(child.pid)] == ["hush"]
        await child.stop(2)

    asyncio.run(scene())


@pytest.mark.parametrize("way", ["stop", "kill", "the keeper is killed"])
def test_the_whole_family_ends(way: str, tmp_path: Path) -> None:
    async def scene() -> None:
        child = await running(charge(WITH_FAMILY, grace_s=0.2), tmp_path)
        await until(lambda: len(strays_of(child.pid)) == 2)  # the daemon takes its time to leave
        kin, strays = family(child.pid), strays_of(child.pid)
        assert len(kin) == 4, "the program, two children, and the daemon that came to the keeper"
        if way == "stop":
            await child.stop(30)
        elif way == "kill":
            child.kill()
        else:
            os.kill(child.pid, signal.SIGKILL)
        await child.exited()
        if way == "the keeper is killed":  # who left its group had nobody else
            kin = [one for one in kin if one not in strays]
        await until(lambda: not any(is_alive(one) for one in kin))
        for one in strays:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    asyncio.run(scene())


def test_the_stop_signal_and_the_exit_code(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await running(charge(POLITE, stop_signal=signal.SIGINT), tmp_path)
        began_s = time.monotonic()
        await child.stop(30)
        assert time.monotonic() - began_s < 9, "no need of the grace of 10 s"
        ended = await child.exited()
        assert (ended.code, ended.log_tail) == (3, "running\nbye")

    asyncio.run(scene())


def test_who_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await running(charge(STUBBORN, grace_s=0.3), tmp_path)
        began_s = time.monotonic()
        await child.stop(30)
        assert 0.3 <= time.monotonic() - began_s < 10
        ended = await child.exited()
        assert (ended.code, ended.log_tail) == (-signal.SIGKILL, "running\nno")

    asyncio.run(scene())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGTERM])
def test_the_signal_that_ended_the_program_is_told(number: signal.Signals, tmp_path: Path) -> None:
    async def scene() -> None:
        child = await running(charge(POLITE), tmp_path)
        family(child.pid)[0].send_signal(number)
        assert (await child.exited()).code == -number

    asyncio.run(scene())


def test_signals_to_the_keeper_do_not_end_it_and_are_not_inherited(tmp_path: Path) -> None:
    code = """
        import signal, sys
        kept = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_IGN]
        print("running", kept, flush=True)
        signal.pause()
    """

    async def scene() -> None:
        child = await running(charge(code), tmp_path)
        assert "[]" in child.log_tail()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(child.pid, number)
        await asyncio.sleep(0.1)
        assert len(family(child.pid)) == 1
        await child.stop(2)

    asyncio.run(scene())


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(UpstreamError, match="cannot start /nowhere/server") as caught:
            await spawn(msgspec.json.encode(Charge(argv=("/nowhere/server",))), tmp_path)
        assert caught.value.code == "loading_failed"

    asyncio.run(scene())


GATEWAY = """
    import asyncio, sys
    from pathlib import Path
    from pointsman.backends.managed import worker_argv
    from pointsman.backends.process import ChildProcess
    from pointsman.clock import SystemClock

    async def main():
        child = await ChildProcess.spawn(worker_argv("keeper"), sys.argv[1].encode(), log_path=Path(sys.argv[2]),
                                         clock=SystemClock(), ready_timeout_s=10)
        print(child.pid, flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


def test_a_killed_gateway_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "m.log"
    arguments = (sys.executable, "-c", textwrap.dedent(GATEWAY), charge(WITH_FAMILY, grace_s=0.2).decode(), str(log))
    gateway = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    assert gateway.stdout is not None
    try:
        keeper = int(json.loads(gateway.stdout.readline()))
        asyncio.run(until(lambda: log.exists() and "running" in log.read_text()))
        kin = [psutil.Process(keeper), *family(keeper)]
        assert len(kin) == 5
    finally:
        gateway.kill()
        gateway.communicate()
    asyncio.run(until(lambda: not any(is_alive(one) for one in kin)))
