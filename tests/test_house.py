"""The house rules no linter knows, over every file that git tracks: the tail budget, seams, names, doors.

A rule's message names the place; the remedy is to write it smaller or in the right room, not to widen the rule.
"""

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES, CLASS_LINES, FILE_LINES, CORRIDOR_LINES, COMPLEXITY, PROTOCOL_METHODS = 60, 300, 500, 120, 12, 5

# The three seams of the gateway where any exception at all may arrive and becomes a word of ours, and the worker's one.
SEAMS = {
    "a bug must still become an answer": ("src/pointsman/edge/endpoint.py",),
    "a broken subscriber must not fail a request": ("src/pointsman/ledger/entry.py",),
    "a foreign backend may raise anything": ("src/pointsman/fleet/loader.py", "src/pointsman/fleet/health.py"),
    "what an engine throws becomes an error of ours": (
        "src/pointsman/backends/worker/server.py",
        "src/pointsman/backends/worker/transformers_batch.py",
    ),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def trees(*patterns: str) -> Iterator[tuple[str, ast.Module]]:
    for path in tracked(*patterns):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def source() -> Iterator[tuple[str, ast.Module]]:
    return trees("src/*.py")


def everything() -> Iterator[tuple[str, ast.Module]]:
    return trees("*.py")


def length(node: ast.AST) -> int:
    assert isinstance(node, Function | ast.ClassDef)
    return (node.end_lineno or node.lineno) - node.lineno + 1


def is_upper(name: str) -> bool:
    return bool(re.fullmatch(r"_*[A-Z][A-Z0-9_]*", name))


# ---------------------------------------------------------------- the tail budget


def test_functions_are_short() -> None:
    long = [
        f"{name}:{node.lineno} {node.name} has {length(node)} lines"
        for name, tree in everything()
        for node in ast.walk(tree)
        if isinstance(node, Function) and length(node) > FUNCTION_LINES
    ]
    assert not long


def test_classes_are_short() -> None:
    long = [
        f"{name}:{node.lineno} {node.name} has {length(node)} lines"
        for name, tree in everything()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and length(node) > CLASS_LINES
    ]
    assert not long


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in tracked("*.py")}
    assert not {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > FILE_LINES}
    assert lines[ROOT / "src/pointsman/gateway.py"] <= CORRIDOR_LINES


def test_functions_are_simple() -> None:
    """Without regard to `noqa`: a budget with exceptions is none."""
    ruff = Path(sysconfig.get_path("scripts")) / "ruff"
    limit = f"lint.mccabe.max-complexity={COMPLEXITY}"
    options = ["--select=C901", "--ignore-noqa", "--isolated", "--output-format=concise", f"--config={limit}"]
    files = [str(path) for path in tracked("*.py")]
    found = subprocess.run([str(ruff), "check", *options, *files], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


# ---------------------------------------------------------------- state and effects


def test_no_global_statement() -> None:
    used = [
        f"{name}:{node.lineno}" for name, tree in source() for node in ast.walk(tree) if isinstance(node, ast.Global)
    ]
    assert not used


TYPER = "src/pointsman/cli/__init__.py"  # the one place where commands are registered, as typer has it


def test_modules_hold_constants_only() -> None:
    """What a module assigns is a CONSTANT, a Type, `__all__`, a logger, or a function under another name."""
    changing = []
    for name, tree in source():
        for node in tree.body:
            for target, value in _assigned(node):
                is_type = target.lstrip("_")[:1].isupper()
                is_dunder = target.startswith("__") and target.endswith("__")
                is_logger = value is not None and ast.unparse(value) == "logging.getLogger(__name__)"
                is_alias = isinstance(value, ast.Name | ast.Attribute | ast.Lambda)
                if not (is_type or is_dunder or is_logger or is_alias or name == TYPER):
                    changing.append(f"{name}:{node.lineno} {target}")
    assert not changing


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(node, ast.Assign):
        yield from ((leaf.id, node.value) for t in node.targets for leaf in ast.walk(t) if isinstance(leaf, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id, node.value


MUTATORS = frozenset(
    {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}
)


def test_constants_do_not_change() -> None:
    """Nobody writes into a module's table: `TABLE[x] = …`, `del TABLE[x]`, `TABLE.append(…)`, `Class.field = …`."""
    written = []
    for name, tree in source():
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                owner: ast.expr | None = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
                owner = node.func.value
            else:
                continue
            if isinstance(owner, ast.Name) and is_upper(owner.id):
                written.append(f"{name}:{node.lineno} {owner.id}")
    assert not written


def test_importing_does_nothing() -> None:
    """No statement of a module acts when it is imported; `if __name__ == …` and TYPE_CHECKING are no acts."""
    acts = (ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Delete, ast.AugAssign, ast.Assert, ast.Raise)
    acting = [
        f"{name}:{node.lineno}"
        for name, tree in source()
        if name != TYPER and not name.endswith("__main__.py")
        for index, node in enumerate(tree.body)
        if isinstance(node, acts) or (isinstance(node, ast.Expr) and not (index == 0 or _is_text(node.value)))
    ]
    assert not acting


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_broad_excepts_stand_at_named_seams() -> None:
    """Catching everything is for the places that map foreign exceptions; cleaning up and raising again is no catch."""
    assert len(SEAMS) == 3 + 1
    broad = {
        name
        for name, tree in source()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not isinstance(node.body[-1], ast.Raise)
    }
    assert broad == {name for names in SEAMS.values() for name in names}


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = {node.id for node in ast.walk(caught) if isinstance(node, ast.Name)}
    return bool(names & {"Exception", "BaseException"})


def test_nothing_is_suppressed_wholesale() -> None:
    wholesale = [
        f"{name}:{node.lineno}"
        for name, tree in source()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("suppress")
        and any(_is_broad(argument) for argument in node.args)
    ]
    assert not wholesale


# ---------------------------------------------------------------- doors and names


def test_values_hold_no_dict() -> None:
    """What crosses a door is frozen to the bottom: no dict, list or set in `types.py`, nor `Any`."""
    (_, tree), *_ = trees("src/pointsman/types.py")
    fields = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    names = [(node, leaf.id) for node in fields for leaf in ast.walk(node.annotation) if isinstance(leaf, ast.Name)]
    assert fields
    assert not [f"{node.lineno} {name}" for node, name in names if name in {"dict", "list", "set", "Any", "bytearray"}]


def test_values_are_frozen() -> None:
    """Said at each class, so that type checkers know it too."""
    loose = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in source()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base) == "Value" for base in node.bases)
        and not any(keyword.arg == "frozen" and ast.unparse(keyword.value) == "True" for keyword in node.keywords)
    ]
    assert not loose


