"""A child lives while its cord holds, and no longer: real children, real kills."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from pointsman.backends.process import MAX_LOG_BYTES, ChildProcess, load_problem
from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError
from pointsman.types import Exit

LISTENING = """
    from pointsman.backends.worker import lifeline
    import sys, time
    config = lifeline.receive_config()
    print("config of", len(config), "bytes", flush=True)
    lifeline.announce(4242)
    time.sleep(60)
"""
HOLDING_THE_LOCK = """
    from pointsman.backends.worker import lifeline
    import ctypes, sys
    lifeline.receive_config()
    print("loading", file=sys.stderr, flush=True)
    ctypes.PyDLL(None).sleep(60)  # a call that keeps the interpreter lock, as an engine's constructor does
"""
SILENT = """
    from pointsman.backends.worker import lifeline
    import time
    lifeline.receive_config()
    time.sleep(60)
"""

OBEDIENT = """
    from pointsman.backends.worker import lifeline
    import queue, time
    orders = queue.SimpleQueue()
    lifeline.receive_config(orders.put)
    lifeline.announce(4242)
    while True:
        match orders.get():
            case "jump": lifeline.done()
            case "fly": lifeline.done("no wings")
            case "think": time.sleep(60)
            case "die": raise SystemExit
"""


def argv(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(code))


def spawn(
    code: str, folder: Path, config: bytes = b'{"a": 1}', ready_timeout_s: float = 10, **more: Any
) -> Awaitable[ChildProcess]:
    return ChildProcess.spawn(
        argv(code), config, log_path=folder / "m.log", clock=SystemClock(), ready_timeout_s=ready_timeout_s, **more
    )


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool], within_s: float = 5) -> float:
    """Seconds until it held."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < within_s, "did not happen in time"
        time.sleep(0.002)
    return time.monotonic() - began_s


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    assert children() == []


# ---------------------------------------------------------------- a life


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_child_from_start_to_stop(tmp_path: Path, run: Callable[[Any], None]) -> None:
    async def scene() -> None:
        child = await spawn(LISTENING, tmp_path)
        assert child.port == 4242
        assert is_alive(child.pid)
        assert 0 < child.ready_in_s < 10
        assert repr(child) == f"ChildProcess(m, pid {child.pid}, port 4242)"
        waiting = [asyncio.create_task(child.exited()) for _ in range(3)]
        began_s = time.monotonic()
        await child.stop(5)
        assert time.monotonic() - began_s < 1
        assert not is_alive(child.pid)
        assert [(await task).code for task in waiting] == [0, 0, 0]
        await child.stop(5)
        assert (await child.exited()).log_tail == "config of 9 bytes"
        assert repr(child).endswith("exit 0)")

    run(scene())


def test_a_large_configuration_and_the_environment_arrive(tmp_path: Path) -> None:
    code = LISTENING + "\n    assert False"
    code = code.replace("time.sleep(60)", "import os; print(os.environ['POINTS'], flush=True); time.sleep(60)")

    async def scene() -> None:
        config = json.dumps({"a": "x" * 900_000}).encode()
        child = await spawn(code, tmp_path, config, env=(("POINTS", "set"),))
        until(lambda: child.log_tail() == f"config of {len(config) + 1} bytes\nset")
        await child.stop(1)

    asyncio.run(scene())


def test_credentials_in_our_environment_stay_with_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REMOTE_API_KEY", "HF_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "KEYBOARD"):
        monkeypatch.setenv(name, "x")
    code = LISTENING.replace(
        "time.sleep(60)",
        "import os; print(sorted(n for n, v in os.environ.items() if v == 'x'), flush=True); time.sleep(60)",
    )

    async def scene() -> None:
        child = await spawn(code, tmp_path)
        until(lambda: child.log_tail().endswith("['KEYBOARD']"))
        await child.stop(1)

    asyncio.run(scene())


def test_chatter_is_no_announcement(tmp_path: Path) -> None:
    code = LISTENING.replace("import sys, time", "import sys, time; print('{\"port\": 1}', flush=True)")

    async def scene() -> None:
        child = await spawn(code, tmp_path)
        assert child.port == 4242
        await child.stop(1)

    asyncio.run(scene())


