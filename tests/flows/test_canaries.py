"""Planted keys and a planted prompt, and everything that can go wrong around them: neither is ever seen again, in what
the server writes, in what it answers, in its metrics, nor by who looks at the processes of the machine."""

import asyncio
import json
import os
import socket
import sys
import traceback
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from pointsman.errors import PointsmanError
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.types import JsonPayload, Kind, Request, Turn

PROMPT = "my canary sings of 4929 1234 5678 9012"
KEYS = {
    "VENDOR_AUTH": "canary-of-the-vendor-1234",  # named by the settings alone
    "CHILD_API_KEY": "canary-of-the-child-1234",
    "STORE_LOGIN": "canary-of-the-store-1234",
    "OPERATOR": "canary-of-the-operator-1234",
}
DIES = "import os, sys; sys.exit('Traceback: no licence for ' + os.environ['CHILD_API_KEY'])"
MODELS = ("says-400", "says-401", "says-500", "says-nothing-good", "breaks-off", "dies")


async def quoting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that says back whatever it was sent, key and all, in every way in which it can fail."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    body = await reader.readexactly(size)
    said = f"cannot serve {head.decode()} asking {body.decode()}"
    error = json.dumps({"error": {"message": said, "code": said, "type": said, "param": said}}).encode()
    word = json.dumps({"choices": [{"delta": {"content": "Well"}}]}).encode()
    if b"says-" in body and (status := body.partition(b"says-")[2][:3]).isdigit():
        answer = b"HTTP/1.1 %b Error\r\nContent-Type: application/json\r\n\r\n%b" % (status, error)
    elif b"breaks-off" in body:
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: %b\n\ndata: %b\n\n" % (word, error)
    else:
        answer = b"HTTP/1.1 200 %b\r\nContent-Type: text/%b\r\n\r\n%b" % (body[:60], body[:60], error)
    writer.write(answer)
    writer.close()


