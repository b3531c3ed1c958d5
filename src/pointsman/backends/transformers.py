"""Hugging Face transformers as an engine: which weights, which child, where it computes, how much memory.

Knows: sizes of safetensors, what a processor is good at, what the libraries take. Does not know: processes, HTTP
(`managed`), torch (`worker.transformers`): the gateway imports none of it.
"""

import importlib.metadata
from pathlib import Path

import msgspec

from pointsman.backends import inhouse, templates
from pointsman.backends.base import Toolbox
from pointsman.backends.external import gpus_of
from pointsman.backends.managed import Launch, ManagedBackend, Nap, Post, WarmUp
from pointsman.backends.safetensors import Facts, read_facts
from pointsman.backends.worker.config import TransformersConfig
from pointsman.errors import UpstreamError
from pointsman.settings import Source, TransformersModel
from pointsman.types import Footprint, Kind

CPU_PIECE_TOKENS, GPU_PIECE_TOKENS = 64, 1024  # as in `worker.transformers_model`
CPUINFO = Path("/proc/cpuinfo")
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
STORED = {"BF16": "bfloat16", "F16": "float16"}
FAST_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # of x86 and of ARM
# Measured: interpreter, torch and transformers as loaded, tokenizer and server included.
BASE_BYTES = 420_000_000
# Beside what torch counts: the CUDA context, its libraries' kernels and workspaces.
CUDA_BYTES = 600_000_000
CUDA_HOST_BYTES = 1_200_000_000
UNKNOWN = Facts(
    parameters=0,
    size_bytes=0,
    dtype="BF16",
    layers=28,
    kv_values_per_token=28_672,
    vocabulary=150_000,
    context_tokens=0,
    hidden=2048,
)
"""A model that is not here yet is taken for one of 1 to 3 billion parameters; its size is known elsewhere."""
WARM_UPS = {
    Kind.CHAT: ("/chat/completions", b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}'),
    Kind.COMPLETION: ("/completions", b'{"prompt":"Hi","max_tokens":2}'),
    Kind.EMBEDDING: ("/embeddings", b'{"input":"Hi"}'),
}
LIMIT_S = 600.0


class Transformers:
    """`managed.Engine` for one model, and `managed.Sleepy`."""

    def __init__(self, model: TransformersModel, gpus: tuple[int, ...] = (), cpuinfo: Path = CPUINFO) -> None:
        self._model = model
        self._gpus = gpus
        self._cpuinfo = cpuinfo

    def sources(self) -> tuple[Source, ...]:
        return (self._model.source,)

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        model, facts = self._model, read_facts(paths[0])
        config = TransformersConfig(
            model_id=model.id,
            api_key=api_key,
            slots=model.slots,
            threads=inhouse.threads_of(model),
            path=str(paths[0]),
            n_ctx=self._context_tokens(facts),
            device="cpu" if self.gpu is None else "cuda:0",  # the only one it sees
            dtype=self.dtype(facts),
            chat_template=templates.text_of(model),
        )
        launch = inhouse.launch("transformers", config)
        visible = gpus_of(model) or (("CUDA_VISIBLE_DEVICES", "" if self.gpu is None else str(self.gpu)),)
        return msgspec.structs.replace(launch, env=(*launch.env, *visible), continues="prefill")

    def warm_up(self) -> WarmUp:
        kinds = self._model.kinds or (Kind.CHAT,)
        path, body = next((WARM_UPS[kind] for kind in WARM_UPS if kind in kinds), WARM_UPS[Kind.CHAT])
        return WarmUp(path=path, body=body)

    def nap(self) -> Nap:
        return Nap(sleep=(Post(path="/sleep"),), wake=(Post(path="/wake"),), limit_s=LIMIT_S)

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        """Weights in the format they are computed in, the cache of all slots, libraries, and one step's numbers. Asleep
        the libraries stay, and beside a GPU the weights."""
        try:
            facts = read_facts(paths[0]) if paths[0] else UNKNOWN
        except UpstreamError:  # `launch` says what is wrong with it; an estimate is always to be had
            facts = UNKNOWN
        width = WIDTHS[self.dtype(facts)]
        weights_bytes = facts.parameters * width if facts.is_float else facts.size_bytes
        kv_bytes = facts.kv_values_per_token * width * self._context_tokens(facts) * self._model.slots
        if self.gpu is None:
            working_bytes = self._working_bytes(facts, CPU_PIECE_TOKENS, width)
            return Footprint(
                weights_bytes=weights_bytes,
                kv_bytes=kv_bytes,
                overhead_bytes=BASE_BYTES + working_bytes,
                asleep_bytes=BASE_BYTES,
            )
        working_bytes = self._working_bytes(facts, GPU_PIECE_TOKENS, width)
        return Footprint(
            overhead_bytes=BASE_BYTES + CUDA_HOST_BYTES,
            gpu_bytes=((self.gpu, weights_bytes + kv_bytes + working_bytes + CUDA_BYTES),),
            asleep_bytes=BASE_BYTES + CUDA_HOST_BYTES + weights_bytes,
        )

    @property
    def gpu(self) -> int | None:
        """The GPU it computes on, None for the CPU. `auto`: one that is there, if torch is built for GPUs."""
        model = self._model
        wanted = model.gpus or self._gpus or (0,)
        if model.device == "cuda":
            return wanted[0]
        is_there = wanted[0] in self._gpus and _torch_has_cuda()
        return wanted[0] if model.device == "auto" and is_there else None

    def dtype(self, facts: Facts) -> str:
        """`auto`: as the weights are stored, on a GPU; on a CPU only where that is its faster format."""
        if self._model.dtype != "auto":
            return self._model.dtype
        if self.gpu is not None:
            return STORED.get(facts.dtype, "bfloat16")
        return "bfloat16" if facts.dtype in STORED and FAST_BFLOAT16 & _processor_flags(self._cpuinfo) else "float32"

    def _context_tokens(self, facts: Facts) -> int:
        return min(self._model.n_ctx, facts.context_tokens or self._model.n_ctx)

    def _working_bytes(self, facts: Facts, piece_tokens: int, width: int) -> int:
        """Of one step: what a layer makes of its tokens, and the numbers of a vocabulary for each slot."""
        activations_bytes = piece_tokens * facts.hidden * 16 * width
        return activations_bytes + self._model.slots * facts.vocabulary * (width + 8)

    def __repr__(self) -> str:
        return f"Transformers({self._model.id})"


def deployments(model: TransformersModel, toolbox: Toolbox) -> tuple[tuple[str, ManagedBackend], ...]:
    gpus = tuple(index for index, _ in toolbox.gpu_bytes)
    first, *smaller = (Transformers(one, gpus) for one in model.in_each_size())
    return ((model.id, ManagedBackend(model.id, first, toolbox, smaller=tuple(smaller))),)


def _torch_has_cuda() -> bool:
    """By its name alone: to import torch takes seconds."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _processor_flags(path: Path) -> frozenset[str]:
    """What the first processor can do."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(found.partition(":")[2].split())
