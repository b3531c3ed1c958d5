"""Anthropic's own client and OpenAI's responses, through a whole gateway; errors and cuts in each one's words."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anthropic
import openai
import pytest

from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

MODELS = {
    "good": "mock-n12",
    "odd": "mock-n12-tight-spaced",
    "mute": "mock-n12-nousage",
    "slow": "mock-t3000",
    "cut": "mock-n32-a1-A5",
    "down": "mock-e1-s500",
}


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[str]:
    async with FaultUpstream() as upstream:
        tree = {
            "cache_dir": str(folder),
            "log": {"requests": False},
            "retry": {"max_attempts": 1, "backoff_s": 0.01},
            "routing": {"encoder": {"enabled": False}},
            "models": [
                {
                    "id": name,
                    "backend": "openai",
                    "url": upstream.url,
                    "model": script,
                    "kinds": ["chat", "transcription"],
                }
                for name, script in MODELS.items()
            ],
        }
        async with serving(parse(json.dumps(tree))) as (_, url):
            yield url


def test_anthropics_client(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            gateway(tmp_path) as url,
            anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client,
        ):
            said = await client.messages.create(
                model="good", max_tokens=50, system="Be brief.", messages=[{"role": "user", "content": "Hello"}]
            )
            assert said.content[0].type == "text"
            assert said.content[0].text.startswith("The quick brown fox")
            assert (said.stop_reason, said.usage.output_tokens) == ("end_turn", 12)

            async with client.messages.stream(
                model="good", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
            ) as stream:
                text = "".join([piece async for piece in stream.text_stream])
                whole = await stream.get_final_message()
            assert text == said.content[0].text
            assert whole.usage.output_tokens == 12

            counted = await client.messages.count_tokens(model="good", messages=[{"role": "user", "content": "Hello"}])
            assert counted.input_tokens >= 1
            with pytest.raises(anthropic.NotFoundError, match="no model"):
                await client.messages.create(model="nobody", max_tokens=5, messages=[{"role": "user", "content": "Hi"}])
            with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
                await client.messages.create(model="good", max_tokens=0, messages=[{"role": "user", "content": "Hi"}])

    asyncio.run(run())


def test_an_upstream_that_writes_its_events_otherwise(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            gateway(tmp_path) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as one,
            anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as other,
        ):
            plain = await one.chat.completions.create(
                model="odd", messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            chunks = [chunk async for chunk in plain]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert text.startswith("The quick brown fox")
            assert (chunks[0].model_extra or {})["x-routing-metadata"]["model_id"] == "odd"
            counting = await one.chat.completions.create(
                model="odd",
                messages=[{"role": "user", "content": "Hello"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            counted = [chunk.usage.completion_tokens async for chunk in counting if chunk.usage]
            assert counted == [12]
            async with one.responses.stream(model="odd", input="Hello") as stream:
                assert (await stream.get_final_response()).output_text == text
            async with other.messages.stream(
                model="odd", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
            ) as spoken:
                assert "".join([piece async for piece in spoken.text_stream]) == text
                assert (await spoken.get_final_message()).usage.output_tokens == 12

    asyncio.run(run())


def test_usage_that_no_upstream_tells_is_estimated(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            gateway(tmp_path) as url,
            anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as other,
        ):
            hello: anthropic.types.MessageParam = {"role": "user", "content": "Hello there, how are you?"}
            whole = await client.messages.create(model="mute", max_tokens=50, messages=[hello])
            async with client.messages.stream(model="mute", max_tokens=50, messages=[hello]) as stream:
                streamed = await stream.get_final_message()
            assert whole.usage.input_tokens >= 3
            assert 10 <= whole.usage.output_tokens <= 20
            assert streamed.usage.output_tokens == 12
            said = await other.responses.create(model="mute", input="Hello there, how are you?")
            assert said.usage is not None
            assert said.usage.input_tokens == whole.usage.input_tokens
            assert said.usage.output_tokens == whole.usage.output_tokens

    asyncio.run(run())


def test_a_transcription_has_the_callers_deadline(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            gateway(tmp_path) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        ):
            recording = ("a.wav", b"RIFF0000WAVE", "audio/wav")
            for routing in ({"deadline_s": 0.2}, '{"deadline_s": 0.2}'):
                with pytest.raises(openai.APIStatusError, match="deadline") as caught:
                    await client.audio.transcriptions.create(
                        model="slow", file=recording, extra_body={"x-routing": routing}
                    )
                assert caught.value.status_code == 504
            said = await client.audio.transcriptions.create(
                model="good", file=recording, extra_body={"x-routing": {"deadline_s": 60, "language": "en"}}
            )
            assert said.text.startswith("The quick brown fox")

    asyncio.run(run())


def test_openais_responses(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            gateway(tmp_path) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        ):
            said = await client.responses.create(model="good", input="Hello", instructions="Be brief.")
            assert said.status == "completed"
            assert said.output_text.startswith("The quick brown fox")
            assert said.usage is not None
            assert said.usage.output_tokens == 12

            async with client.responses.stream(model="good", input="Hello") as stream:
                pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
                whole = await stream.get_final_response()
            assert "".join(pieces) == whole.output_text == said.output_text

            with pytest.raises(openai.BadRequestError, match="not stored"):
                await client.responses.create(model="good", input="Hello", previous_response_id="resp_1")

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/generate"])
def test_a_cut_stream_ends_with_one_error_and_no_end(path: str, tmp_path: Path) -> None:
    async def run() -> None:
        body = {
            "model": "cut",
            "stream": True,
            "max_tokens": 64,
            "input": "Hello",
            "query": "Hello",
            "messages": [{"role": "user", "content": "Hello"}],
        }
        async with (
            gateway(tmp_path) as url,
            aiohttp.ClientSession() as session,
            session.post(url + path, json=body) as response,
        ):
            read = (await response.read()).decode()
        assert response.status == 200
        assert "brown" in read
        last = json.loads(read.strip().split("\n\n")[-1].partition("data: ")[2])
        assert "upstream_cut" in json.dumps(last)
        assert read.count("upstream_cut") == 1
        for end in ("message_stop", "response.completed", "[DONE]"):
            assert end not in read

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/generate"])
def test_a_failed_answer_and_garbage_are_typed(path: str, tmp_path: Path) -> None:
    async def run() -> None:
        body = {
            "model": "down",
            "max_tokens": 5,
            "input": "Hi",
            "query": "Hi",
            "messages": [{"role": "user", "content": "Hi"}],
        }
        async with gateway(tmp_path) as url, aiohttp.ClientSession() as session:
            async with session.post(url + path, json=body) as response:
                said = await response.json()
            assert (response.status, said["error"]["code"]) == (502, "upstream_error")
            for garbage in (b"", b"[", b"[]", b"\xff", b'{"messages": 1, "input": 1, "query": 1}'):
                async with session.post(
                    url + path, data=garbage, headers={"content-type": "application/json"}
                ) as response:
                    assert response.status == 400, garbage
                    assert (await response.json())["error"]["message"]

    asyncio.run(run())
