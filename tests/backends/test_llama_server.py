"""Another `llama-server` than the embedded one: its flags, and a life (llama.cpp's real server behind a stand-in)."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import uvloop

from pointsman.backends.base import Sleeper, Toolbox
from pointsman.backends.llama_server import LlamaServer
from pointsman.backends.registry import build
from pointsman.backends.worker.keeper import Charge
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import UpstreamError
from pointsman.settings import LlamaCppModel
from pointsman.sources.store import WeightStore
from pointsman.types import JsonPayload, Kind, Lease, Request

STAND_IN = Path(__file__).resolve().parent.parent / "contract" / "llama_server.py"


def model_of(path: Path, binary: Path, **more: Any) -> LlamaCppModel:
    tree = {
        "id": "m",
        "backend": "llama_cpp",
        "source": {"file": str(path)},
        "binary": str(binary),
        "threads": 1,
    } | more
    return LlamaCppModel.model_validate_json(json.dumps(tree))


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "llama-server"
    path.write_text(f"#!{sys.executable}\n" + STAND_IN.read_text(encoding="utf-8"))
    path.chmod(0o755)
    return path


def test_it_is_told_what_the_embedded_one_is(smollm2: Path) -> None:
    model = model_of(smollm2, Path("/opt/llama-server"), n_ctx=1024, slots=3, gpu_layers=7)
    launch = LlamaServer(model, "/opt/llama-server").launch((smollm2,), "hush")
    charge = msgspec.json.decode(launch.config, type=Charge)
    said = " ".join(charge.argv)
    assert said.startswith("/opt/llama-server --host 127.0.0.1 --port {port} --model")
    assert "--ctx-size 3072 --parallel 3 --threads 1 --threads-batch 1 --n-gpu-layers 7" in said
    assert "--cache-ram 0" in said
    assert "--embeddings" not in said
    assert "hush" not in said
    assert charge.env == (("LLAMA_API_KEY", "hush"),)
    assert "--chat-template" not in said


def test_embeddings_of_a_chat_model(smollm2: Path) -> None:
    model = model_of(smollm2, Path("/opt/llama-server"), kinds=["embedding"], gpus=[1])
    charge = msgspec.json.decode(LlamaServer(model, "x").launch((smollm2,), "k").config, type=Charge)
    assert "--embeddings --pooling mean" in " ".join(charge.argv)
    assert ("CUDA_VISIBLE_DEVICES", "1") in charge.env


@pytest.mark.real
def test_a_life(smollm2: Path, binary: Path, tmp_path: Path) -> None:
    model = model_of(smollm2, binary, n_ctx=512)

    async def scene() -> None:
        clock = SystemClock()
        async with AiohttpClient() as http:
            store = WeightStore(tmp_path / "cache", clock)
            tools = Toolbox(http=http, weights=store, clock=clock, log_dir=tmp_path)
            ((_, backend),) = build(model, tools)
            running = await backend.start()
            try:
                assert isinstance(backend, Sleeper)
                assert not backend.can_sleep
                assert backend.footprint().asleep_bytes == 0
                await backend.probe()
                lease = Lease(id=1, deployment_id="m", model_id="m", endpoint=running.endpoint)
                members = (("messages", b'[{"role":"user","content":"Hi"}]'), ("max_tokens", b"2"))
                request = Request(id="r", kind=Kind.CHAT, model="m", payload=JsonPayload(members=members))
                async with backend.call(lease, request) as reply:
                    assert (reply.status, json.loads(await reply.read())["model"]) == (200, "m")
                stranger = msgspec.structs.replace(lease.endpoint, api_key="no")
                async with backend.call(msgspec.structs.replace(lease, endpoint=stranger), request) as reply:
                    assert reply.status == 401
            finally:
                await backend.stop()
        assert [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE] == []

    uvloop.run(scene())


@pytest.mark.real
def test_a_flag_that_this_build_does_not_know(smollm2: Path, binary: Path, tmp_path: Path) -> None:
    """An older build: its own words are told."""
    binary.write_text(binary.read_text().replace('"--cache-ram", ', ""))

    async def scene() -> None:
        clock = SystemClock()
        async with AiohttpClient() as http:
            store = WeightStore(tmp_path / "cache", clock)
            tools = Toolbox(http=http, weights=store, clock=clock, log_dir=tmp_path)
            ((_, backend),) = build(model_of(smollm2, binary), tools)
            with pytest.raises(UpstreamError, match="unrecognized arguments: --cache-ram 0") as caught:
                await backend.start()
            assert caught.value.code == "loading_failed"

    uvloop.run(scene())
