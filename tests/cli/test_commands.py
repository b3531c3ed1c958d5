"""The commands a user types, through the real command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pointsman import __version__
from pointsman.cli import app

REMOTE = "models:\n  - {id: far, backend: openai, url: 'http://127.0.0.1:9/v1'}\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_version() -> None:
    assert run("version", "--short").output.strip() == __version__


def test_check_lists_the_models_of_a_right_file(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(REMOTE)
    result = run("check", str(file))
    assert result.exit_code == 0
    assert "far" in result.output
    assert "is valid: 1 models" in result.output.replace("\n", " ")


def test_check_names_every_problem_of_a_wrong_file(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(REMOTE.replace("}", ", slotz: 3}") + "servr: {}\n")
    result = run("check", str(file))
    assert result.exit_code == 2
    for said in (":2:", "`slots`", ":3:", "`server`", "2 problems"):
        assert said in result.output


@pytest.mark.parametrize(
    ("model", "origin"),
    [
        ("backend: vllm, model: Qwen/Qwen2.5", "Qwen/Qwen2.5"),
        ("backend: vllm, url: 'http://127.0.0.1:9/v1'", "http://127.0.0.1:9/v1"),
        ("backend: command, argv: [/opt/serve, x]", "/opt/serve"),
        ("backend: max_serve, source: {file: /w/llama}", "/w/llama"),
    ],
)
def test_check_shows_where_a_model_comes_from(model: str, origin: str, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"models: [{{id: a, {model}}}]")
    assert f" {origin} " in run("check", str(file)).output


def test_check_looks_for_engines_of_other_packages(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("models: [{id: a, backend: custom, engine: x}, {id: b, backend: custom, engine: y}]")
    result = run("check", str(file))
    assert result.exit_code == 2
    assert "models.a.engine: no installed package offers `x`" in result.output
    assert "2 problems" in result.output


def test_check_looks_for_chat_templates(tmp_path: Path) -> None:
    file, template = tmp_path / "p.yaml", tmp_path / "own.jinja"
    file.write_text(f"models: [{{id: a, backend: vllm, model: m, chat_template: {template}}}]")
    result = run("check", str(file))
    assert result.exit_code == 2
    assert f"models.a.chat_template: {template}: cannot be read" in result.output.replace("\n", " ")
    template.write_text("{{ messages[0].content }}")
    assert run("check", str(file)).exit_code == 0


def test_check_prints_the_schema() -> None:
    assert "models" in json.loads(run("check", "--schema").output)["properties"]


@pytest.mark.parametrize(
    ("words", "model"),
    [
        (["Hello!"], "smollm2-135m-instruct"),
        (["Write a Python function that reverses a list"], "qwen2.5-coder-0.5b-instruct"),
        (["What does it say?", "--attach", "image"], "ocr"),
        (["नमस्ते", "--kind", "speech"], "tts"),
        (["anything", "--model", "large"], "qwen2.5-coder-0.5b-instruct"),
    ],
)
def test_explain_says_who_would_answer(words: list[str], model: str) -> None:
    result = run("explain", *words, "--json")
    assert result.exit_code == 0
    explained = json.loads(result.output)
    assert explained["model"] == model
    assert explained["plan"]["reason"]
    assert {one["deployment_id"] for one in explained["plan"]["rejected"]}


def test_explain_chooses_as_the_key_says(tmp_path: Path) -> None:
    file = tmp_path / "pointsman.yaml"
    file.write_text(
        f"""
models:
  - {{id: dear, backend: openai, url: "http://h/1", quality: {{general: 0.9}}, cost_per_mtok: 9}}
  - {{id: cheap, backend: openai, url: "http://h/2", quality: {{general: 0.4}}}}
keys: [{{name: team, sha256: {"b" * 64}, objective: thrifty}}]
routing: {{strategy: quality, objectives: {{thrifty: {{strategy: cost}}}}}}
"""
    )
    result = run("explain", "Hello!", "--config", str(file), "--key", "team", "--json")
    explained = json.loads(result.output)
    assert (explained["model"], explained["plan"]["strategy"]) == ("cheap", "cost")
    assert "the objective of the key `team`" in explained["plan"]["reason"]
    assert json.loads(run("explain", "Hello!", "--config", str(file), "--json").output)["model"] == "dear"
    wrong = run("explain", "Hello!", "--config", str(file), "--key", "nobody")
    assert (wrong.exit_code, "keys are team" in wrong.output) == (2, True)


def test_explain_exits_1_where_nobody_can() -> None:
    result = run("explain", "hi", "--model", "nobody")
    assert result.exit_code == 1
    assert "nobody" in result.output


def test_models_says_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMAN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    assert "491 MB, to be fetched" in run("models").output
    assert "whisper-base-int8" in run("models", "--catalogue").output


def test_serve_refuses_a_taken_port_and_a_wrong_file(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("serve", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 1
    assert "stop what holds it" in result.output.replace("\n", " ")
    assert run("serve", "--config", str(tmp_path / "none.yaml")).exit_code == 2
