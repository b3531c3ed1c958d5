"""llama.cpp's engine: what is launched, what is estimated; and its own promises, on the real model."""

import asyncio
import json
import os
import platform
import resource
import shutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
import pytest
import uvloop

from pointsman.backends.base import Toolbox
from pointsman.backends.gguf import Header, Tensor
from pointsman.backends.llama_cpp import CUDA_BYTES, UNKNOWN, LlamaCpp, Sizing
from pointsman.backends.managed import ManagedBackend
from pointsman.backends.registry import BACKENDS, build
from pointsman.backends.worker.llama_cpp import LlamaCppConfig
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import UpstreamError
from pointsman.settings import LlamaCppModel
from pointsman.sources.store import WeightStore
from pointsman.types import Footprint, JsonPayload, Kind, Lease, Request

T = TypeVar("T")


def model(path: Path, **more: Any) -> LlamaCppModel:
    tree = {"id": "m", "backend": "llama_cpp", "source": {"file": str(path)}, "n_ctx": 512, "threads": 1} | more
    return LlamaCppModel.model_validate_json(json.dumps(tree))


def config_of(settings: LlamaCppModel, path: Path) -> LlamaCppConfig:
    return msgspec.json.decode(LlamaCpp(settings).launch((path,), "key").config, type=LlamaCppConfig)


def test_what_is_launched(smollm2: Path) -> None:
    launch = LlamaCpp(model(smollm2, slots=3)).launch((smollm2,), "key")
    assert launch.argv[1:] == ("-m", "pointsman.backends.worker.llama_cpp")
    assert "key" not in " ".join(launch.argv)
    assert msgspec.json.decode(launch.config, type=LlamaCppConfig) == LlamaCppConfig(
        path=str(smollm2), model_id="m", api_key="key", n_ctx=512, slots=3, threads=1
    )


def test_only_the_gpus_it_may_use_are_visible(smollm2: Path) -> None:
    assert LlamaCpp(model(smollm2)).launch((smollm2,), "key").env == ()
    launch = LlamaCpp(model(smollm2, gpu_layers=9, gpus=[1, 3])).launch((smollm2,), "key")
    assert dict(launch.env) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,3"}


def test_a_folder_of_a_repository_holds_the_model(smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "model-q4.gguf").symlink_to(smollm2)
    settings = model(tmp_path)
    assert config_of(settings, tmp_path).path == str(tmp_path / "model-q4.gguf")
    assert LlamaCpp(settings).footprint((tmp_path,)) == LlamaCpp(settings).footprint((smollm2,))


def test_threads_leave_a_core_to_the_gateway(smollm2: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    assert 1 <= config_of(model(smollm2, threads=None), smollm2).threads <= max(1, cores - 1)


def test_no_more_context_than_the_model_was_trained_for(smollm2: Path) -> None:
    settings = model(smollm2, n_ctx=100_000)
    assert config_of(settings, smollm2).n_ctx == 8192
    assert LlamaCpp(settings).footprint((smollm2,)).kv_bytes == 8192 * 23_040


def test_the_estimate(smollm2: Path, tmp_path: Path) -> None:
    estimate = LlamaCpp(model(smollm2, n_ctx=1000, slots=2)).footprint((smollm2,))
    assert 96_000_000 < estimate.weights_bytes < 98_362_432
    assert estimate.kv_bytes == 2048 * 23_040  # each slot in steps of 256
    assert 70e6 < estimate.overhead_bytes < 90e6
    assert (estimate.gpu_bytes, estimate.asleep_bytes) == ((), 62_000_000)
    not_here = LlamaCpp(model(smollm2, n_ctx=1024)).footprint((None,))
    assert (not_here.weights_bytes, not_here.kv_bytes) == (0, 1024 * UNKNOWN.kv_bytes_per_token)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"<html>")
    assert LlamaCpp(model(broken)).footprint((broken,)).kv_bytes > 0


HEADER = Header(
    context_tokens=4096,
    vocabulary=1000,
    hidden_width=64,
    ffn_width=256,
    kv_by_layer=(100, 100, 100, 100),
    has_pooling=False,
    size_bytes=10_000,
    tensors=(
        Tensor(name="token_embd.weight", kind=12, rows=1000, size_bytes=1000),
        *(Tensor(name=f"blk.{layer}.ffn_up.weight", kind=12, rows=64, size_bytes=2000) for layer in range(4)),
        Tensor(name="output.weight", kind=14, rows=1000, size_bytes=900),
    ),
)


def sized(**more: Any) -> Footprint:
    return Sizing(header=HEADER, model=model(Path("m.gguf"), n_ctx=1024, **more)).footprint()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="what is copied depends on the processor")
def test_matrices_in_another_order_are_held_twice() -> None:
    q8 = tuple(msgspec.structs.replace(one, kind=8) for one in HEADER.tensors)
    plain = Sizing(header=msgspec.structs.replace(HEADER, tensors=q8), model=model(Path("m.gguf"), n_ctx=1024))
    assert sized().overhead_bytes - plain.footprint().overhead_bytes == 4 * 2000