def test_protocols_are_narrow() -> None:
    wide = [
        f"{name}:{node.lineno} {node.name} has {len(methods)} methods"
        for name, tree in source()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases)
        if len(methods := [member for member in node.body if isinstance(member, Function)]) > PROTOCOL_METHODS
    ]
    assert not wide


UNITLESS = re.compile(r"(?:^|_)(?:timeout|delay|interval|duration|elapsed|backoff|ttl|latency|seconds|secs|millis)$")


def test_durations_name_their_unit() -> None:
    """`timeout_s`, never `timeout`: of parameters and of annotated numbers."""
    unitless = []
    for name, tree in source():
        for node in ast.walk(tree):
            if isinstance(node, ast.arg):
                found, annotation = node.arg, node.annotation
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found, annotation = node.target.id, node.annotation
            else:
                continue
            is_number = annotation is not None and re.search(r"\b(float|int)\b", ast.unparse(annotation))
            if is_number and UNITLESS.search(found) and (name, found) not in CONTRACT_NAMES:
                unitless.append(f"{name}:{node.lineno} {found}")
    assert not unitless


# Names that others chose: the wire's, and a score term's, which is no duration.
CONTRACT_NAMES = {
    ("src/pointsman/types.py", "total_time_seconds"),
    ("src/pointsman/settings.py", "latency"),
    ("src/pointsman/backends/worker/stt.py", "duration"),
    ("src/pointsman/backends/worker/stt.py", "seconds"),
}


def test_modules_say_what_they_know() -> None:
    bare = [name for name, tree in source() if tree.body and not ast.get_docstring(tree)]
    assert not bare


EFFECTS = frozenset(
    "aiohttp asyncio concurrent fastapi http io logging multiprocessing os random secrets select shutil signal socket"
    " ssl starlette subprocess tempfile threading time urllib uuid uvicorn uvloop pointsman.clock".split()
)


def test_what_says_it_is_pure_is() -> None:
    """Nothing that waits, reads or rolls dice is within its reach; `urllib.parse` only takes texts apart."""
    pure = [(name, tree) for name, tree in source() if re.search(r"\bPure\b", ast.get_docstring(tree) or "")]
    assert len(pure) > 50
    impure = [
        f"{name}: {module}"
        for name, tree in pure
        for module in _imported(tree)
        if {module, module.partition(".")[0]} & EFFECTS and module != "urllib.parse"
    ]
    assert not impure


def test_nothing_is_unfinished() -> None:
    """No body of `...` outside a Protocol or an overload, no NotImplementedError."""
    unfinished = []
    for name, tree in source():
        for owner in ast.walk(tree):
            is_protocol = isinstance(owner, ast.ClassDef) and "Protocol" in "".join(map(ast.unparse, owner.bases))
            for node in ast.iter_child_nodes(owner):
                if isinstance(node, Function) and not is_protocol and ast.unparse(node.body[-1]) == "...":
                    unfinished += (
                        [] if "overload" in map(ast.unparse, node.decorator_list) else [f"{name}:{node.lineno}"]
                    )
                elif isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node):
                    unfinished.append(f"{name}:{node.lineno}")
    assert not unfinished


