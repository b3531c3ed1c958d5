"""Statistics, their reset and verdicts over HTTP; ids on their way; a store that is lost while requests go on."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.admission.keys import hash_of
from pointsman.errors import ConfigError
from pointsman.settings import Settings, parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

ADMIN = "0123456789abcdef-let-me-in"
Answer = tuple[int, dict[str, Any]]


class Client:
    """One caller of one gateway."""

    def __init__(self, http: aiohttp.ClientSession, url: str, upstream: FaultUpstream) -> None:
        self.http = http
        self.url = url
        self.upstream = upstream

    async def post(self, path: str, body: object, key: str = "", **headers: str) -> Answer:
        bearer = {"authorization": f"Bearer {key}"} if key else {}
        async with self.http.post(self.url + path, json=body, headers={**bearer, **headers}) as response:
            return response.status, await response.json()

    async def stats(self, key: str = "") -> dict[str, Any]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        headers["x-request-id"] = "looking"
        async with self.http.get(f"{self.url}/v1/model-routing/stats", headers=headers) as response:
            assert (response.status, response.headers.getall("x-request-id")) == (200, ["looking"])
            decoded: dict[str, Any] = await response.json()
            return decoded

    async def chat(self, request_id: str, key: str = "") -> Answer:
        body = {"model": "a", "messages": [{"role": "user", "content": "Hello"}]}
        return await self.post("/v1/chat/completions", body, key, **{"x-request-id": request_id})

    async def judge(self, request_id: str, key: str = "", **said: object) -> Answer:
        return await self.post("/v1/feedback", {"request_id": request_id, **said}, key)


def settings_of(folder: Path, upstream: FaultUpstream, **more: object) -> Settings:
    tree = {
        "cache_dir": str(folder),
        "log": {"requests": False, "level": "error"},
        "routing": {"encoder": {"enabled": False}},
        "ledger": {"enabled": True},
        "models": [{"id": "a", "backend": "openai", "url": upstream.url, "model": "mock-n4", "cost_per_mtok": 2}],
        **more,
    }
    return parse(json.dumps(tree))


def told(folder: Path, scene: Callable[[Client], Awaitable[None]], **more: object) -> None:
    async def run() -> None:
        async with FaultUpstream() as upstream:
            settings = settings_of(folder, upstream, **more)
            async with serving(settings) as (_, url), aiohttp.ClientSession() as http:
                await scene(Client(http, url, upstream))

    asyncio.run(run())


NO_VERDICTS: list[tuple[dict[str, Any], int, str]] = [
    ({"request_id": "nobody", "thumbs": "up"}, 404, "not_found"),
    ({"request_id": "mine"}, 400, "invalid_value"),
    ({"request_id": "mine", "thumbs": "up", "correct": True}, 400, "invalid_value"),
    ({"request_id": "mine", "score": 1.5}, 400, "invalid_value"),
    ({"request_id": "", "score": 1}, 400, "invalid_value"),
    ({"thumbs": "up"}, 400, "missing_field"),
    ({"request_id": "mine", "thumbs": "sideways"}, 400, "invalid_value"),
    ({"request_id": "mine", "score": 1, "comment": "x" * 70_000}, 413, "request_too_large"),
]


def held(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("ledger.sqlite*"))


def test_an_answer_is_judged_and_counted(tmp_path: Path) -> None:
    """And its id goes all the way and back; its words stay here."""

    async def scene(client: Client) -> None:
        status_code, answer = await client.chat("mine")
        assert (status_code, answer["x-routing-metadata"]["request_id"]) == (200, "mine")
        assert client.upstream.seen[-1].header("x-request-id") == "mine"
        for body, wrong, code in NO_VERDICTS:
            found = await client.post("/v1/feedback", body)
            assert (found[0], found[1]["error"]["code"]) == (wrong, code), body
        for said, status in (
            ({"thumbs": "up"}, "recorded"),
            ({"thumbs": "up"}, "unchanged"),
            ({"score": 0.5}, "recorded"),
        ):
            assert (await client.judge("mine", **said))[1]["status"] == status
        page = await client.stats()
        assert (page["total_requests"], page["feedback"]["count"], page["feedback"]["mean"]) == (1, 2, 0.75)
        assert page["routing_enabled"] is True
        assert page["model_distribution"]["a"]["percentage"] == 100.0

    told(tmp_path, scene)
    assert b"mine" in held(tmp_path)
    assert b"Hello" not in held(tmp_path)


def test_a_key_sees_and_judges_its_own_and_the_reset_is_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here words are kept, as the operator wishes."""
    monkeypatch.setenv("TEST_ADMIN_KEY", ADMIN)

    async def scene(client: Client) -> None:
        await client.chat("anns", "pm-ann")
        assert (await client.judge("anns", "pm-bob", thumbs="down"))[0] == 404
        assert (await client.judge("anns", thumbs="down"))[0] == 401
        assert (await client.judge("anns", "pm-ann", thumbs="up"))[0] == 200
        assert list((await client.stats("pm-ann"))["keys"]) == ["ann"]
        assert (await client.stats("pm-bob"))["keys"] == {}
        for key in ("", "pm-ann"):
            assert (await client.post("/v1/model-routing/reset", {}, key))[0] == 401
        assert (await client.stats("pm-ann"))["total_requests"] == 1
        assert (await client.post("/v1/model-routing/reset", {}, ADMIN))[0] == 200
        assert (await client.stats("pm-ann"))["total_requests"] == 0

    told(
        tmp_path,
        scene,
        keys=[{"name": name, "sha256": hash_of(f"pm-{name}")} for name in ("ann", "bob")],
        server={"admin_key_env": "TEST_ADMIN_KEY"},
        ledger={"store_prompts": True},
    )
    assert b"Hello" in held(tmp_path)


