"""MAX Serve: what is launched, what it takes, what is refused.

Its wire is simulated, as the real server (26.7) spoke it; `scripts/verify_engines.py` runs the real one.
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import uvloop

from pointsman import settings
from pointsman.backends.base import Toolbox
from pointsman.backends.max_serve import MaxServe
from pointsman.backends.registry import build
from pointsman.backends.worker.keeper import Charge
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import ConfigError
from pointsman.settings import MaxServeModel
from pointsman.sources.store import WeightStore
from pointsman.types import JsonPayload, Kind, Lease, Request

FOLDER = Path(__file__).parent


def model_of(**more: Any) -> MaxServeModel:
    tree = {"id": "llama", "backend": "max_serve", "source": {"file": "/w/llama"}} | more
    return MaxServeModel.model_validate_json(msgspec.json.encode({key: value for key, value in tree.items() if value}))


def charge_of(model: MaxServeModel, *paths: Path) -> Charge:
    return msgspec.json.decode(MaxServe(model).launch(paths, "hush").config, type=Charge)


def test_what_is_launched() -> None:
    model = model_of(
        binary="/venv/bin/max", slots=4, context_tokens=2048, devices="cpu", args=["--quantization-encoding", "float32"]
    )
    charge = charge_of(model, Path("/w/llama"))
    assert " ".join(charge.argv) == (
        "/venv/bin/max serve --port {port} --model-path /w/llama --served-model-name llama --max-batch-size 4 "
        "--max-length 2048 --devices cpu --quantization-encoding float32"
    )
    env = dict(charge.env)
    assert env["MAX_SERVE_HOST"] == "127.0.0.1", "it has no key, so nobody else may reach it"
    assert "hush" not in env.values()
    assert MaxServe(model).launch((), "hush").is_open


def test_gpus_are_counted_anew_among_those_it_sees() -> None:
    charge = charge_of(model_of(gpus=[2, 5]), Path("/w"))
    assert dict(charge.env)["CUDA_VISIBLE_DEVICES"] == "2,5"
    assert charge.argv[-2:] == ("--devices", "gpu:0,1")
    assert "--devices" not in charge_of(model_of(), Path("/w")).argv


def test_a_model_of_the_hub() -> None:
    charge = charge_of(model_of(source=None, model="meta-llama/Llama-3.1-8B-Instruct"))
    assert "meta-llama/Llama-3.1-8B-Instruct" in charge.argv
    assert "HF_HUB_OFFLINE" not in dict(charge.env)


def test_memory_is_weights_and_the_longest_request_in_each_slot(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [10, 10], "data_offsets": [0, 400]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(400))
    config = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "hidden_size": 64}
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 128}))
    a_token_bytes = 2 * 2 * 1 * 16 * 4
    assert MaxServe(model_of(slots=3)).footprint((tmp_path,)).kv_bytes == 3 * 128 * a_token_bytes
    assert MaxServe(model_of(slots=3, context_tokens=10)).footprint((tmp_path,)).kv_bytes == 30 * a_token_bytes
    assert MaxServe(model_of()).footprint((None,)).kv_bytes == 0
    (tmp_path / "config.json").write_text("no")
    assert MaxServe(model_of()).footprint((tmp_path,)).kv_bytes == 0


@pytest.mark.parametrize("more", ["", ", source: {file: /w}, model: a/b"])
def test_it_needs_weights_once(more: str) -> None:
    with pytest.raises(ConfigError, match="exactly one of `source` and `model`"):
        settings.parse(f"models: [{{id: m, backend: max_serve{more}}}]")


def test_a_simulated_life(tmp_path: Path) -> None:
    binary = tmp_path / "max"
    binary.write_text(f"#!{sys.executable}\n" + (FOLDER / "simulated_max.py").read_text())
    binary.chmod(0o755)
    weights = tmp_path / "weights"
    weights.mkdir()
    model = model_of(source={"file": str(weights)}, binary=str(binary))

    def chat(stream: bool, **members: object) -> Request:
        raw = tuple((name, msgspec.json.encode(value)) for name, value in members.items())
        raw += (("messages", b'[{"role":"user","content":"Hi"}]'), ("stream", b"true" if stream else b"false"))
        return Request(id="r", kind=Kind.CHAT, model="auto", payload=JsonPayload(members=raw), stream=stream)

    async def scene() -> None:
        clock = SystemClock()
        async with AiohttpClient() as http:
            store = WeightStore(tmp_path / "cache", clock)
            tools = Toolbox(http=http, weights=store, clock=clock, log_dir=tmp_path)
            ((_, backend),) = build(model, tools)
            running = await backend.start()
            try:
                assert running.endpoint.api_key == ""
                await backend.probe()
                lease = Lease(id=1, deployment_id="llama", model_id="llama", endpoint=running.endpoint)
                async with backend.call(lease, chat(stream=True, max_tokens=2)) as reply:
                    said = await reply.read()
                assert reply.status == 200, said
                assert said.endswith(b"data: [DONE]\n\n")
                assert b'"completion_tokens": 2' in said
                async with backend.call(lease, chat(stream=False, top_secret=1)) as reply:
                    assert reply.status == 400
                assert not backend.can_continue
                family = psutil.Process(running.pid).children(recursive=True)
                assert len(family) == 2
            finally:
                await backend.stop()
            assert not any(one.is_running() for one in family)

    uvloop.run(scene())
