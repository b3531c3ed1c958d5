"""Runs inside the child that `sandbox` starts: builds walls around itself, then runs the answer and its tests.

Knows: Linux's means of giving up rights for good (rlimits, a user and network namespace, capabilities, Landlock,
seccomp), how an answer's code is made importable. Does not know: items, grades, who asks. Standard library only; run
as a script, `python -I -S jail.py`, with one JSON job on standard input; one JSON verdict goes to standard output.

Invariants: every wall stands before the answer's first line runs, and none can be taken down from inside; a wall that
this system refuses is named in the verdict (`missing`), never passed over; the verdict carries a secret that the
answer is not told, so printing "passed" or leaving early passes nothing.

Not a prison for an adversary who knows this file: the tests run in the answer's own interpreter.
"""

import ast
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import NoReturn

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
SECCOMP_MODE_FILTER = 2
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC, CLONE_THREAD = 0x10000000, 0x40000000, 0x08000000, 0x00010000
CAPABILITIES_V3 = 0x20080522

LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
LANDLOCK_VERSION, LANDLOCK_BENEATH = 1, 1
READ_FILE_AND_FOLDER = 1 << 2 | 1 << 3
ACCESS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # file access rights by ABI version; 16 from version 5 on
READABLE = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")

# What an answer has no business with: other processes, programs, sockets, other namespaces, rings around the filter.
# (x86_64, aarch64); None: no such call there.
FORBIDDEN_CALLS: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "socket": (41, 198),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "ptrace": (101, 117), "setsid": (112, 157),
    "setpgid": (109, 154), "unshare": (272, 97), "setns": (308, 268), "io_uring_setup": (425, 425),
    "process_vm_writev": (311, 271), "bpf": (321, 280), "keyctl": (250, 219), "pidfd_open": (434, 434),
}  # fmt: skip
ARCHITECTURES = {"x86_64": (0xC000003E, 0, 56), "aarch64": (0xC00000B7, 1, 220)}  # audit number, column, clone
CLONE3 = 435
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, DENY, NO_SUCH_CALL, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16


def main() -> None:
    """Read the job, build the walls, run, tell."""
    job = json.loads(sys.stdin.buffer.read())
    answer_fd = os.dup(1)
    _quiet(job["output_bytes"])
    missing = tuple(_build_walls(job))

    def tell(passed: bool, why: str) -> None:
        verdict = {"secret": job["secret"], "passed": passed, "why": why, "missing": missing}
        os.write(answer_fd, json.dumps(verdict).encode() + b"\n")

    def failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        tell(False, _in_words(kind, error, trace))

    sys.excepthook = failed  # whatever the answer raises ends here
    _run(job["code"], job["tests"])
    tell(True, "passes its tests")
    _leave()


def _leave() -> NoReturn:
    """Without the answer's exit handlers and threads."""
    os._exit(0)


def _quiet(output_bytes: int) -> None:
    """Standard output and error become a file in the empty folder, which the limit on file sizes bounds."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes, output_bytes))
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


# ---------------------------------------------------------------- the answer


def _run(code: str, tests: str) -> None:
    """The definitions of the code, then the tests, in one namespace."""
    names: dict[str, object] = {"__name__": "answer"}
    checks = ast.parse(tests)
    for source, name in ((definitions(parsed(code), checks), "answer"), (checks, "tests")):
        exec(compile(source, name, "exec"), names)  # noqa: S102  # this is what the walls are for


def parsed(code: str) -> ast.Module:
    """The code as far as it parses to the end of a statement: an example cut off by the limit on tokens spoils nothing.
    Raises SyntaxError where not even one line does."""
    lines = code.splitlines()
    for end in range(len(lines), 1, -1):
        try:
            return ast.parse("\n".join(lines[:end]))
        except SyntaxError:
            continue
    return ast.parse(code)


def definitions(tree: ast.Module, tests: ast.Module) -> ast.Module:
    """Imports, functions, classes, and the assignments that they or the tests use. Examples of use (prints, input, a
    main block), which models like to add, are left out: they are not what was asked for."""
    defined = [node for node in tree.body if isinstance(node, DEFINITIONS)]
    used = _names(compile(ast.Module(body=[*defined, *tests.body], type_ignores=[]), "names", "exec"))
    kept: list[ast.stmt] = []
    for node in reversed(tree.body):
        if isinstance(node, ASSIGNMENTS) and _targets(node) & used:
            used |= {leaf.id for leaf in ast.walk(node) if isinstance(leaf, ast.Name)}
            kept.append(node)
        elif isinstance(node, DEFINITIONS):
            kept.append(node)
    return ast.Module(body=kept[::-1], type_ignores=[])


def _names(code: CodeType) -> set[str]:
    """Names that are looked up beyond a function's own, however deep."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _targets(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}


