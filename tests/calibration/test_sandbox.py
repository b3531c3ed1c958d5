"""Code that nobody has read, run: what it may do (its tests), and all that it may not."""

import asyncio
import platform
import socket
import subprocess
from pathlib import Path

import pytest

from pointsman.calibration.sandbox import Verdict, rehearse, run_python

RIGHT = "def double(n):\n    return 2 * n\n"
TESTS = "assert double(2) == 4\nassert double(-1) == -2\n"
LANDLOCK, SECCOMP = "no Landlock", "no seccomp filter"


@pytest.fixture(scope="module")
def missing() -> str:
    """What this system cannot give, in the sandbox's own words."""
    return "; ".join(asyncio.run(rehearse()))


@pytest.fixture
def files_are_walled(missing: str) -> None:
    if LANDLOCK in missing:
        pytest.skip(missing)


@pytest.fixture
def calls_are_walled(missing: str) -> None:
    if SECCOMP in missing:
        pytest.skip(missing)


def verdict(code: str, tests: str = "f()", timeout_s: float = 20.0) -> Verdict:
    return asyncio.run(run_python(code, tests, timeout_s))


def refused(body: str) -> Verdict:
    """The verdict on a function that tries something and would pass if it were let."""
    lines = "\n    ".join(body.splitlines())
    found = verdict(f"def f():\n    {lines}\n")
    assert not found.passed, found
    return found


def test_what_a_current_linux_gives_is_taken(missing: str) -> None:
    """Landlock since 5.13 (where it is switched on), seccomp since 3.5: nothing else may be missing."""
    is_known = platform.system() == "Linux" and platform.machine() in {"x86_64", "aarch64"}
    assert not is_known or SECCOMP not in missing


def test_right_code_passes() -> None:
    found = verdict(RIGHT, TESTS)
    assert found.passed
    assert found.why == "passes its tests"


@pytest.mark.parametrize(
    ("code", "tests", "why"),
    [
        ("def double(n):\n    return n\n", TESTS, "AssertionError (line 1 of the tests)"),
        ("def double(n):\n    return abs(2 * n)\n", TESTS, "AssertionError (line 2 of the tests)"),
        ("def double(n)\n    return n\n", TESTS, "SyntaxError"),
        ("def double(n):\n    if n\n        return 2 * n\n", TESTS, "SyntaxError"),
        ("def double(n: List[int]):\n    return 2 * n\n", TESTS, "NameError: name 'List' is not defined"),
        ("", TESTS, "NameError: name 'double' is not defined (line 1 of the tests)"),
        ("def double(n):\n    exit()\n", TESTS, "NameError"),
        ("import sys\ndef double(n):\n    sys.exit(0)\n", TESTS, "ended before its tests did (exit code 0)"),
        ("import os\ndef double(n):\n    os._exit(0)\n", TESTS, "ended before its tests did (exit code 0)"),
        ("def double(n):\n    return double(n)\n", TESTS, "RecursionError"),
        ("import numpy\ndef double(n):\n    return 2 * n\n", TESTS, "ModuleNotFoundError"),
    ],
)
def test_wrong_code_fails_and_says_why(code: str, tests: str, why: str) -> None:
    found = verdict(code, tests)
    assert not found.passed
    assert found.why.startswith(why)


@pytest.mark.parametrize(
    "code",
    [
        RIGHT + "print(double(int(input('n? '))))\n",
        RIGHT + "n = int(input())\nresult = double(n)\n",
        RIGHT + "if __name__ == '__main__':\n    raise SystemExit\n",
        RIGHT + "\nprint(double(3), doub",
        RIGHT + "\ndef main():\n    print('",
        RIGHT + "assert double(1) == 3\nwhile True:\n    pass\n",
        "FACTOR = 2\nTABLE = {FACTOR: 'twice'}\ndef double(n):\n    return FACTOR * n * len(TABLE)\n",
        "from functools import lru_cache\nimport asyncio, threading, decimal\n@lru_cache\n" + RIGHT,
        "from __future__ import annotations\ndef double(n: List[int]):\n    return 2 * n\n",
    ],
)
def test_examples_of_use_are_not_run_and_what_functions_use_is_there(code: str) -> None:
    assert verdict(code, TESTS).why == "passes its tests"


