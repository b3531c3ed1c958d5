"""The child that keeps a foreign program: starts it, ends it and whatever it started, and tells how it ended.

A program that is not ours knows nothing of the lifeline. The keeper is its parent in our stead: `python -m …keeper`
takes one `Charge`, starts the program at a free port, announces that port, where the program does not listen yet, and
waits.

Knows: processes, signals, the Linux process tree. Does not know: engines, HTTP, models.

Invariants: the hang-up of the lifeline ends the program politely, and after `grace_s` by force; nothing that it started
outlives it, not even what let go of its parent (the keeper is the reaper of all of them); a killed keeper takes the
program along, and its own process group goes with it (`backends.process`); the keeper ends as the program ended, by
the same code or signal. A key is in the program's environment, as the charge says, never in the keeper's.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from pointsman.backends.worker import lifeline

PR_SET_CHILD_SUBREAPER = 36
PORT = "{port}"
CANNOT_START = 127


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent sends. `{port}` in `argv` and in the values of `env` becomes the port that was chosen."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    stop_signal: int = signal.SIGTERM
    grace_s: float = 10.0


def main() -> int:
    """The program's exit code; where a signal ended it, the same one ends the keeper."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _heed_not)
    charge = msgspec.json.decode(lifeline.read_line(), type=Charge)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    port = _free_port()
    try:
        program = _start(charge, str(port))
    except OSError as error:
        sys.stderr.write(f"cannot start {charge.argv[0]}: {error}\n")
        return CANNOT_START
    threading.Thread(target=_end_at_hang_up, args=(program.pid, charge), name="lifeline", daemon=True).start()
    lifeline.announce(port)
    status = _wait_for(program.pid)
    _end_the_rest()
    return _like(os.waitstatus_to_exitcode(status))


def _heed_not(_signal: int, _frame: object) -> None:
    """Signals to the group are for the gateway, which drains first. A handler, unlike SIG_IGN, is not inherited."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(charge: Charge, port: str) -> subprocess.Popen[bytes]:
    """Hold on to it: what is let go is waited for by the library, and its status is lost to us."""
    libc, keeper = ctypes.CDLL(None), os.getpid()

    def die_with_keeper() -> None:
        libc.prctl(lifeline.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(CANNOT_START)

    return subprocess.Popen(
        [word.replace(PORT, port) for word in charge.argv],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **{name: value.replace(PORT, port) for name, value in charge.env}},
        preexec_fn=die_with_keeper,  # noqa: PLW1509  # the keeper has no other thread yet
    )


def _wait_for(program: int) -> int:
    """Its status. Orphans that came to us are buried on the way."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            return status


def _end_at_hang_up(program: int, charge: Charge) -> None:
    lifeline.wait_for_hang_up()
    with contextlib.suppress(ProcessLookupError):
        os.kill(program, charge.stop_signal)
    time.sleep(charge.grace_s)
    _kill(program, *descendants(os.getpid()))


def _end_the_rest() -> None:
    """Until there is no descendant: while one dies, another may be born, or come to us as an orphan."""
    with contextlib.suppress(ChildProcessError):
        while True:
            _kill(*descendants(os.getpid()))
            os.waitpid(-1, 0)


def _kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Of a process, as of now; none where it has gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has just gone
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text(encoding="ascii").split():
                found += [int(child), *descendants(int(child))]
    return found


def _like(code: int) -> int:
    """An exit code stays one; a signal is suffered too, so that the gateway reads it off our own end."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