def _in_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """`AssertionError at test 3`, `NameError: name 'List' is not defined`."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "tests":
            line = trace.tb_lineno
        trace = trace.tb_next
    said = f"{kind.__name__}: {error}"[:200].rstrip(": ")
    return f"{said} (line {line} of the tests)" if line else said


# ---------------------------------------------------------------- the walls


def _build_walls(job: dict[str, int]) -> Iterator[str]:
    """Build them all; yields the name of each that this system refuses."""
    _limit(job["cpu_s"], job["memory_bytes"])
    if sys.platform != "linux":
        yield "files can be read, processes started and the network reached (only Linux has these walls)"
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # ends with whoever asked
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    has_namespace = libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) == 0
    _drop_capabilities(libc)
    has_files = _landlock(libc)
    has_calls = _seccomp(libc)
    if not has_files:
        yield "files outside the empty folder can be read (no Landlock)"
    if not has_calls:
        yield "new processes are limited only by the user's quota (no seccomp filter)"
    if not (has_calls or has_namespace):
        yield "the network can be reached (no seccomp filter, no user namespace)"


def _limit(cpu_s: int, memory_bytes: int) -> None:
    limits = (
        (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_NPROC, 0),
    )  # fmt: skip
    for what, most in limits:
        resource.setrlimit(what, (most, most))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Root without its powers: only the owner of its files. Nothing to drop for anybody else."""
    header = struct.pack("=Ii", CAPABILITIES_V3, 0)
    libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))


def _landlock(libc: ctypes.CDLL) -> bool:
    """Only Python's library may be read, only the working folder written (Linux 5.13 and later)."""
    version = libc.syscall(LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION)
    if version < 1:
        return False
    every = (1 << ACCESS_BITS.get(version, 16)) - 1
    rules = struct.pack("=QQQ", every, 0b11, 0b11)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(LANDLOCK_CREATE, ctypes.c_char_p(rules), len(rules), 0)
    if ruleset < 0:
        return False
    places = (*READABLE, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    for place, access in (*((place, READ_FILE_AND_FOLDER) for place in places), (".", every)):
        _allow_beneath(libc, ruleset, place, access)
    return bool(libc.syscall(LANDLOCK_RESTRICT, ruleset, 0) == 0)


def _allow_beneath(libc: ctypes.CDLL, ruleset: int, place: str, access: int) -> None:
    if not os.path.exists(place):  # noqa: PTH110  # pathlib costs this child its start-up time
        return
    if not os.path.isdir(place):  # noqa: PTH112  # as above
        access &= 1 << 2
    beneath = os.open(place, os.O_PATH)
    rule = struct.pack("=Qi", access, beneath)
    libc.syscall(LANDLOCK_ADD_RULE, ruleset, LANDLOCK_BENEATH, ctypes.c_char_p(rule), 0)
    os.close(beneath)


def _seccomp(libc: ctypes.CDLL) -> bool:
    """No new processes, programs, sockets or signals; threads may be made."""
    known = ARCHITECTURES.get(platform.machine())
    if known is None:
        return False
    program = seccomp_program(*known)
    buffer = ctypes.create_string_buffer(program)
    count = len(program) // 8
    head = ctypes.create_string_buffer(struct.pack("@HxxxxxxP", count, ctypes.addressof(buffer)))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) == 0)


def seccomp_program(audit_number: int, column: int, clone: int) -> bytes:
    """The filter in classic BPF, eight bytes an instruction: (code, jump if true, jump if false, operand)."""
    steps: list[tuple[int, int, int, int]] = [
        (LOAD, 0, 0, ARCHITECTURE_AT), (EQUAL, 1, 0, audit_number), (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT), (AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, DENY),  # the x32 numbers
        (EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, NO_SUCH_CALL),  # its flags cannot be read; libraries then take clone
    ]  # fmt: skip
    for numbers in FORBIDDEN_CALLS.values():
        number = numbers[column]
        if number is not None:
            steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, DENY)]
    steps += [
        (EQUAL, 0, 3, clone), (LOAD, 0, 0, FIRST_ARGUMENT_AT), (ANY_BIT, 1, 0, CLONE_THREAD), (RETURN, 0, 0, DENY),
        (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


if __name__ == "__main__":
    main()
