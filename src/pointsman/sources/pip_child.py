"""Run pip so that it cannot outlive the process that asked: `python pip_child.py PARENT_PID PIP_ARGUMENT…`.

A script, not a module of the package: it runs in an interpreter of its own and imports nothing of ours.
Exits with NO_PIP where that interpreter has no pip.
"""

import ctypes
import importlib.util
import os
import runpy
import signal
import sys

NO_PIP = 97
ORPHANED = 98
PR_SET_PDEATHSIG = 1


def main(parent_pid: int, arguments: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above took effect
        sys.exit(ORPHANED)
    if importlib.util.find_spec("pip") is None:
        sys.exit(NO_PIP)
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