def test_signals_for_the_gateway_do_not_end_it(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await spawn(LISTENING, tmp_path)
        os.kill(child.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGTERM)
        await asyncio.sleep(0.2)
        assert is_alive(child.pid)
        await child.stop(1)

    asyncio.run(scene())


def test_a_killed_child_is_reported_once_it_is_gone(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await spawn(LISTENING, tmp_path)
        os.kill(child.pid, signal.SIGKILL)
        assert (await asyncio.wait_for(child.exited(), 1)).code == -signal.SIGKILL
        await child.stop(1)

    asyncio.run(scene())


async def spawn_stuck(folder: Path) -> ChildProcess:
    """A child that no longer hears its cord."""
    child = await spawn(
        LISTENING.replace("time.sleep(60)", "import ctypes; print('stuck', flush=True); ctypes.PyDLL(None).sleep(60)"),
        folder,
    )
    until(lambda: child.log_tail().endswith("stuck"))
    await asyncio.sleep(0.05)
    return child


def test_a_stuck_child_is_killed_after_the_grace(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await spawn_stuck(tmp_path)
        began_s = time.monotonic()
        await asyncio.gather(child.stop(0.3), child.stop(0.3))
        assert 0.25 < time.monotonic() - began_s < 2
        assert (await child.exited()).code == -signal.SIGKILL

    asyncio.run(scene())


def test_a_cancelled_stop_leaves_no_child(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await spawn_stuck(tmp_path)
        stopping = asyncio.create_task(child.stop(30))
        await asyncio.sleep(0.05)
        stopping.cancel()
        await asyncio.wait_for(child.exited(), 2)

    asyncio.run(scene())


# ---------------------------------------------------------------- a start that fails


def failure(code: str, folder: Path, **more: Any) -> UpstreamError:
    async def scene() -> UpstreamError:
        with pytest.raises(UpstreamError) as caught:
            await spawn(code, folder, **more)
        assert children() == []
        return caught.value

    return asyncio.run(scene())


def test_the_last_words_of_a_child_that_ends(tmp_path: Path) -> None:
    error = failure("raise SystemExit('no such file: model.gguf')", tmp_path)
    assert error.code == "loading_failed"
    assert "exit code 1" in error.message
    assert error.message.endswith("no such file: model.gguf")


def test_a_childs_traceback_is_nobodys_to_read(tmp_path: Path) -> None:
    error = failure("def load():\n    raise RuntimeError('no such file: model.gguf')\nload()", tmp_path)
    assert error.message.endswith("(exit code 1), see `GET /models/m/logs`: RuntimeError: no such file: model.gguf")
    assert str(tmp_path) not in error.message
    assert "Traceback" in (tmp_path / "m.log").read_text()


def test_a_child_that_crashes_names_the_signal(tmp_path: Path) -> None:
    error = failure("import os; os.abort()", tmp_path)
    assert f"signal {int(signal.SIGABRT)}" in error.message


def test_a_child_that_never_listens(tmp_path: Path) -> None:
    error = failure(HOLDING_THE_LOCK, tmp_path, ready_timeout_s=1)
    assert error.code == "loading_failed"
    assert "not listening after 1 s" in error.message


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(UpstreamError, match="cannot start /no/such/program") as caught:
            await ChildProcess.spawn(
                ("/no/such/program",), b"{}", log_path=tmp_path / "m.log", clock=SystemClock(), ready_timeout_s=1
            )
        assert caught.value.code == "loading_failed"

    asyncio.run(scene())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("after_s", [0, 0.01, 0.3])
def test_a_cancelled_start_leaves_no_child(tmp_path: Path, after_s: float, run: Callable[[Any], None]) -> None:
    async def scene() -> None:
        task = asyncio.ensure_future(spawn(HOLDING_THE_LOCK, tmp_path))
        await asyncio.sleep(after_s)
        assert len(children()) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() == []

    run(scene())


# ---------------------------------------------------------------- the log


def test_the_log_keeps_one_predecessor_and_its_tail_is_bounded(tmp_path: Path) -> None:
    for word in ("first", "second", "third"):
        failure(f"import sys; print('{word} ' * 5, *range(5000), sep=chr(10)); sys.exit(1)", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.log", "m.log.1"]
    assert (tmp_path / "m.log.1").read_text().startswith("second")
    error = failure("print(*range(5000), sep=chr(10)); raise SystemExit(1)", tmp_path)
    assert error.message.endswith(": 4999")  # the rest is the operator's to read
    assert len(error.message) < 400
    assert (tmp_path / "m.log").stat().st_mode & 0o077 == 0


def test_a_long_lived_log_is_trimmed(tmp_path: Path) -> None:
    code = LISTENING.replace("time.sleep(60)", "print('x' * 17_000_000, flush=True); time.sleep(1); print('y')")

    async def scene() -> None:
        child = await spawn(code + "\n    sys.stdout.flush(); time.sleep(60)", tmp_path)
        log = tmp_path / "m.log"
        child.trim_log()
        until(lambda: log.stat().st_size > MAX_LOG_BYTES)
        child.trim_log()
        assert log.stat().st_size == 0
        assert (tmp_path / "m.log.1").stat().st_size > MAX_LOG_BYTES
        until(lambda: log.read_bytes() == b"y\n")
        await child.stop(1)

    asyncio.run(scene())


def test_nothing_is_kept_open(tmp_path: Path) -> None:
    async def scene() -> None:
        await (await spawn(LISTENING, tmp_path)).stop(1)
        before = psutil.Process().num_fds()
        for _ in range(5):
            await (await spawn(LISTENING, tmp_path)).stop(1)
        assert psutil.Process().num_fds() == before

    asyncio.run(scene())


# ---------------------------------------------------------------- a parent that dies

PARENT = """
    import asyncio, os, sys
    from pathlib import Path
    from pointsman.backends.process import ChildProcess
    from pointsman.clock import SystemClock

    async def main():
        child = await ChildProcess.spawn(
            (sys.executable, "-c", sys.argv[1]), b"{}", log_path=Path(sys.argv[2]) / "m.log",
            clock=SystemClock(), ready_timeout_s=30)
        print("spawned", flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


@pytest.mark.parametrize("code", [HOLDING_THE_LOCK, SILENT, LISTENING], ids=["loading", "silent", "listening"])
def test_a_killed_parent_takes_its_child_along(tmp_path: Path, code: str) -> None:
    parent = subprocess.Popen((*argv(PARENT), textwrap.dedent(code), str(tmp_path)), stdout=subprocess.PIPE)
    try:
        until(lambda: bool(psutil.Process(parent.pid).children()))
        (child,) = psutil.Process(parent.pid).children()
        if code is HOLDING_THE_LOCK:
            until(lambda: (tmp_path / "m.log").read_bytes() == b"loading\n")
            time.sleep(0.05)
        else:
            time.sleep(0.3)
    finally:
        parent.kill()
        parent.communicate()
    until(lambda: not is_alive(child.pid))


def test_a_parent_that_dies_before_the_child_has_begun(tmp_path: Path) -> None:
    parent = subprocess.Popen((*argv(PARENT), textwrap.dedent(SILENT), str(tmp_path)), stdout=subprocess.PIPE)
    try:
        until(lambda: bool(psutil.Process(parent.pid).children()))
        (child,) = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.communicate()
    assert until(lambda: not is_alive(child.pid)) < 2


def test_a_child_takes_orders(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await spawn(OBEDIENT, tmp_path)
        for _ in range(2):
            await child.order("jump", 5)
            with pytest.raises(UpstreamError, match="could not fly: no wings"):
                await child.order("fly", 5)
        with pytest.raises(UpstreamError, match="ended when told to die"):
            await child.order("die", 5)
        assert (await child.exited()).code == 0

    uvloop.run(scene())


def test_who_does_not_wait_for_the_answer_to_an_order_ends_the_child(tmp_path: Path) -> None:
    async def scene() -> None:
        child = await spawn(OBEDIENT, tmp_path)
        with pytest.raises(UpstreamError, match=r"did not think within 0\.05 s"):
            await child.order("think", 0.05)
        await asyncio.wait_for(child.exited(), 1)
        child = await spawn(OBEDIENT, tmp_path)
        task = asyncio.create_task(child.order("think", 5))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait_for(child.exited(), 1)

    uvloop.run(scene())


@pytest.mark.parametrize(
    ("code", "words", "problem"),
    [
        (-9, "", "out_of_memory"),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'", "out_of_memory"),
        (1, "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 900.00 MiB: cudaMalloc failed: x", "out_of_memory"),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "out_of_memory"),
        (1, "ggml_aligned_malloc: insufficient memory (attempted to allocate 1.0 MB)", "out_of_memory"),
        (1, "failed to load model", "loading_failed"),
        (-11, "", "loading_failed"),
    ],
)
def test_why_a_start_failed(code: int, words: str, problem: str) -> None:
    assert load_problem(Exit(code=code, log_tail=words)) == problem


@pytest.mark.parametrize(
    ("kills", "problem"), [((4, 5), "out_of_memory"), ((4, 4), "loading_failed"), ((None, None), "out_of_memory")]
)
def test_a_kill_while_starting_is_for_memory_where_the_kernel_counted_one(
    tmp_path: Path, kills: tuple[int | None, int | None], problem: str
) -> None:
    counts = iter(kills)

    async def scene() -> None:
        dies = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        with pytest.raises(UpstreamError) as failed:
            await spawn(dies, tmp_path, oom_kills=lambda: next(counts))
        assert failed.value.code == problem

    uvloop.run(scene())
