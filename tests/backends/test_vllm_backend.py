"""vLLM: what is launched, how it sleeps, what it takes, where it is attached. Its wire is simulated, as the real server
(0.32.0) spoke it; `scripts/verify_engines.py` runs the real one."""

import re
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
from pointsman.backends.base import Backend, Sleeper, Toolbox
from pointsman.backends.managed import Nap, Post
from pointsman.backends.openai_http import OpenAiBackend
from pointsman.backends.registry import build
from pointsman.backends.vllm import Vllm
from pointsman.backends.worker.keeper import Charge
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import ConfigError, UpstreamError
from pointsman.fleet.hardware import Gpu
from pointsman.fleet.values import DeploymentSpec
from pointsman.settings import Settings, VllmModel, sources_of
from pointsman.sources.store import WeightStore
from pointsman.standing import Standing
from pointsman.testing.hardware import FakeHardware
from pointsman.types import JsonPayload, Kind, Lease, Request, Running

FOLDER = Path(__file__).parent
GPUS = ((0, 80_000_000_000), (1, 80_000_000_000))


def model_of(**more: Any) -> VllmModel:
    tree = {"id": "qwen", "backend": "vllm", "source": {"file": "/w/qwen"}} | more
    return VllmModel.model_validate_json(msgspec.json.encode({key: value for key, value in tree.items() if value}))


def charge_of(model: VllmModel, *paths: Path) -> Charge:
    return msgspec.json.decode(Vllm(model).launch(paths, "hush").config, type=Charge)


def test_what_is_launched() -> None:
    model = model_of(
        python="/venv/bin/python",
        context_tokens=8192,
        slots=32,
        gpus=[1, 3],
        gpu_memory_utilization=0.5,
        sleep_level=1,
        args=["--dtype", "float16"],
    )
    charge = charge_of(model, Path("/w/qwen"))
    assert charge.argv[:5] == ("/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/w/qwen")
    flags = " ".join(charge.argv[5:])
    assert flags == (
        "--host 127.0.0.1 --port {port} --served-model-name qwen --max-num-seqs 32 --max-model-len 8192 "
        "--tensor-parallel-size 2 --gpu-memory-utilization 0.5 --enable-sleep-mode --dtype float16"
    )
    env = dict(charge.env)
    assert env["VLLM_API_KEY"] == "hush"
    assert env["VLLM_SERVER_DEV_MODE"] == "1"
    assert env["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert "VLLM_CPU_KVCACHE_SPACE" not in env


def test_without_a_word_it_takes_a_bounded_cache_on_a_cpu_and_no_development_paths() -> None:
    env = dict(charge_of(model_of(), Path("/w/qwen")).env)
    assert env["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert "VLLM_SERVER_DEV_MODE" not in env
    charge = charge_of(model_of(kv_cache_gb=1.5), Path("/w/qwen"))
    assert "--kv-cache-memory-bytes 1500000000" in " ".join(charge.argv)
    assert "VLLM_CPU_KVCACHE_SPACE" not in dict(charge.env)


def test_a_model_of_the_hub_is_its_own_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "t")
    model = model_of(source=None, model="Qwen/Qwen2.5-7B-Instruct", pass_env=["HF_TOKEN"])
    charge = charge_of(model)
    assert charge.argv[4] == "Qwen/Qwen2.5-7B-Instruct"
    assert dict(charge.env)["HF_TOKEN"] == "t"
    assert "HF_HUB_OFFLINE" not in dict(charge.env)
    assert sources_of(model) == ()


def test_how_it_sleeps() -> None:
    assert Vllm(model_of()).nap() is None
    assert Vllm(model_of(sleep_level=1)).nap() == Nap(
        sleep=(Post(path="/sleep?level=1"),), wake=(Post(path="/wake_up"),)
    )
    second = Vllm(model_of(sleep_level=2)).nap()
    assert second is not None
    assert [step.path for step in second.wake if isinstance(step, Post)] == [
        "/wake_up",
        "/collective_rpc",
        "/reset_prefix_cache",
    ]


def weights(folder: Path, size_bytes: int) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(size_bytes))
    return folder