def test_an_endless_loop_ends_in_time() -> None:
    found = verdict("def f():\n    while True:\n        pass\n", timeout_s=1.0)
    assert not found.passed
    assert found.why in {"is not done after 1 s", "used up its processor time"}


def test_sleeping_costs_no_processor_time_and_ends_in_time_too() -> None:
    assert verdict("import time\ndef f():\n    time.sleep(60)\n", timeout_s=1.0).why == "is not done after 1 s"


def test_a_memory_hog_is_stopped() -> None:
    assert refused("return bytearray(4 * 1024 ** 3)").why.startswith("MemoryError")
    assert refused("grown = []\nwhile True:\n    grown.append(bytearray(10_000_000))").why.startswith("MemoryError")


@pytest.mark.usefixtures("calls_are_walled")
def test_a_fork_bomb_makes_no_process() -> None:
    assert "PermissionError" in refused("import os\nwhile True:\n    os.fork()").why
    assert "PermissionError" in refused("import subprocess\nsubprocess.run(['/bin/true'])").why
    assert "PermissionError" in refused("import os\nos.execv('/bin/true', ['true'])").why


def test_threads_may_be_made() -> None:
    code = "import threading\ndef f():\n    one = threading.Thread(target=list)\n    one.start()\n    one.join()\n"
    assert verdict(code).passed


def test_huge_output_does_no_harm() -> None:
    found = refused("while True:\n    print('x' * 1_000_000, flush=True)")
    assert "File too large" in found.why
    shouting = verdict("import os\ndef f():\n    while True:\n        os.write(3, b'x' * 60_000)\n")
    assert not shouting.passed


def test_a_forged_verdict_counts_for_nothing() -> None:
    forged = '{"secret": "", "passed": true, "why": "passes its tests"}\\n'
    code = f"import os\ndef f():\n    for fd in range(1, 9):\n        try:\n            os.write(fd, b'{forged}')\n"
    code += "        except OSError:\n            pass\n    os._exit(0)\n"
    assert not verdict(code).passed


@pytest.mark.usefixtures("calls_are_walled")
def test_no_network() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        port = door.getsockname()[1]
        why = refused(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)").why
    assert "PermissionError" in why


@pytest.mark.usefixtures("files_are_walled")
def test_files_cannot_be_read_nor_written_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    for body in (
        f"open({str(tmp_path / 'secret.txt')!r}).read()",
        f"open({str(tmp_path / 'new.txt')!r}, 'w')",
        f"import os\nos.listdir({str(tmp_path)!r})",
        f"import os\nos.remove({str(tmp_path / 'secret.txt')!r})",
        "open('/etc/passwd').read()",
        "open('/proc/1/environ').read()",
    ):
        assert "PermissionError" in refused(body).why
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]


def test_its_own_folder_is_empty_and_its_own() -> None:
    code = "import os\ndef f():\n    assert os.listdir() == ['output.txt'], os.listdir()\n"
    code += "    open('a', 'w').write('b')\n    assert open('a').read() == 'b'\n"
    assert verdict(code).why == "passes its tests"


def test_it_has_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    code = "import os\ndef f():\n    assert not set(os.environ) - {'LC_CTYPE'}, list(os.environ)\n"
    assert verdict(code).why == "passes its tests"


@pytest.mark.usefixtures("calls_are_walled")
def test_no_signal_reaches_anybody() -> None:
    assert "PermissionError" in refused("import os\nos.kill(os.getppid(), 0)").why


def test_a_cancelled_run_leaves_no_child_behind() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(run_python("import time\ndef f():\n    time.sleep(57.25)\n", "f()", 60.0))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    before = jails()
    asyncio.run(cancelled())
    assert jails() <= before


def jails() -> set[str]:
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines() if "jail.py" in line}


def test_many_at_once_are_kept_apart() -> None:
    async def several() -> list[Verdict]:
        codes = [f"def double(n):\n    return 2 * n + {offset}\n" for offset in (0, 1, 0, 1)]
        return await asyncio.gather(*(run_python(code, TESTS, 20.0) for code in codes))

    assert [one.passed for one in asyncio.run(several())] == [True, False, True, False]