def settings(port: int, own_port: int, cache: Path) -> dict[str, Any]:
    store = {"url": "valkey://127.0.0.1:1/0", "password_env": "STORE_LOGIN"}
    remote = {"backend": "openai", "url": f"http://127.0.0.1:{port}/v1", "api_key_env": "VENDOR_AUTH"}
    dies = {"id": "dies", "backend": "command", "argv": [sys.executable, "-c", DIES], "pass_env": ["CHILD_API_KEY"]}
    server = [sys.executable, "-m", "pointsman.testing.upstream", "--port", "{port}"]
    lives = {"id": "lives", "backend": "command", "argv": server, "api_key_variable": "ITS_KEY", "model": "mock-n2"}
    return {
        "server": {"port": own_port, "admin_key_env": "OPERATOR"},
        "cache_dir": str(cache),
        "cache": {"exact": "all", **store},
        "admission": store,
        "retry": {"backoff_s": 0.01, "first_byte_timeout_s": 2},
        "fleet": {"load_timeout_s": 5, "max_wait_s": 2},
        "models": [
            *({"id": name, **remote} for name in MODELS[:-1]),
            *({**child, "memory_gb": 0.001, "preload": True} for child in (dies, lives)),
        ],
    }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    async with await asyncio.start_server(quoting, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def until_it_lives(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/health") as response:
                    if (await response.json())["models"]["lives"]["state"] == "ready":
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def everything(session: aiohttp.ClientSession, url: str) -> list[str]:
    """Every kind of request that can fail, and all that tells of it afterwards: the bodies."""
    chat, bodies = "/v1/chat/completions", []
    key = KEYS["VENDOR_AUTH"]
    asked: list[tuple[str, str, Any]] = [
        ("POST", chat, {"model": name, "stream": stream, "messages": [{"role": "user", "content": PROMPT}]})
        for name in (*MODELS, "lives")
        for stream in (False, True)
    ]
    asked += [
        ("POST", chat, {"model": "auto", "temperature": "hot", "messages": [{"role": PROMPT}, {"content": PROMPT}]}),
        ("POST", chat, f'{{"model": "auto", "messages": [{{"content": "{PROMPT}" '),
        ("POST", "/v1/embeddings", {"model": "says-400", "input": {"of": PROMPT}}),
        ("POST", "/v1/audio/transcriptions", PROMPT),
        ("GET", "/models/dies/logs", None),
        *(("GET", path, None) for path in ("/health", "/models", "/router/info", "/v1/models", "/metrics", "/ready")),
    ]
    for method, path, body in asked:
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        sent = {"content-type": "application/json"}
        if '"lives"' not in (data or ""):  # a whole answer bears the id that its caller chose
            sent["x-request-id"] = key
        if path.startswith("/models"):
            sent["authorization"] = f"Bearer {KEYS['OPERATOR']}"
        async with session.request(method, url + path, data=data, headers=sent) as response:
            bodies.append(f"{method} {path} {response.status} {await response.text()}")
    async with session.get(f"{url}/models", headers={"authorization": f"Bearer {PROMPT}"}) as response:
        bodies.append(f"wrong key {response.status} {await response.text()}")
    return bodies


def command_lines(pid: int) -> str:
    """As every user of the machine sees them."""
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return "\n".join(Path(f"/proc/{one}/cmdline").read_text(encoding="utf-8") for one in family)


def test_neither_keys_nor_prompts_are_ever_seen_again(tmp_path: Path) -> None:
    async def run() -> tuple[list[str], str, str]:
        async with upstream() as port, aiohttp.ClientSession() as session:
            own_port = free_port()
            path = tmp_path / "pointsman.json"
            path.write_text(json.dumps(settings(port, own_port, tmp_path)))
            command = (sys.executable, "-m", "pointsman", "serve", "--config", str(path))
            child = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=os.environ | KEYS)
            try:
                url = f"http://127.0.0.1:{own_port}"
                await until_it_lives(session, url)
                bodies, lines = await everything(session, url), command_lines(child.pid)
            finally:
                child.terminate()
                out, err = await child.communicate()
            return bodies, lines, (out + err).decode()

    bodies, lines, written = asyncio.run(run())
    statuses = {body.split()[2] for body in bodies}
    assert {"200", "400", "401", "415", "502"} <= statuses, statuses
    assert lines.count("pointsman") >= 2
    assert '"event":"model_load_failed"' in written
    assert "no licence for [redacted]" in written
    assert any("no licence for [redacted]" in body for body in bodies)
    assert '"event":"request"' in written
    for canary in (PROMPT, PROMPT[:16], *KEYS.values()):
        assert canary not in written
        assert canary not in lines
        assert not [body for body in bodies if canary in body]


@pytest.mark.parametrize("stream", [False, True])
def test_nor_are_they_in_the_exceptions_that_cross_our_rooms(
    stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What any of them says of itself, its causes and its traceback included."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)

    async def run() -> list[str]:
        told: list[str] = []
        async with upstream() as port:
            tree = settings(port, 0, tmp_path)
            tree["models"] = tree["models"][:5]
            async with serving(parse(json.dumps(tree))) as (app, _):
                told += map(repr, (app.settings, app.gateway, app.fleet.backends, app.admin, app.hide))
                for name in MODELS[:5]:
                    try:
                        async with app.gateway.answer(request(name, stream)) as reply:
                            assert reply.events
                            async for _ in reply.events:
                                pass
                    except PointsmanError as error:
                        told += ["".join(traceback.format_exception(error)), repr(error), repr(vars(error))]
        return told

    told = asyncio.run(run())
    assert len(told) >= 5 + 3 * 4
    for canary in (PROMPT, PROMPT[:16], *KEYS.values()):
        assert not [text for text in told if canary in text]


def request(model: str, stream: bool) -> Request:
    said = json.dumps([{"role": "user", "content": PROMPT}]).encode()
    streamed = (("stream", b"true"),) if stream else ()
    members = (("model", json.dumps(model).encode()), ("messages", said), *streamed)
    turns = (Turn(role="user", text=PROMPT),)
    return Request(
        id="r", kind=Kind.CHAT, model=model, payload=JsonPayload(members=members), turns=turns, stream=stream
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": [{"id": "a", "backend": "openai", "url": f"http://me:{KEYS['VENDOR_AUTH']}@x/v1"}]},
        {"models": [{"id": "a", "backend": "openai", "url": "http://x/v1", "api_key": KEYS["VENDOR_AUTH"]}]},
        {"models": [{"id": "a", "backend": "openai", "url": "http://x/v1", "api_key_env": KEYS["VENDOR_AUTH"]}]},
        {"cache": {"url": f"valkey://:{KEYS['STORE_LOGIN']}@x:1/0"}, "models": []},
        {"server": {"admin_key_env": KEYS["OPERATOR"]}, "models": []},
    ],
)
def test_a_key_written_into_the_settings_is_refused_and_not_repeated(wrong: dict[str, Any]) -> None:
    with pytest.raises(PointsmanError) as raised:
        parse(json.dumps(wrong))
    assert "canary" not in str(raised.value)
