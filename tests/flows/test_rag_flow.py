"""Documents in, questions out: what reaches the model, what the caller is told, who sees whose."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

KEYS = {"ann": "key-of-ann-0123456789", "bob": "key-of-bob-0123456789"}
RULES = "Trains halt at red signals.\n\nBrakes are tested every Monday by the stationmaster."


class Client:
    def __init__(self, session: aiohttp.ClientSession, url: str, upstream: FaultUpstream) -> None:
        self.session = session
        self.url = url
        self.upstream = upstream

    async def send(self, method: str, path: str, who: str = "ann", **body: Any) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {KEYS[who]}"}
        async with self.session.request(
            method, self.url + path, json=body if method == "POST" else None, headers=headers
        ) as response:
            return response.status, json.loads(await response.read())

    async def attach(self, name: str, content: bytes, **fields: str) -> tuple[int, Any]:
        form = aiohttp.FormData({**fields})
        form.add_field("file", content, filename=name)
        headers = {"authorization": f"Bearer {KEYS['ann']}"}
        async with self.session.post(f"{self.url}/v1/rag/ingest", data=form, headers=headers) as response:
            return response.status, json.loads(await response.read())

    def asked(self) -> list[dict[str, str]]:
        """The messages that reached the model last."""
        messages: list[dict[str, str]] = json.loads(self.upstream.seen[-1].body)["messages"]
        return messages


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[Client]:
    async with FaultUpstream() as upstream, aiohttp.ClientSession() as session:
        tree = {
            "cache_dir": str(folder),
            "log": {"requests": False},
            "routing": {"encoder": {"enabled": False}},
            "keys": [{"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()],
            "models": [{"id": "only", "backend": "openai", "url": upstream.url, "model": "mock-n4"}],
        }
        async with serving(parse(json.dumps(tree))) as (_, url):
            yield Client(session, url, upstream)


def test_a_question_is_answered_from_what_was_kept(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as client:
            status, kept = await client.send(
                "POST", "/v1/rag/ingest", text=RULES, id="rules", title="Rule book", published_at="2026-03-05"
            )
            assert (status, kept["passages"], kept["published_at"]) == (200, 2, "2026-03-05T00:00:00Z")
            status, said = await client.send("POST", "/v1/rag/query", query="Who tests the brakes?")
            assert status == 200, said
            assert said["answer"] == "The quick brown fox "
            assert "Brakes are tested" in said["sources"][0]["text"]
            assert said["sources"][0]["title"] == "Rule book"
            assert said["x-routing-metadata"]["model_id"] == "only"
            system = client.asked()[0]["content"]
            assert "[1] Rule book (2026-03-05)\nBrakes are tested every Monday" in system

    asyncio.run(run())


def test_another_key_s_documents_are_not_there(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as client:
            await client.send("POST", "/v1/rag/ingest", text=RULES, id="rules")
            assert (await client.send("GET", "/v1/rag/documents", who="bob"))[1]["data"] == []
            assert (await client.send("DELETE", "/v1/rag/documents/rules", who="bob"))[0] == 404
            _, said = await client.send("POST", "/v1/rag/query", who="bob", query="Who tests the brakes?")
            assert said["sources"] == []
            assert "Brakes" not in client.asked()[0]["content"]
            _, listed = await client.send("GET", "/v1/rag/documents")
            assert [one["id"] for one in listed["data"]] == ["rules"]
            assert (await client.send("DELETE", "/v1/rag/documents/rules"))[0] == 200
            assert (await client.send("GET", "/v1/rag/documents"))[1]["data"] == []

    asyncio.run(run())


def test_what_changed_since_is_answered_from_later_documents(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as client:
            for year in (2023, 2024, 2025):
                await client.send(
                    "POST", "/v1/rag/ingest", text=f"Fares of {year}.", id=str(year), published_at=f"{year}-06-01"
                )
            _, said = await client.send("POST", "/v1/rag/query", query="How did fares change since March 2024?")
            assert {source["text"] for source in said["sources"]} == {"Fares of 2025.", "Fares of 2024."}
            assert said["since"] == "2024-03-01T00:00:00Z"
            _, said = await client.send("POST", "/v1/rag/query", query="किराया / fares", until="2024-01-01")
            assert [source["document_id"] for source in said["sources"]] == ["2023"]

    asyncio.run(run())


def test_a_conversation_is_remembered_and_a_stream_brings_its_sources(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as client:
            await client.send("POST", "/v1/rag/ingest", text=RULES, id="rules")
            await client.send("POST", "/v1/rag/query", query="Who tests the brakes?", conversation_id="c1")
            body = {"query": "And when?", "conversation_id": "c1", "stream": True}
            headers = {"authorization": f"Bearer {KEYS['ann']}"}
            async with client.session.post(f"{client.url}/v1/rag/query", json=body, headers=headers) as response:
                read = (await response.read()).decode()
            events = [json.loads(line[6:]) for line in read.splitlines() if line.startswith("data: {")]
            assert "".join(event.get("answer", "") for event in events) == "The quick brown fox "
            assert "Brakes are tested" in events[-1]["sources"][0]["text"]
            assert read.rstrip().endswith("data: [DONE]")
            roles = [(message["role"], message["content"]) for message in client.asked()[1:]]
            assert roles == [
                ("user", "Who tests the brakes?"),
                ("assistant", "The quick brown fox "),
                ("user", "And when?"),
            ]

    asyncio.run(run())


def test_files_and_what_cannot_be_read(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as client:
            page = b"<html><style>p {}</style><body><p>Trains halt.</p><script>x()</script></body></html>"
            status, kept = await client.attach("rules.html", page, title="Page")
            assert (status, kept["passages"], kept["kind"]) == (200, 1, "text")
            _, said = await client.send("POST", "/v1/rag/query", query="When do trains halt?")
            assert [source["text"] for source in said["sources"]] == ["Trains halt."]
            for name, content, code in (
                ("a.pdf", b"%PDF-1.7 \xff\xfe", "unsupported_media_type"),
                ("a.txt", b"", "missing_field"),
                ("a.txt", b"  \n", "invalid_media"),
            ):
                status, refused = await client.attach(name, content)
                assert (400 <= status < 500, refused["error"]["code"]) == (True, code)
            for body in ({"text": 1}, {"text": "x", "published_at": "soon"}, {}):
                assert (await client.send("POST", "/v1/rag/ingest", **body))[0] == 400
            assert (await client.send("POST", "/v1/rag/query", query="x", since="soon"))[0] == 400

    asyncio.run(run())
