"""Any server by a command: what is filled in, what the process gets, and the life of real ones."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import uvloop

from pointsman import settings
from pointsman.backends.base import Backend, Toolbox
from pointsman.backends.command import Command
from pointsman.backends.registry import build
from pointsman.backends.worker.keeper import Charge
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import ConfigError, UpstreamError
from pointsman.settings import CommandModel, Model
from pointsman.sources.store import WeightStore
from pointsman.types import JsonPayload, Kind, Lease, Request, Running

UPSTREAM = [sys.executable, "-m", "pointsman.testing.upstream", "--port", "{port}"]
LATE = """
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.say(200 if time.time() > ready_at else 503, b"{}")
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        if os.environ.get("SAYS") == "dies":
            sys.stderr.write("CUDA out of memory\\n")
            os._exit(1)
        ok = self.headers["authorization"] == "Bearer " + os.environ["LATE_KEY"]
        self.say(200 if ok else 401, b"{}")
    def say(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
time.sleep(0.3)
ready_at = time.time() + 0.3
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def model_of(**more: Any) -> CommandModel:
    tree = {"id": "far", "backend": "command", "argv": ["serve"]} | more
    return CommandModel.model_validate_json(msgspec.json.encode(tree))


def charge_of(model: CommandModel, *paths: Path) -> Charge:
    return msgspec.json.decode(Command(model).launch(paths, "hush").config, type=Charge)


# ---------------------------------------------------------------- what is told to the keeper


def test_the_placeholders_and_no_other_braces() -> None:
    model = model_of(
        argv=["serve", "--port={port}", "{path}", '{"a": {path}}', "{x}"],
        source={"file": "/w/m.gguf"},
        env={"MODEL": "{path}", "URL": "http://127.0.0.1:{port}"},
        stop_signal="SIGINT",
        stop_grace_s=3,
    )
    charge = charge_of(model, Path("/w/m.gguf"))
    assert charge.argv == ("serve", "--port={port}", "/w/m.gguf", '{"a": /w/m.gguf}', "{x}")
    assert charge.env == (("MODEL", "/w/m.gguf"), ("URL", "http://127.0.0.1:{port}"))
    assert (charge.stop_signal, charge.grace_s) == (2, 3)


def test_the_key_goes_where_the_operator_says_and_nowhere_else() -> None:
    assert Command(model_of()).launch((), "hush").is_open
    by_variable = model_of(api_key_variable="SERVER_KEY")
    launch = Command(by_variable).launch((), "hush")
    assert not launch.is_open
    assert "hush" not in repr(launch)
    assert charge_of(by_variable).env == (("SERVER_KEY", "hush"),)
    assert charge_of(model_of(argv=["serve", "--key={api_key}"])).argv == ("serve", "--key=hush")
    assert not Command(model_of(env={"A": "{api_key}"})).launch((), "hush").is_open


def test_credentials_are_passed_on_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "t")
    assert charge_of(model_of()).env == ()
    assert charge_of(model_of(pass_env=["HF_TOKEN", "NOT_SET_TOKEN"])).env == (("HF_TOKEN", "t"),)


def test_gpus_are_shown_by_their_numbers() -> None:
    env = dict(charge_of(model_of(gpus=[2, 0])).env)
    assert env == {"CUDA_VISIBLE_DEVICES": "2,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("kinds", "path", "said"),
    [
        (None, "/chat/completions", b'"messages"'),
        (["completion"], "/completions", b'"prompt"'),
        (["embedding"], "/embeddings", b'"input"'),
        (["speech"], "/audio/speech", b'"input"'),
        (["transcription"], "/audio/transcriptions", b""),
    ],
)
def test_the_warm_up_is_of_a_kind_it_serves(kinds: list[str] | None, path: str, said: bytes) -> None:
    warm = Command(model_of(kinds=kinds, model="up")).warm_up()
    assert warm.path == path
    assert said in warm.body
    assert b'"model":"up"' in warm.body or (warm.fields == (("model", "up"),) and warm.file is not None)


