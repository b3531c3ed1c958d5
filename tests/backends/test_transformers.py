"""What the gateway says of a Transformers worker before it runs: where, in which numbers, how much memory."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import TypeAdapter, ValidationError

from pointsman.backends.base import Toolbox
from pointsman.backends.managed import Post
from pointsman.backends.safetensors import Facts, read_facts
from pointsman.backends.transformers import BASE_BYTES, CUDA_BYTES, CUDA_HOST_BYTES, Transformers, deployments
from pointsman.backends.worker.config import TransformersConfig
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import UpstreamError
from pointsman.settings import Model, TransformersModel
from pointsman.sources.store import WeightStore
from pointsman.testing.checkpoint import write_checkpoint

STORED_SHORT = Facts(
    parameters=10**9,
    size_bytes=2 * 10**9,
    dtype="BF16",
    layers=10,
    kv_values_per_token=1000,
    vocabulary=100,
    context_tokens=4096,
    hidden=64,
)


def model(**members: Any) -> TransformersModel:
    raw = {"id": "m", "backend": "transformers", "source": {"file": "/nowhere"}, **members}
    validated: Any = TypeAdapter[Model](Model).validate_python(raw)
    assert isinstance(validated, TransformersModel)
    return validated


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny")


def config_of(engine: Transformers, folder: Path) -> TransformersConfig:
    return msgspec.json.decode(engine.launch((folder,), "key").config, type=TransformersConfig)


def test_what_the_child_is_told(checkpoint: Path) -> None:
    engine = Transformers(model(slots=3, threads=2, n_ctx=300))
    launch = engine.launch((checkpoint,), "key")
    config = config_of(engine, checkpoint)
    assert (config.path, config.api_key, config.model_id) == (str(checkpoint), "key", "m")
    assert (config.slots, config.threads, config.n_ctx) == (3, 2, 300)
    assert (config.device, config.dtype) == ("cpu", "float32")
    assert launch.argv[-1] == "transformers"
    assert dict(launch.env)["CUDA_VISIBLE_DEVICES"] == ""
    assert dict(launch.env)["HF_HUB_OFFLINE"] == "1"
    assert launch.continues == "prefill"


def test_each_variant_is_sized_by_its_own_weights(checkpoint: Path, tmp_path: Path) -> None:
    small = write_checkpoint(tmp_path / "small")
    header = b'{"w": {"dtype": "F32", "shape": [250], "data_offsets": [0, 1000]}}'
    (small / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(1000))
    names = [str(checkpoint), str(small)]
    one = model(source={"file": names[0]}, variants=({"file": names[1]},))
    clock = SystemClock()
    store = WeightStore(tmp_path / "cache", clock)
    ((_, backend),) = deployments(one, Toolbox(http=AiohttpClient(), weights=store, clock=clock, log_dir=tmp_path))
    full, less = backend.variants()
    assert [full.name, less.name] == names
    assert full.footprint.weights_bytes > less.footprint.weights_bytes == 1000


def test_the_context_is_no_longer_than_the_models_own(checkpoint: Path) -> None:
    assert config_of(Transformers(model(n_ctx=100_000)), checkpoint).n_ctx == 2048


@pytest.mark.parametrize(
    ("members", "present", "gpu"),
    [
        ({"device": "cpu", "gpus": (0,)}, (0,), None),
        ({"device": "cuda"}, (), 0),
        ({"device": "cuda"}, (2, 3), 2),
        ({"device": "cuda", "gpus": (3,)}, (2, 3), 3),
        ({"gpus": (1,)}, (0,), None),
        ({}, (), None),
    ],
)
def test_where_it_computes(members: dict[str, Any], present: tuple[int, ...], gpu: int | None) -> None:
    assert Transformers(model(**members), present).gpu == gpu


def test_a_gpu_is_the_only_one_that_the_child_sees(checkpoint: Path) -> None:
    engine = Transformers(model(device="cuda"), (2, 3))
    assert config_of(engine, checkpoint).device == "cuda:0"
    assert dict(engine.launch((checkpoint,), "key").env)["CUDA_VISIBLE_DEVICES"] == "2"
    named = Transformers(model(device="cuda", gpus=(3,)), (2, 3))
    assert dict(named.launch((checkpoint,), "key").env)["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize(
    ("members", "stored", "flags", "dtype"),
    [
        ({"dtype": "float16", "device": "cpu"}, "F32", "", "float16"),
        ({"device": "cuda"}, "BF16", "", "bfloat16"),
        ({"device": "cuda"}, "F16", "", "float16"),
        ({"device": "cuda"}, "F32", "", "bfloat16"),
        ({"device": "cpu"}, "BF16", "fpu avx2", "float32"),
        ({"device": "cpu"}, "BF16", "fpu avx512_bf16", "bfloat16"),
        ({"device": "cpu"}, "F32", "fpu amx_bf16", "float32"),
    ],
)
def test_number_formats(members: dict[str, Any], stored: str, flags: str, dtype: str, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    facts = msgspec.structs.replace(STORED_SHORT, dtype=stored)
    assert Transformers(model(**members), cpuinfo=cpuinfo).dtype(facts) == dtype


def test_memory_on_a_cpu(checkpoint: Path) -> None:
    facts = read_facts(checkpoint)
    held = Transformers(model(n_ctx=1000, slots=2)).footprint((checkpoint,))
    assert held.weights_bytes == facts.parameters * 4 == facts.size_bytes
    assert held.kv_bytes == 2 * 1000 * (2 * 2 * 2 * 16) * 4  # keys and values, layers, heads, width
    assert BASE_BYTES < held.overhead_bytes < 1.1 * BASE_BYTES
    assert (held.gpu_bytes, held.asleep_bytes) == ((), BASE_BYTES)
    short = Transformers(model(n_ctx=1000, slots=2, dtype="bfloat16")).footprint((checkpoint,))
    assert (short.weights_bytes * 2, short.kv_bytes * 2) == (held.weights_bytes, held.kv_bytes)


def test_memory_on_a_gpu(checkpoint: Path) -> None:
    held = Transformers(model(n_ctx=1000, slots=2, device="cuda", dtype="float32"), (1,)).footprint((checkpoint,))
    ((index, gpu_bytes),) = held.gpu_bytes
    assert index == 1
    assert gpu_bytes > CUDA_BYTES + read_facts(checkpoint).size_bytes + 2 * 1000 * 128 * 4
    assert held.total_bytes == BASE_BYTES + CUDA_HOST_BYTES
    assert held.asleep_bytes == held.total_bytes + read_facts(checkpoint).size_bytes


def test_memory_of_what_is_not_here_yet_or_not_readable(tmp_path: Path) -> None:
    engine = Transformers(model())
    unknown = engine.footprint((None,))
    assert unknown.weights_bytes == 0
    assert unknown.kv_bytes > 0
    assert engine.footprint((tmp_path,)) == unknown
    with pytest.raises(UpstreamError, match="not a readable folder"):
        engine.launch((tmp_path,), "key")


def test_it_sleeps_at_its_own_doors() -> None:
    nap = Transformers(model()).nap()
    assert (nap.sleep, nap.wake) == ((Post(path="/sleep"),), (Post(path="/wake"),))


@pytest.mark.parametrize(
    ("kinds", "path"),
    [(None, "/chat/completions"), (["completion"], "/completions"), (["embedding"], "/embeddings")],
)
def test_it_is_warmed_up_by_what_it_serves(kinds: list[str] | None, path: str) -> None:
    warm = Transformers(TransformersModel.model_validate_json(json.dumps(_raw(kinds)))).warm_up()
    assert warm.path == path
    assert json.loads(warm.body)


def _raw(kinds: list[str] | None) -> dict[str, Any]:
    return {"id": "m", "backend": "transformers", "source": {"file": "/nowhere"}, "kinds": kinds}


def test_one_gpu_at_most() -> None:
    with pytest.raises(ValidationError, match="name one, or use vLLM"):
        model(gpus=(0, 1))
