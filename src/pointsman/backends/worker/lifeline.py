"""The cord between a child and the gateway: while it holds, the child lives; when it is cut, the child is gone.

Knows: file descriptor 0, which is one end of a socket pair (`backends.process` holds the other), signals, exits.
Does not know: engines. Standard library only; costs a child under 10 ms.

The protocol, lines over that one socket: parent → child the configuration as JSON, child → parent `{"port": N}`. Then,
where the child takes orders: parent → child one word, child → parent `{"error": ""}` when it is done, or what is wrong.
Standard output belongs to nobody: the parent points it at the log, so an engine's chatter cannot corrupt the protocol.

Invariants: a child whose parent ended, however it ended, ends too: the kernel kills it (PR_SET_PDEATHSIG, which works
even while an engine's constructor holds the interpreter lock), and end-of-file on the socket makes it exit. Signals
meant for the gateway (Ctrl-C and SIGTERM to the whole group) do not end it: the gateway drains first.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import threading
from collections.abc import Callable

SOCKET = 0
PR_SET_PDEATHSIG = 1
MAX_CONFIG_BYTES = 1024 * 1024


def receive_config(take: Callable[[str], None] = lambda _: None) -> bytes:
    """Tie this process to its parent and read its configuration: one line of JSON. Call it first, from the main thread.

    Later orders go to `take`, on a thread that must not be held up. Exits where the parent is gone or hangs up.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    line = read_line()
    threading.Thread(target=_listen, args=(take,), name="lifeline", daemon=True).start()
    return line


def read_line() -> bytes:
    """The configuration, for who ties itself in another way. Exits where the parent hangs up."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(SOCKET, 65536)
        if not piece or len(line) > MAX_CONFIG_BYTES:
            os._exit(0 if not piece else 2)
        line += piece
    return line


def wait_for_hang_up() -> None:
    """Until the parent ended or let go; what it says meanwhile is not heard."""
    with contextlib.suppress(OSError):  # a reset counts as a hang-up
        while os.read(SOCKET, 4096):
            pass


def announce(port: int) -> None:
    """Tell the parent where this child listens. From then on it must answer."""
    os.write(SOCKET, b'{"port": %d}\n' % port)


def done(error: str = "") -> None:
    """Tell the parent that its order was carried out, or what went wrong."""
    os.write(SOCKET, json.dumps({"error": error}).encode() + b"\n")


def _die_with_parent() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    cord = select.poll()
    cord.register(SOCKET, 0)  # the hang-up itself, also where the configuration is still unread
    if any(event & select.POLLHUP for _, event in cord.poll(0)):
        os._exit(0)  # the parent died before the request to the kernel counted


def _listen(take: Callable[[str], None]) -> None:
    """Until the hang-up, which ends the process."""
    said = b""
    try:
        while piece := os.read(SOCKET, 4096):
            *orders, said = (said + piece).split(b"\n")
            for order in orders:
                take(order.decode())
    finally:  # a reset counts as a hang-up
        os._exit(0)