def test_memory_on_gpus_is_its_share_of_them(tmp_path: Path) -> None:
    path = weights(tmp_path / "w", 1_000_000)
    share = Vllm(model_of(gpu_memory_utilization=0.25), GPUS).footprint((path,))
    assert share.gpu_bytes == ((0, 20_000_000_000),)
    assert (share.weights_bytes, share.asleep_bytes) == (0, 0)
    fixed = Vllm(model_of(gpus=[1], kv_cache_gb=4), GPUS).footprint((path,))
    assert fixed.gpu_bytes == ((1, 5_501_000_000),)
    cramped = Vllm(model_of(gpu_memory_utilization=0.01), GPUS).footprint((path,))
    assert cramped.gpu_bytes == ((0, 1_501_000_000),)  # the weights alone need more: what it will really take


@pytest.mark.parametrize(
    ("more", "budgets", "share"),
    [
        ({}, GPUS, "0.92"),  # vLLM's own, where nobody has less to give
        ({}, ((0, 64_000_000_000), (1, 64_000_000_000)), "0.8"),
        ({}, ((0, 63_999_999_999), (1, 79_000_000_000)), "0.8"),
        ({}, ((0, 63_990_000_000), (1, 79_000_000_000)), "0.799"),
        ({"gpus": [0, 1]}, ((0, 79_000_000_000), (1, 40_000_000_000)), "0.5"),
        ({"kv_cache_gb": 4}, ((0, 64_000_000_000),), "0.069"),
        ({"gpu_memory_utilization": 0.3}, ((0, 64_000_000_000),), "0.3"),
    ],
)
def test_it_is_told_to_take_no_more_of_a_gpu_than_there_is_for_it(
    more: dict[str, Any], budgets: tuple[tuple[int, int], ...], share: str, tmp_path: Path
) -> None:
    path = weights(tmp_path / "w", 1_000_000)
    engine = Vllm(model_of(**more), GPUS, budgets)
    argv = msgspec.json.decode(engine.launch((path,), "hush").config, type=Charge).argv
    assert argv[argv.index("--gpu-memory-utilization") + 1] == share
    taken, room = engine.footprint((path,)).gpu_bytes, dict(budgets)
    assert all(size <= room[gpu] for gpu, size in taken)


def test_asleep_the_first_level_keeps_the_weights_in_host_memory(tmp_path: Path) -> None:
    path = weights(tmp_path / "w", 1_000_000)
    first, second = (Vllm(model_of(sleep_level=level), GPUS).footprint((path,)).asleep_bytes for level in (1, 2))
    assert first - second == 1_000_000
    assert second > 0


def test_memory_on_a_cpu_is_weights_and_cache(tmp_path: Path) -> None:
    path = weights(tmp_path / "w", 1_000_000)
    taken = Vllm(model_of(kv_cache_gb=3)).footprint((path,))
    assert (taken.weights_bytes, taken.kv_bytes, taken.gpu_bytes) == (1_000_000, 3_000_000_000, ())
    assert Vllm(model_of()).footprint((None,)).kv_bytes == 2 * 1024**3