def test_promises_are_not_left_in_comments() -> None:
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"))
    found = _lines(re.compile(rf"\b({words})\b"), tracked("*.py", "*.md", "*.yaml", "*.toml", "Makefile"))
    assert not found


def test_silenced_tools_are_given_a_reason() -> None:
    silenced = re.compile(r"#\s*(noqa|type: ignore)")
    reasoned = re.compile(r"#\s*(noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])\s+#\s*\w+")
    bare = [
        line for line in _lines(silenced, tracked("*.py")) if "test_house.py" not in line and not reasoned.search(line)
    ]
    assert not bare


def _lines(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


# ---------------------------------------------------------------- what is committed


def committed_text() -> list[Path]:
    return [path for path in tracked() if not path.is_symlink() and b"\0" not in path.read_bytes()[:8192]]


def test_no_machine_paths() -> None:
    """Nobody's checkout, home or package index is written down."""
    places = re.compile(r"(^|[\s\"'`=(])/(work|root|home/\w+|Users/\w+)/|--(extra-)?index[-]url|--find[-]links")
    assert not _lines(places, committed_text())
    assert not _lines(re.compile(re.escape(str(ROOT)) + r"(/|\b)"), committed_text())


def test_no_name_of_the_package_index_in_use() -> None:
    configured = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    hosts = {host for host in re.findall(r"https?://(?:[^@/\s']*@)?([^:/\s']+)", configured) if host != "127.0.0.1"}
    for host in hosts:
        assert not _lines(re.compile(re.escape(host)), committed_text())


def test_nothing_big_is_committed() -> None:
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked()}
    learned = [size for name, size in sizes.items() if name.startswith("src/pointsman/signals/weights/")]
    assert sum(learned) <= 12_000_000
    assert not {name: size for name, size in sizes.items() if size > 1_000_000 and not name.endswith(".npz")}


def test_the_default_settings_are_one_file() -> None:
    """The copy at the root is a link to the shipped one, so that the two cannot differ."""
    assert (ROOT / "pointsman.yaml").resolve() == ROOT / "src/pointsman/pointsman.yaml"


# ---------------------------------------------------------------- tests and imports


def test_tests_replace_nothing_of_ours() -> None:
    """No mock library, no patched attribute: the real thing, or the fake at the seam. Variables may be set."""
    patched = re.compile(r"patch\.(set|del)(attr|item)$")
    replaced = [
        f"{name}:{node.lineno}"
        for name, tree in trees("tests/*.py")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and patched.search(ast.unparse(node)))
        or (isinstance(node, ast.Import | ast.ImportFrom) and "mock" in ast.unparse(node))
    ]
    assert not replaced


IMPORT_NAMES = {
    "opencv-python-headless": "cv2", "piper-tts": "piper", "pillow": "PIL", "python-multipart": "python_multipart",
    "pyyaml": "yaml", "scikit-learn": "sklearn", "opentelemetry-sdk": "opentelemetry",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
}  # fmt: skip

# Which parts may need more than the base install, and which extra it is.
NEEDS: dict[str, tuple[str, ...]] = {
    "transformers": ("src/pointsman/backends/worker/transformers",),
    "local": ("src/pointsman/backends/worker/", "src/pointsman/testing/samples.py"),
    "encoder": ("src/pointsman/encoder/",),
    "valkey": ("src/pointsman/valkey_client.py", "src/pointsman/cache/redis.py", "src/pointsman/admission/shared.py"),
    "telemetry": ("src/pointsman/ledger/otlp.py",),
    "postgres": ("src/pointsman/ledger/store/postgres.py",),
    "learn": (
        *("src/pointsman/learning/", "src/pointsman/calibration/"),
        *("src/pointsman/fleet/trace.py", "src/pointsman/ledger/export.py"),
    ),
}
NEEDS_NOTHING = ""


def extra_of(name: str) -> str:
    return next((extra for extra, places in NEEDS.items() if name.startswith(places)), NEEDS_NOTHING)


@pytest.mark.parametrize("extra", [NEEDS_NOTHING, *NEEDS])
def test_every_import_is_a_declared_dependency(extra: str) -> None:
    """The gateway runs on the base install; only the named parts may need a package of their extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    names = [re.split(r"[<>=!~\[ ]", requirement)[0] for requirement in wanted]
    declared = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}
    declared |= {"pointsman", "pydantic_core"}  # pydantic's own other half
    undeclared = [
        f"{name}: {module}"
        for name, tree in source()
        if extra_of(name) == extra
        for module in {path.partition(".")[0] for path in _imported(tree)}
        if module not in declared and module not in sys.stdlib_module_names
    ]
    assert not undeclared


def _imported(tree: ast.Module) -> Iterator[str]:
    """Modules by their whole names, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module)


def test_the_wheel_holds_what_the_package_needs(tmp_path: Path) -> None:
    """Every tracked file of the package, data and all, and nothing of the checkout around it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    needed = {str(path.relative_to(ROOT / "src")) for path in tracked("src/pointsman")}
    assert needed <= held
    assert all(name.startswith("pointsman/") for name in held)