def test_memory_grows_with_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "m.bin"
    weights.write_bytes(bytes(1000))
    model = model_of(source={"file": str(weights)})
    assert Command(model).footprint((weights,)).weights_bytes == 1000
    assert Command(model).footprint((None,)).total_bytes > 100e6


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("argv: []", "argv"),
        ("argv: [serve, '{path}']", "but has no `source`"),
        ("argv: [serve], health: health", "must be a path such as /health"),
        ("argv: [serve], stop_signal: SIGKILL", "stop_signal"),
        ("argv: [serve], api_key_variable: sk-123", "name of an environment variable"),
        ("argv: [serve], stop_grace_s: 60", "stop_grace_s"),
    ],
)
def test_what_is_wrong_is_said(more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings.parse(f"models: [{{id: m, backend: command, {more}}}]")


# ---------------------------------------------------------------- a real process


@asynccontextmanager
async def backend_of(model: Model, folder: Path) -> AsyncIterator[Backend]:
    clock = SystemClock()
    async with AiohttpClient() as http:
        tools = Toolbox(http=http, weights=WeightStore(folder / "cache", clock), clock=clock, log_dir=folder)
        ((_, backend),) = build(model, tools)
        try:
            yield backend
        finally:
            await backend.stop()
    assert [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE] == []


def lease_of(running: Running) -> Lease:
    return Lease(id=1, deployment_id="d", model_id="m", endpoint=running.endpoint)


def chat(**members: object) -> Request:
    raw = tuple((name, msgspec.json.encode(value)) for name, value in members.items())
    return Request(id="r", kind=Kind.CHAT, model="auto", payload=JsonPayload(members=raw))


def test_a_life_with_a_server_of_another_name(tmp_path: Path) -> None:
    model = model_of(argv=UPSTREAM, model="mock-t1-n3", health="/health")

    async def scene() -> None:
        async with backend_of(model, tmp_path) as backend:
            running = await backend.start()
            assert (running.endpoint.upstream_model, running.endpoint.api_key) == ("mock-t1-n3", "")
            await backend.probe()
            async with backend.call(lease_of(running), chat(messages=[], model="far")) as reply:
                assert reply.status == 200
                assert b'"model":"mock-t1-n3"' in (await reply.read()).replace(b": ", b":")
            await backend.stop()
            with pytest.raises(UpstreamError):
                await backend.probe()

    uvloop.run(scene())


def late(**more: Any) -> CommandModel:
    return model_of(argv=[sys.executable, "-c", LATE, "{port}"], api_key_variable="LATE_KEY", **more)


def test_it_waits_for_who_listens_late_and_is_healthy_later(tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend_of(late(), tmp_path) as backend:
            running = await backend.start()
            assert len(running.endpoint.api_key) >= 24

    uvloop.run(scene())


def failure(model: CommandModel, folder: Path) -> UpstreamError:
    async def scene() -> UpstreamError:
        async with backend_of(model, folder) as backend:
            with pytest.raises(UpstreamError) as caught:
                await backend.start()
            return caught.value

    return uvloop.run(scene())


def test_healthy_is_not_ready(tmp_path: Path) -> None:
    error = failure(late(env={"SAYS": "dies"}), tmp_path)
    assert error.code == "out_of_memory"
    assert "CUDA out of memory" in error.message


def test_a_program_that_ends_at_once_shows_its_last_words(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import sys; sys.exit('no such model: x')"]
    error = failure(model_of(argv=program, load_timeout_s=20), tmp_path)
    assert error.code == "loading_failed"
    assert "no such model: x" in error.message


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot start /nowhere/server" in failure(model_of(argv=["/nowhere/server"]), tmp_path).message


def test_its_own_limit_of_the_start(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    error = failure(model_of(argv=program, load_timeout_s=1), tmp_path)
    assert error.code == "loading_failed"
    assert "not ready after 1 s, see `load_timeout_s`" in error.message


def test_the_environment_arrives(tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend_of(late(env={"POINTS": "set"}), tmp_path) as backend:
            running = await backend.start()
            (program,) = psutil.Process(running.pid).children()
            environment = program.environ()
            assert environment["POINTS"] == "set"
            assert environment["LATE_KEY"] == running.endpoint.api_key
            assert environment["PATH"] == os.environ["PATH"]

    uvloop.run(scene())