def test_numbers_of_32_bits_are_halved_unless_told_otherwise(tmp_path: Path) -> None:
    header = b'{"w": {"dtype": "F32", "shape": [250], "data_offsets": [0, 1000]}}'
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(1000))
    size_bytes = (tmp_path / "m.safetensors").stat().st_size
    (tmp_path / "config.json").write_text("{}")
    assert Vllm(model_of()).footprint((tmp_path,)).weights_bytes == (size_bytes + 2) // 2
    kept = model_of(args=["--dtype=float32"])
    assert Vllm(kept).footprint((tmp_path,)).weights_bytes == size_bytes + 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "exactly one of `source` and `model`, or the `url`"),
        (", source: {file: /w}, model: a/b", "exactly one of `source` and `model`, or the `url`"),
        (", source: {file: /w}, url: 'http://h/v1'", "remove `source`"),
        (", model: a/b, api_key_env: A", "only an attached server needs"),
        (", model: a/b, sleep_level: 3", "sleep_level"),
        (", model: a/b, gpu_memory_utilization: 1.5", "gpu_memory_utilization"),
    ],
)
def test_what_is_wrong_is_said(more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings.parse(f"models: [{{id: m, backend: vllm{more}}}]")


# ---------------------------------------------------------------- its process, simulated


@asynccontextmanager
async def toolbox(folder: Path) -> AsyncIterator[Toolbox]:
    clock = SystemClock()
    async with AiohttpClient() as http:
        yield Toolbox(http=http, weights=WeightStore(folder / "cache", clock), clock=clock, log_dir=folder)


def test_a_variant_needs_the_full_weights() -> None:
    with pytest.raises(ConfigError, match="has `variants` of no `source`"):
        settings.parse("models: [{id: m, backend: vllm, model: a/b, variants: [{file: /w}]}]")


def simulated_model(folder: Path, **more: Any) -> VllmModel:
    """Its interpreter is a stand-in that speaks as the real server did."""
    python = folder / "python"
    python.write_text(f"#!{sys.executable}\n" + (FOLDER / "simulated_vllm.py").read_text())
    python.chmod(0o755)
    (folder / "weights").mkdir(exist_ok=True)
    return model_of(source={"file": str(folder / "weights")}, python=str(python), load_timeout_s=30, **more)


@asynccontextmanager
async def simulated(folder: Path, **more: Any) -> AsyncIterator[Backend]:
    async with toolbox(folder) as tools:
        ((_, backend),) = build(simulated_model(folder, **more), tools)
        try:
            yield backend
        finally:
            await backend.stop()
    assert [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE] == []


def lease_of(running: Running) -> Lease:
    return Lease(id=1, deployment_id="qwen", model_id="qwen", endpoint=running.endpoint)


def chat(stream: bool = False, **members: object) -> Request:
    raw = tuple((name, msgspec.json.encode(value)) for name, value in members.items())
    raw += (("messages", b'[{"role":"user","content":"Hi"}]'), ("stream", b"true" if stream else b"false"))
    return Request(id="r", kind=Kind.CHAT, model="auto", payload=JsonPayload(members=raw), stream=stream)


async def asked(backend: Backend, running: Running, request: Request) -> tuple[int, bytes]:
    async with backend.call(lease_of(running), request) as reply:
        return reply.status, await reply.read()


def posts(folder: Path) -> list[str]:
    """As the server's own log has them."""
    return re.findall(r'"POST (\S+) HTTP/1.1" 200', (folder / "qwen.log").read_text())


def test_a_simulated_life(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulated(tmp_path) as backend:
            running = await backend.start()
            await backend.probe()
            status, body = await asked(backend, running, chat(max_tokens=4))
            assert (status, msgspec.json.decode(body)["model"]) == (200, "qwen")
            status, body = await asked(backend, running, chat(stream=True))
            assert body.endswith(b"data: [DONE]\n\n")
            assert b'"completion_tokens"' in body
            assert backend.can_continue
            assert isinstance(backend, Sleeper)
            assert not backend.can_sleep
            family = psutil.Process(running.pid).children(recursive=True)
            assert len(family) == 2, "the server and its engine"
            await backend.stop()
            assert not any(one.is_running() for one in family)

    uvloop.run(scene())


def test_with_nothing_said_the_fleet_has_room_for_it(tmp_path: Path) -> None:
    async def scene() -> None:
        hardware = FakeHardware(64_000_000_000, gpus=(Gpu(index=0, name="big", total_bytes=GPUS[0][1], used_bytes=0),))
        async with toolbox(tmp_path) as tools:
            tree = Settings(models=(simulated_model(tmp_path),), cache_dir=str(tmp_path / "cache"))
            standing = Standing(msgspec.structs.replace(tools, gpu_bytes=GPUS))
            async with standing.fleet(tree, tools.clock, hardware, lambda _: None) as fleet:
                await fleet.load("qwen")
                assert fleet.is_resident("qwen")

    uvloop.run(scene())


def test_where_the_full_weights_do_not_fit_a_variant_is_started(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()

    async def scene() -> None:
        hardware = FakeHardware(64_000_000_000, gpus=(Gpu(index=0, name="big", total_bytes=GPUS[0][1], used_bytes=0),))
        async with toolbox(tmp_path) as tools:
            model = simulated_model(tmp_path, variants=[{"file": str(small)}])
            with (tmp_path / "weights" / "model.safetensors").open("wb") as file:
                file.truncate(70_000_000_000)
            standing = Standing(msgspec.structs.replace(tools, gpu_bytes=GPUS))
            tree = Settings(models=(model,), cache_dir=str(tmp_path / "cache"))
            async with standing.fleet(tree, tools.clock, hardware, lambda _: None) as fleet:
                await fleet.load("qwen")
                (view,) = fleet.world().deployments
                assert view.pid is not None
                (server,) = psutil.Process(view.pid).children()
                assert str(small) in server.cmdline()

    uvloop.run(scene())


@pytest.mark.parametrize(("level", "steps"), [(1, []), (2, ["/collective_rpc", "/reset_prefix_cache"])])
def test_a_simulated_sleep(level: int, steps: list[str], tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulated(tmp_path, sleep_level=level) as backend:
            running = await backend.start()
            assert isinstance(backend, Sleeper)
            assert backend.can_sleep
            await backend.sleep()
            await backend.probe()
            await backend.wake()
            assert posts(tmp_path)[1:] == [f"/sleep?level={level}", "/wake_up", *steps, "/v1/chat/completions"]
            status, body = await asked(backend, running, chat())
            assert status == 200
            assert b"!!!!" not in body, "weights that were dropped are read again"

    uvloop.run(scene())


def test_a_simulated_server_without_development_paths_cannot_sleep(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulated(tmp_path, sleep_level=1, env={"VLLM_SERVER_DEV_MODE": "0"}) as backend:
            await backend.start()
            assert isinstance(backend, Sleeper)
            with pytest.raises(UpstreamError, match="HTTP 404") as caught:
                await backend.sleep()
            assert caught.value.code == "sleep_failed"

    uvloop.run(scene())


def test_a_simulated_refusal_of_the_platform_is_told(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulated(tmp_path, sleep_level=1, env={"SIMULATED_PLATFORM": "cpu"}) as backend:
            with pytest.raises(UpstreamError, match="Sleep mode is not supported on current platform") as caught:
                await backend.start()
            assert caught.value.code == "loading_failed"

    uvloop.run(scene())


def test_a_simulated_engine_that_dies_takes_the_deployment_along(tmp_path: Path) -> None:
    async def scene() -> None:
        async with simulated(tmp_path) as backend:
            running = await backend.start()
            server = psutil.Process(running.pid).children()[0]
            server.kill()
            assert running.exited is not None
            assert (await running.exited()).code == -9

    uvloop.run(scene())


# ---------------------------------------------------------------- attached


def test_an_attached_server_is_nobodys_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "k")
    model = model_of(source=None, url="http://127.0.0.1:9/v1", model="Qwen/Qwen2.5", api_key_env="FAR_KEY", slots=7)

    async def scene() -> None:
        async with toolbox(tmp_path) as tools:
            ((name, backend),) = build(model, tools)
            assert name == "qwen"
            assert isinstance(backend, OpenAiBackend)
            assert not backend.is_managed
            assert backend.can_continue
            with pytest.raises(UpstreamError) as caught:
                await backend.start()
            assert caught.value.code == "upstream_unreachable"

    uvloop.run(scene())
    spec = DeploymentSpec.of("qwen", model)
    assert (spec.is_managed, spec.slots) == (False, 7)
    assert DeploymentSpec.of("qwen", model_of()).is_managed
