"""The documentation says what is so: generated pages are current, what is shown is valid, what is named exists."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from pointsman import settings
from pointsman.cli import app
from pointsman.edge.site import ANSWERED
from pointsman.errors import TABLE
from pointsman.settings_file import overrides
from pointsman.sources.catalogue import builtin
from pointsman.testing.markdown import CodeBlock, code_blocks

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
BLOCKS = [block for page in PAGES for block in code_blocks(page)]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(*languages: str) -> list[CodeBlock]:
    return [block for block in BLOCKS if block.language in languages]


# ---------------------------------------------------------------- made from the code


def test_generated_documents_are_current() -> None:
    command = [sys.executable, str(ROOT / "scripts/docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr


# ---------------------------------------------------------------- code blocks


@pytest.mark.parametrize("block", blocks("yaml"), ids=repr)
def test_settings_shown_are_valid(block: CodeBlock) -> None:
    assert settings.parse(block.code, f"{block.path.name}:{block.line}").models


@pytest.mark.parametrize("block", blocks("json"), ids=repr)
def test_json_shown_is_json(block: CodeBlock) -> None:
    assert json.loads(block.code)


@pytest.mark.parametrize("block", blocks("python"), ids=repr)
def test_python_shown_is_python(block: CodeBlock) -> None:
    wrapped = f"async def shown(self, request):\n{block.code}".replace("\n", "\n    ")
    assert ast.parse(wrapped if "fragment" in block.marks else block.code)


def test_the_readme_shows_something_to_run() -> None:
    assert [block for block in blocks("python") if block.path.name == "README.md" and "run" in block.marks]


def shell_lines() -> list[str]:
    code = "\n".join(block.code for block in blocks("sh")).replace("\\\n", " ")
    return [line.partition("  #")[0].strip() for line in code.splitlines()]


def test_commands_shown_exist() -> None:
    """`make X` is a target; `pointsman X --option` is a command with that option, in blocks and in running text."""
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    inline = [code for page in PAGES for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))]
    lines = [*shell_lines(), *inline]
    made = {line.split()[1] for line in lines if re.match(r"make [a-z]", line)}
    assert made
    assert made <= targets
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # typer's group, whose type is private
    shown = [
        line.removeprefix(".venv/bin/").split() for line in lines if re.match(r"(\.venv/bin/)?pointsman [a-z]", line)
    ]
    assert shown
    for _, name, *words in shown:
        command = commands[name]
        if words and words[0] in getattr(command, "commands", {}):  # a group, such as `quality fit`
            command = command.commands[words[0]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, name


def test_modules_shown_exist() -> None:
    """Paths of the source that a page names, and links from page to page."""
    targets = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        targets += [page.parent / link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)]
        targets += [ROOT / path for path in re.findall(r"`((?:src|tests|scripts|examples|docs|bench)/[\w./-]+)`", text)]
    assert targets
    assert not [str(target) for target in targets if not target.exists()]


@pytest.mark.parametrize(
    ("example", "words", "model"),
    [
        ("small-large-pair", "Hello!", "3b"),
        ("small-large-pair", "What is the capital of France?", "3b"),
        ("small-large-pair", "Compare TCP and UDP for a video game.", "8b"),
        ("small-large-pair", "Prove that there are infinitely many primes.", "8b"),
        ("laptop-and-remote", "Hello!", "smollm2-135m-instruct"),
        ("laptop-and-remote", "Think hard: compare TCP and UDP for a video game.", "remote-large"),
        ("max-serve-three", "Write a Python function that adds two numbers.", "qwen-coder"),
        ("max-serve-three", "Prove that there are infinitely many primes.", "deepseek-r1"),
        ("max-serve-three", "Hello!", "llama"),
        ("vllm-blackwell", "Write a Python function that adds two numbers.", "qwen2.5-coder-7b"),
    ],
)
def test_examples_route_as_they_say(example: str, words: str, model: str) -> None:
    done = CliRunner().invoke(app, ["explain", "--json", "--config", str(ROOT / f"examples/{example}.yaml"), words])
    assert json.loads(done.stdout)["model"] == model


# ---------------------------------------------------------------- names


def test_endpoints_named_in_the_readme_exist() -> None:
    named = set(re.findall(r"`(?:GET|POST|PUT|DELETE) (/[^`]+)`", text_of("README.md")))
    described = set(json.loads(text_of("docs/openapi.json"))["paths"])
    assert {path for path, *_ in ANSWERED} <= described
    assert named <= described | {"/docs", "/openapi.json", "/console"}


def test_error_codes_shown_exist() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", text_of("docs/troubleshooting.md"), re.MULTILINE)
    assert rows
    assert {code: int(status) for code, status in rows} == {
        code: TABLE[code].http_status for code, _ in rows if code in TABLE
    }


def test_variables_shown_exist() -> None:
    names = {name for page in PAGES for name in re.findall(r"\bPOINTSMAN_[A-Z_]+\b", page.read_text(encoding="utf-8"))}
    known = {"POINTSMAN_SECTION__KEY", "POINTSMAN_CONFIG"}
    assert names & known
    for _, path, _ in overrides(dict.fromkeys(names - known, "x")):
        section = settings.Settings.model_fields[path[0]].annotation
        assert len(path) == 1 or path[1] in getattr(section, "model_fields", ())


def test_settings_named_in_running_text_exist() -> None:
    sections = "|".join(name for name in settings.Settings.model_fields if name not in {"models", "aliases"})
    for page in PAGES:
        for section, key in re.findall(rf"`({sections})\.(?!json`)([a-z_]+)[`:]", page.read_text(encoding="utf-8")):
            annotation = settings.Settings.model_fields[section].annotation
            assert key in getattr(annotation, "model_fields", ()), f"{page.name}: {section}.{key}"


def test_shipped_models_are_in_the_readme() -> None:
    """With their size on disk, as the catalogue pins it."""
    shipped = settings.load(ROOT / "pointsman.yaml", {}).models
    rows = re.findall(
        r"^\| `([\w.-]+)` \| .* \| (?:([\d,]+) MB|in the packages) \| .* \|$", text_of("README.md"), re.MULTILINE
    )
    assert [name for name, _ in rows] == [model.id for model in shipped]
    catalogue = builtin()
    for model, (name, shown) in zip(shipped, rows, strict=True):
        sources = [source for where, source in settings.sources_of(model) if where != "speech"]
        entries = [catalogue.get(source.packaged or "") for source in sources]
        size_bytes = sum(entry.size_bytes for entry in entries if entry)
        assert round(size_bytes / 1e6) == int(shown.replace(",", "") or 0), name


# ---------------------------------------------------------------- dependencies


def declared() -> dict[str, set[str]]:
    project = PROJECT["project"]
    groups = {"gateway": project["dependencies"], **project["optional-dependencies"]}
    groups["development"] = PROJECT["dependency-groups"]["dev"]
    return {name: {re.split(r"[<>=!~\[ ]", line)[0] for line in lines} for name, lines in groups.items()}


def explained() -> dict[str, set[str]]:
    """Heading → packages of the table below it."""
    groups: dict[str, set[str]] = {}
    for section in re.split(r"^## ", text_of("docs/dependencies.md"), flags=re.MULTILINE)[1:]:
        heading = re.sub(r"[^a-z].*", "", section.lower().removeprefix("the ").lstrip("`["), flags=re.DOTALL)
        rows = re.findall(r"^\| `([\w.-]+)` \| [^|]+ \| [^|]+ \| [^|]+ \| [^|]{10,} \|$", section, re.MULTILINE)
        groups[heading] = set(rows)
    return groups


def test_every_dependency_is_explained_and_none_that_is_gone() -> None:
    assert explained() == declared()


SERVING = ("gateway", "local", "encoder", "learn", "valkey")


def test_locks_pin_every_dependency_with_hashes() -> None:
    for lock, groups in (("local", SERVING), ("dev", (*SERVING, "development"))):
        entries = re.split(r"\n(?=[a-z])", text_of(f"requirements/{lock}.lock"))
        pinned = {re.split(r"==", entry)[0] for entry in entries if "--hash=sha256:" in entry}
        assert {name for group in groups for name in declared()[group]} <= pinned


def test_what_is_installed_beside_is_pinned_alike() -> None:
    """torch has a lock of its own, for the build for CPUs; of NVIDIA's gigabytes nothing is locked."""

    def pins(*locks: str) -> set[tuple[str, str]]:
        text = "\n".join(text_of(f"requirements/{lock}.lock") for lock in locks)
        return set(re.findall(r"^([a-z][a-z0-9.-]*)==(\S+)[^\n]*\\\n +--hash=sha256:", text, re.MULTILINE))

    served, beside = pins("local"), pins("transformers", "torch")
    assert declared()["transformers"] <= {name for name, _ in beside}
    names = {name for name, _ in served}
    assert {pin for pin in beside if pin[0] in names} <= served
    assert not [name for name, _ in beside if name.startswith(("nvidia", "cuda", "triton"))]


# ---------------------------------------------------------------- what runs them


def test_continuous_integration_calls_make_test() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8").splitlines()
