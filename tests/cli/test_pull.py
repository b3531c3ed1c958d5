"""The command as a person types it."""

import asyncio
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from typer.testing import CliRunner, Result

from pointsman.cli import app
from pointsman.testing.hub import FakeHub

PART = b"GGUF" + bytes(3_000_000)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two files on this machine, one of which is missing, and a remote model."""
    (tmp_path / "here.gguf").write_bytes(b"GGUF")
    path = tmp_path / "pointsman.yaml"
    path.write_text(
        f"""
cache_dir: {tmp_path / "cache"}
models:
  - {{ id: here, backend: llama_cpp, source: {{ file: {tmp_path / "here.gguf"} }}, preload: true }}
  - {{ id: gone, backend: llama_cpp, source: {{ file: {tmp_path / "gone.gguf"} }} }}
  - {{ id: far, backend: openai, url: "http://127.0.0.1:1/v1" }}
"""
    )
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["pull", *arguments], env={"COLUMNS": "120"})


def test_what_is_preloaded_is_pulled(config: Path) -> None:
    result = run("--config", str(config))
    assert result.exit_code == 0, result.output
    assert [line.split()[:2] for line in result.output.splitlines()][1] == ["here", "present"]
    assert "gone" not in result.output


def test_a_failure_exits_1_with_the_command_to_retry(config: Path) -> None:
    result = run("--all", "--config", str(config))
    assert result.exit_code == 1
    assert "gone.gguf: there is no such file" in result.output
    assert f"To try again: pointsman pull gone --config {config}" in result.output


@pytest.mark.parametrize("check", ["--verify", "--update"])
def test_the_command_to_retry_checks_as_this_one_did(check: str, config: Path) -> None:
    result = run("--all", "--variants", check, "--config", str(config))
    assert result.exit_code == 1
    assert f"To try again: pointsman pull gone --variants {check} --config {config}" in result.output


def test_two_checks_at_once_exit_2(config: Path) -> None:
    result = run("--verify", "--update", "--config", str(config))
    assert result.exit_code == 2
    assert "one at a time" in result.output


def test_an_unknown_model_exits_2(config: Path) -> None:
    result = run("hear", "--config", str(config))
    assert result.exit_code == 2
    assert "did you mean `here`?" in result.output


def test_a_remote_model_needs_nothing(config: Path) -> None:
    result = run("far", "--config", str(config))
    assert result.exit_code == 0
    assert "Nothing to fetch" in result.output


def test_a_broken_configuration_exits_2(config: Path) -> None:
    config.write_text("models: 3")
    assert run("--config", str(config)).exit_code == 2


def test_a_mirror_and_a_token_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "pointsman.yaml"
    models = "[{id: m, backend: llama_cpp, preload: true, source: {hub: acme/tiny, include: ['*.gguf']}}]"
    path.write_text(f"cache_dir: {tmp_path / 'cache'}\nmodels: {models}")

    def pulled(url: str, token: str) -> Result:
        environ = {"COLUMNS": "120", "HF_ENDPOINT": url, "HF_TOKEN": token}
        return CliRunner().invoke(app, ["pull", "--config", str(path)], env=environ)

    async def scene() -> list[Result]:
        async with FakeHub({"acme/tiny": {"a.gguf": PART, "b.gguf": b"GGUF"}}) as hub:
            hub.gated, hub.token = True, "hf_right_token"
            return [await asyncio.to_thread(pulled, hub.url, token) for token in ("hf_wrong", "hf_right_token", "")]

    refused, fetched, again = asyncio.run(scene())
    assert refused.exit_code == 1
    assert "its terms must be accepted" in refused.output
    assert f"To try again: pointsman pull m --config {path}" in refused.output
    assert fetched.exit_code == 0
    assert "fetched  3.0 MB" in fetched.output
    assert again.exit_code == 0
    assert "present" in again.output
    assert not any(word in one.output for one in (refused, fetched) for word in ("hf_wrong", "hf_right"))
    assert len(list((tmp_path / "cache/models").glob("*/*.gguf"))) == 2


class HalfFile(BaseHTTPRequestHandler):
    """Sends half of a file and then nothing until the server is told to go."""

    go = Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PART)))
        self.send_header("ETag", '"one"')
        self.end_headers()
        self.wfile.write(PART[: len(PART) // 2])
        self.go.wait(20)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the standard library
        """Quiet."""


def test_interrupted_it_says_how_to_continue_and_leaves_nothing_running(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), HalfFile)
    thread = Thread(target=server.serve_forever)
    thread.start()
    path, cache = tmp_path / "pointsman.yaml", tmp_path / "cache"
    url = f"http://127.0.0.1:{server.server_port}/half.gguf"
    path.write_text(
        f"cache_dir: {cache}\nmodels: [{{ id: half, backend: llama_cpp, source: {{ url: '{url}' }}, preload: true }}]"
    )
    command = (
        sys.executable,
        "-c",
        "from pointsman.cli import main; main()",
        "pull",
        "--update",
        "--config",
        str(path),
    )
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline_s = time.monotonic() + 30
        while not list(cache.glob("staging/*/body")) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
        HalfFile.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
    assert process.returncode == 130, output
    assert f"to continue: pointsman pull --update --config {path}" in output
    assert "Traceback" not in output
    assert psutil.Process().children(recursive=True) == []
    assert not list(cache.glob("models/*/*.gguf"))