@pytest.mark.parametrize(
    ("gpu_layers", "on_host", "on_gpu", "layers"),
    [(0, 9900, 0, 0), (1, 9000, 900, 0), (3, 5000, 4900, 2), (5, 1000, 8900, 4), (99, 1000, 8900, 4)],
)
def test_layers_on_the_gpu_take_their_weights_and_cache_there(
    gpu_layers: int, on_host: int, on_gpu: int, layers: int
) -> None:
    estimate = sized(gpu_layers=gpu_layers, slots=2)
    assert estimate.weights_bytes == on_host
    assert estimate.kv_bytes == (4 - layers) * 100 * 2048
    beside_bytes = 512 * (4 * (3 * 256 + 5 * 64) + 2 * 1024) + CUDA_BYTES
    expected = ((0, on_gpu + layers * 100 * 2048 + beside_bytes),) if gpu_layers else ()
    assert estimate.gpu_bytes == expected


def test_a_layer_with_a_window_keeps_no_more_than_that_and_a_batch() -> None:
    header = msgspec.structs.replace(HEADER, windows=(300, 300, 0, 2000))
    sizing = Sizing(header=header, model=model(Path("m.gguf"), n_ctx=2048, slots=2))
    assert sizing.footprint().kv_bytes == 2 * 100 * (1024 + 1024 + 2048 + 2048)


def test_several_gpus_share_the_layers() -> None:
    (first, one), (second, other) = sized(gpu_layers=99, gpus=[1, 3]).gpu_bytes
    assert (first, second) == (1, 3)
    assert one == other < sized(gpu_layers=99).gpu_bytes[0][1]


def test_the_registry_knows_it(smollm2: Path, tmp_path: Path) -> None:
    async def use() -> None:
        async with AiohttpClient() as http:
            clock = SystemClock()
            tools = Toolbox(http=http, weights=WeightStore(tmp_path, clock), clock=clock, log_dir=tmp_path)
            ((name, backend),) = build(model(smollm2), tools)
            assert name == "m"
            assert isinstance(backend, ManagedBackend)
            assert "llama_cpp" in BACKENDS

    asyncio.run(use())


# ---------------------------------------------------------------- the real one


def on_real(
    settings: LlamaCppModel, folder: Path, use: Callable[[ManagedBackend, Lease, AiohttpClient], Awaitable[T]]
) -> T:
    async def run() -> T:
        async with AiohttpClient() as http:
            clock = SystemClock()
            tools = Toolbox(http=http, weights=WeightStore(folder / "cache", clock), clock=clock, log_dir=folder)
            backend = ManagedBackend("m", LlamaCpp(settings), tools)
            try:
                running = await backend.start()
                lease = Lease(id=1, deployment_id="m", model_id="m", endpoint=running.endpoint)
                return await use(backend, lease, http)
            finally:
                await backend.stop()

    return uvloop.run(run())


def request(kind: Kind, **members: object) -> Request:
    raw = tuple((name, msgspec.json.encode(value)) for name, value in members.items())
    return Request(id="r", kind=kind, model="auto", payload=JsonPayload(members=raw))


async def ask(backend: ManagedBackend, lease: Lease, asked: Request) -> tuple[int, Any]:
    async with backend.call(lease, asked) as reply:
        return reply.status, json.loads(await reply.read())