def test_a_lost_store_costs_no_answer(tmp_path: Path) -> None:
    """Its file is somebody else's: nothing can be written from the first row on."""
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 500)

    async def scene(client: Client) -> None:
        for number in range(20):
            assert (await client.chat(f"r{number}"))[0] == 200
        async with asyncio.timeout(10):
            while "agent_router_ledger_up 0.0" not in await metrics(client):
                await asyncio.sleep(0.05)
        assert (await client.judge("r1", thumbs="up"))[0] == 200
        assert (await client.judge("older", thumbs="up"))[1]["error"]["code"] == "ledger_unavailable"
        assert (await client.chat("still"))[0] == 200

    told(tmp_path, scene)
    assert (tmp_path / "ledger.sqlite").read_bytes() == b"not a database" * 500


async def metrics(client: Client) -> str:
    async with client.http.get(f"{client.url}/metrics") as response:
        return await response.text()


def test_without_a_ledger_nothing_is_on_disk(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        await client.chat("mine")
        assert (await client.judge("mine", thumbs="up"))[0] == 200
        assert (await client.judge("older", thumbs="up"))[0] == 404

    told(tmp_path, scene, ledger={"enabled": False})
    assert not list(tmp_path.glob("ledger*"))


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ({"url": "mysql://db/x"}, "sqlite:/a/file or postgresql://"),
        ({"url": "postgresql://u:secret@db/x"}, "must not hold a password"),
        ({"url": "sqlite:"}, "sqlite:/a/file"),
        ({"baseline_model": "gone"}, "gone"),
        ({"keep_days": 0}, "keep_days"),
    ],
)
def test_wrong_settings_are_told(ledger: dict[str, Any], said: str) -> None:
    tree = {"ledger": ledger, "models": [{"id": "a", "backend": "openai", "url": "http://127.0.0.1:9/v1"}]}
    with pytest.raises(ConfigError) as wrong:
        parse(json.dumps(tree))
    assert said in str(wrong.value)
    assert "secret" not in str(wrong.value)
