"""`pointsman models` and the commands that change the fleet, against a real server and without one."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from pointsman.cli import app
from pointsman.cli.models_table import duration, fleet_of, gigabytes, render
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

FILE = """
server: {{port: {port}{key}}}
cache_dir: {cache}
log: {{requests: false, level: error}}
aliases: {{quick: speaker}}
models:
  - {{id: speaker, backend: tts}}
  - {{id: far, backend: openai, url: '{url}', model: mock-n3, slots: 64}}
"""


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "80"} | environ)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def server(folder: Path, key: str = "") -> Iterator[tuple[str, Path]]:
    """A gateway in a thread of its own: its URL and its file."""
    path, url = folder / "p.yaml", ""
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        nonlocal url
        async with FaultUpstream() as upstream:
            text = FILE.format(port=0, key=key, cache=folder / "cache", url=upstream.url)
            async with serving(parse(text)) as (_, url):
                path.write_text(text.replace("port: 0", f"port: {url.rpartition(':')[2]}"))
                ready.set()
                await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield url, path
    finally:
        done.set()
        thread.join(30)


def rows(result: Result) -> dict[str, list[str]]:
    """First word of each line → the others."""
    return {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line.strip()}


def test_a_running_fleet_is_shown_and_changed(tmp_path: Path) -> None:
    with server(tmp_path) as (url, file):
        config = ("--config", str(file))
        assert rows(run("models", *config))["speaker"][:3] == ["tts", "cold", "cold"]
        loaded = run("load", "quick", *config)
        assert (loaded.exit_code, loaded.output) == (0, "speaker: ready\n")
        shown = run("models", *config)
        assert rows(shown)["speaker"][:3] == ["tts", "hot", "ready"]
        assert rows(shown)["far"][-1] in ("0/64", "s")
        assert url in shown.output
        assert max(len(line) for line in shown.output.splitlines()) <= 80
        answer = json.loads(run("models", "--json", *config).output)
        assert [row["state"] for row in answer["data"]] == ["ready", "ready"]
        assert run("alias", "voice", "speaker", *config).output == "voice → speaker (speaker: ready)\n"
        assert run("unload", "speaker", "--url", url, *config).output == "speaker: cold\n"
        assert run("breaker", "far", "forced_open", *config).output == "far: ready, breaker forced open\n"
        assert "forced open" in run("models", *config).output
        assert run("breaker", "far", "auto", *config).output == "far: ready\n"
        refused = run("sleep", "far", *config)
        assert refused.exit_code == 1
        assert "runs elsewhere" in refused.stderr
        unknown = run("load", "speeker", *config)
        assert (unknown.exit_code, "did you mean `speaker`?" in unknown.stderr) == (1, True)


def test_the_key_is_read_from_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_ADMIN", "a-long-and-random-key")
    with server(tmp_path, ", admin_key_env: FLEET_ADMIN") as (_, file):
        assert run("models", "--config", str(file)).exit_code == 0
        for wrong in ("", "another-key"):
            refused = run("models", "--config", str(file), FLEET_ADMIN=wrong)
            assert refused.exit_code == 1
            assert "admin key is" in refused.stderr
            assert "another-key" not in refused.output


def test_a_key_that_is_named_and_not_set_is_told_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    key = ", admin_key_env: NO_SUCH_KEY"
    file.write_text(FILE.format(port=free_port(), key=key, cache=tmp_path, url="http://127.0.0.1:9/v1"))
    refused = run("serve", "--config", str(file))
    assert refused.exit_code == 2
    assert "the variable NO_SUCH_KEY is not set" in refused.stderr


def test_without_a_server_the_file_and_the_disk_speak(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(FILE.format(port=free_port(), key="", cache=tmp_path, url="http://127.0.0.1:9/v1"))
    shown = run("models", "--config", str(file))
    assert shown.exit_code == 0
    assert rows(shown)["speaker"] == ["tts", "none", "needed"]
    assert "no server at http://127.0.0.1:" in shown.output
    for asked in (("models", "--json"), ("models", "--url", "http://127.0.0.1:9"), ("load", "speaker")):
        nobody = run(*asked, "--config", str(file))
        assert nobody.exit_code == 1
        assert "no server at" in nobody.stderr


def test_another_server_there_is_told(tmp_path: Path) -> None:
    async def page(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async def scene() -> Result:
        async with await asyncio.start_server(page, "127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            return await asyncio.to_thread(run, "models", "--url", url)

    result = asyncio.run(scene())
    assert result.exit_code == 1
    assert "is no Pointsman: it answered 200 without JSON" in result.stderr


# ---------------------------------------------------------------- the table


def shown(width: int, *data: dict[str, Any], **memory: Any) -> str:
    console = Console(file=StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(render(fleet_of({"data": data, "memory": memory}), "http://127.0.0.1:8001"))
    return captured.get()


BUSY = {
    "id": "qwen2.5-coder-1.5b-instruct",
    "backend": "transformers",
    "tier": "warm",
    "state": "falling_asleep",
    "memory": {"held_bytes": 12_340_000_000},
    "slots": 64,
    "in_flight": 63,
    "queued": 512,
    "idle_s": 7300.0,
    "last_error": "died (signal 9): " + "out of memory " * 40,
}


def test_80_columns_hold_the_widest_row() -> None:
    text = shown(80, BUSY, budget_bytes=64 * 10**9, used_bytes=12_340_000_000)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for word in ("transformers", "warm", "dozing off", "12.34 GB", "63/64", "512", "2 h"):
        assert word in text
    assert lines[0] == "Memory 12.34 GB of 64.00 GB · http://127.0.0.1:8001"
    assert "died (signal 9)" in text
    assert len(lines) < 12
    assert str(BUSY["id"]) in "".join(line.split(" ")[0] for line in lines[2:])  # folded, not cut


def test_what_one_waits_for_says_how_long() -> None:
    starting = {"id": "a", "state": "starting", "ready_in_s": 80.0}
    leaving = {"id": "b", "state": "ready", "leaving": "unloaded", "in_flight": 1}
    gpu = {"index": 1, "budget_bytes": 80 * 10**9, "used_bytes": 10**9}
    text = shown(100, starting, leaving, budget_bytes=10**9, used_bytes=0, gpus=[gpu])
    assert "starting 1 min" in text
    assert "leaving" in text
    assert "GPU 1: 1.00 GB of 80.00 GB" in text


@pytest.mark.parametrize(("time_s", "said"), [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7300, "2 h"), (2e5, "2 d")])
def test_durations(time_s: float, said: str) -> None:
    assert duration(time_s) == said


def test_sizes() -> None:
    assert [gigabytes(size) for size in (0, 98_000_000, 1_200_000_000)] == ["", "98 MB", "1.20 GB"]