def say(words: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": words}]


@pytest.mark.real
def test_the_context_is_per_slot_and_over_long_says_so(smollm2: Path, tmp_path: Path) -> None:
    async def use(backend: ManagedBackend, lease: Lease, http: AiohttpClient) -> None:
        headers = (("Authorization", f"Bearer {lease.endpoint.api_key}"),)
        root = lease.endpoint.base_url.removesuffix("/v1")
        _, body = await http.get(f"{root}/slots", headers=headers, timeout_s=5)
        assert [slot["n_ctx"] for slot in json.loads(body)] == [512, 512]
        status, answer = await ask(backend, lease, request(Kind.CHAT, messages=say("word " * 2000)))
        assert (status, answer["error"]["type"]) == (400, "exceed_context_size_error")
        assert answer["error"]["n_ctx"] == 512

    on_real(model(smollm2, slots=2), tmp_path, use)


@pytest.mark.real
def test_a_template_of_ones_own_and_json_schema_and_completions(smollm2: Path, tmp_path: Path) -> None:
    async def use(backend: ManagedBackend, lease: Lease, _: AiohttpClient) -> None:
        _status, answer = await ask(backend, lease, request(Kind.CHAT, messages=say("Tell me a story."), max_tokens=1))
        assert answer["usage"]["prompt_tokens"] == 7, "nothing of the model's own template, nor its system prompt"
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        status, answer = await ask(backend, lease, request(Kind.CHAT, messages=say("Fine?"), response_format=form))
        assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["ok"], bool)
        status, answer = await ask(backend, lease, request(Kind.COMPLETION, prompt="One, two,", max_tokens=3))
        assert (status, answer["object"], answer["model"]) == (200, "text_completion", "m")

    on_real(
        model(smollm2, chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"), tmp_path, use
    )


@pytest.mark.real
def test_embeddings_of_a_chat_model(smollm2: Path, tmp_path: Path) -> None:
    async def use(backend: ManagedBackend, lease: Lease, _: AiohttpClient) -> None:
        status, answer = await ask(backend, lease, request(Kind.EMBEDDING, input=["a cat", "a dog"]))
        assert status == 200, answer
        assert [len(item["embedding"]) for item in answer["data"]] == [576, 576]
        status, _answer = await ask(backend, lease, request(Kind.CHAT, messages=say("Hi"), max_tokens=1))
        assert status == 200

    on_real(model(smollm2, kinds=["chat", "embedding"]), tmp_path, use)


@pytest.mark.real
def test_a_damaged_file_says_what_is_wrong(smollm2: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    shutil.copyfile(smollm2, cut)
    os.truncate(cut, 50_000_000)

    async def use(backend: ManagedBackend, lease: Lease, http: AiohttpClient) -> None:
        raise AssertionError("it started")

    with pytest.raises(UpstreamError, match=r"see `GET /models/m/logs`: RuntimeError: Failed to init server") as caught:
        on_real(model(cut), tmp_path, use)
    assert caught.value.code == "loading_failed"
    assert "not within the file bounds" in (tmp_path / "m.log").read_text(), "the whole story is the operator's"


@pytest.mark.real
def test_a_start_short_of_memory_says_so(smollm2: Path, tmp_path: Path) -> None:
    async def run() -> str:
        async with AiohttpClient() as http:
            clock = SystemClock()
            tools = Toolbox(http=http, weights=WeightStore(tmp_path / "cache", clock), clock=clock, log_dir=tmp_path)
            backend = ManagedBackend("m", LlamaCpp(model(smollm2, n_ctx=8192, slots=4)), tools)
            start = asyncio.create_task(backend.start())
            while not (children := psutil.Process().children()):
                await asyncio.sleep(0.001)
            resource.prlimit(children[0].pid, resource.RLIMIT_AS, (800_000_000, 800_000_000))
            with pytest.raises(UpstreamError) as caught:
                await start
            return caught.value.code

    assert uvloop.run(run()) == "out_of_memory"


@pytest.mark.real
def test_two_streams_at_once_share_the_work(smollm2: Path, tmp_path: Path) -> None:
    async def use(backend: ManagedBackend, lease: Lease, _: AiohttpClient) -> list[int]:
        asked = request(Kind.CHAT, messages=say("Count to twenty."), max_tokens=20)
        return [status for status, _ in await asyncio.gather(*(ask(backend, lease, asked) for _ in range(4)))]

    assert on_real(model(smollm2, slots=2), tmp_path, use) == [200] * 4


@pytest.mark.real
def test_asleep_it_gives_its_memory_back_and_keeps_its_port(smollm2: Path, tmp_path: Path) -> None:
    async def use(backend: ManagedBackend, lease: Lease, http: AiohttpClient) -> None:
        child = psutil.Process().children()[0]
        awake_bytes = child.memory_info().rss
        port = int(lease.endpoint.base_url.split(":")[2].split("/")[0])
        for _ in range(2):
            await backend.sleep()
            assert child.memory_info().rss < awake_bytes / 2
            with socket.socket() as thief, pytest.raises(OSError, match="in use"):
                thief.bind(("127.0.0.1", port))
            await backend.wake()
            assert child.memory_info().rss > awake_bytes * 0.9
            status, _answer = await ask(backend, lease, request(Kind.CHAT, messages=say("Hi"), max_tokens=1))
            assert status == 200

    on_real(model(smollm2), tmp_path, use)


@pytest.mark.real
def test_one_that_cannot_wake_says_so(smollm2: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copyfile(smollm2, copy)

    async def use(backend: ManagedBackend, lease: Lease, _: AiohttpClient) -> None:
        await backend.sleep()
        copy.unlink()
        with pytest.raises(UpstreamError, match="did not wake") as caught:
            await backend.wake()
        assert caught.value.code == "loading_failed"

    on_real(model(copy), tmp_path, use)


@pytest.mark.real
@pytest.mark.parametrize(("n_ctx", "slots"), [(512, 1), (4096, 2), (8192, 4)])
def test_the_estimate_is_what_it_holds_after_a_long_prompt(
    n_ctx: int, slots: int, smollm2: Path, tmp_path: Path
) -> None:
    settings = model(smollm2, n_ctx=n_ctx, slots=slots)

    async def use(backend: ManagedBackend, lease: Lease, _: AiohttpClient) -> int:
        prompt = [100 + number for number in range(500)]
        await ask(backend, lease, request(Kind.COMPLETION, prompt=prompt, max_tokens=1))
        return int(psutil.Process().children()[0].memory_info().rss)  # nobody's sharing of the file makes it less

    held_bytes = on_real(settings, tmp_path, use)
    estimate_bytes = LlamaCpp(settings).footprint((smollm2,)).total_bytes
    assert abs(estimate_bytes / held_bytes - 1) < 0.1, f"estimated {estimate_bytes}, holds {held_bytes}"
