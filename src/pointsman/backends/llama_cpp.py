"""llama.cpp as an engine: which weights, which child, which warm-up, how much memory.

Knows: GGUF sizes, llama.cpp's memory. Does not know: processes, HTTP (`managed`), the child's parameters
(`worker.llama_cpp`).
"""

import contextlib
import platform
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pointsman.backends import external, templates
from pointsman.backends.gguf import Header, Tensor, gguf_of, read_header
from pointsman.backends.managed import Launch, Nap, Order, WarmUp, default_threads, worker_argv
from pointsman.backends.worker.llama_cpp import LlamaCppConfig
from pointsman.errors import UpstreamError
from pointsman.settings import LlamaCppModel, Source
from pointsman.types import Footprint, Kind, Value

UBATCH_TOKENS = 512  # llama.cpp's default: how many tokens are worked on at once
CACHE_STEP_TOKENS = 256
BASE_BYTES = 40_000_000  # interpreter, libraries, server
VOCABULARY_BYTES = 440  # for each token
CUDA_BYTES = 450_000_000  # driver, kernels and workspaces on a GPU, beside what is put there
ASLEEP_BYTES = 62_000_000  # interpreter and libraries, whatever the model
REPACKED: Mapping[str, frozenset[int]] = {
    "x86_64": frozenset({2, 12, 20, 39}),  # Q4_0, Q4_K, IQ4_NL, MXFP4
    "aarch64": frozenset({2, 8, 12, 13, 14, 20}),  # and Q8_0, Q5_K, Q6_K; not MXFP4
}
"""Types whose matrices llama.cpp copies into an order that suits the processor; the file's pages stay mapped too."""
# A file that is not here yet is taken for something between a 0.5B and a 3B model; its size is known elsewhere.
UNKNOWN = Header(
    context_tokens=0,
    vocabulary=150_000,
    hidden_width=1024,
    ffn_width=6144,
    kv_by_layer=(1024,) * 32,
    has_pooling=False,
    size_bytes=0,
)
WARM_UPS = {
    Kind.CHAT: ("/chat/completions", b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1}'),
    Kind.COMPLETION: ("/completions", b'{"prompt":"Hi","max_tokens":1}'),
    Kind.EMBEDDING: ("/embeddings", b'{"input":"Hi"}'),
}


class LlamaCpp:
    """`managed.Engine` for one model."""

    def __init__(self, model: LlamaCppModel) -> None:
        self._model = model
        self._kinds = model.kinds or (Kind.CHAT, Kind.COMPLETION)
        self._read: tuple[tuple[Path, int, int], Header] | None = None

    def sources(self) -> tuple[Source, ...]:
        return (self._model.source,)

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        model, path = self._model, gguf_of(paths[0])
        header = read_header(path)
        embeds = Kind.EMBEDDING in self._kinds
        config = LlamaCppConfig(
            path=str(path),
            model_id=model.id,
            api_key=api_key,
            n_ctx=Sizing(header=header, model=model).context_tokens,
            slots=model.slots,
            threads=model.threads or default_threads(),
            gpu_layers=model.gpu_layers,
            embeddings=embeds,
            mean_pooling=embeds and not header.has_pooling,
            chat_template=templates.text_of(model),
        )
        return Launch(
            argv=worker_argv("llama_cpp"),
            config=msgspec.json.encode(config),
            env=external.gpus_of(model),
            continues="prefill",
        )

    def warm_up(self) -> WarmUp:
        kind = next((kind for kind in WARM_UPS if kind in self._kinds), Kind.CHAT)
        path, body = WARM_UPS[kind]
        return WarmUp(path=path, body=body)

    def nap(self) -> Nap | None:
        return Nap(sleep=(Order(word="sleep"),), wake=(Order(word="wake"),))

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        """Of the file as it is on disk; `Sizing` says how."""
        return Sizing(header=self._header(paths[0]), model=self._model).footprint()

    def _header(self, path: Path | None) -> Header:
        """`launch` says what is wrong with a file; an estimate is always to be had."""
        with contextlib.suppress(OSError, UpstreamError):
            if path is not None:
                stat = path.stat()
                key = (path, stat.st_mtime_ns, stat.st_size)
                if self._read is None or self._read[0] != key:
                    self._read = (key, read_header(gguf_of(path)))
                return self._read[1]
        return UNKNOWN

    def __repr__(self) -> str:
        return f"LlamaCpp({self._model.id})"


class Sizing(Value, frozen=True):
    """How much memory llama.cpp takes for a model, in the parts it allocates. Measured on three models at several
    contexts and slots (`bench/fleet`): within a few per cent.

    On the host: the file, mapped (shared page cache); the cache of keys and values, 16 bit, touched as it is made; the
    copies of `REPACKED` matrices; scratch of one batch; the vocabulary. The last `gpu_layers` layers, the output being
    one more, take their weights and their cache to the GPUs.
    """

    header: Header
    model: LlamaCppModel

    def footprint(self) -> Footprint:
        header, scratch_bytes = self.header, self._scratch_bytes()
        host = [one for one in header.tensors if not self._is_offloaded(one)]
        fixed_bytes = BASE_BYTES + VOCABULARY_BYTES * header.vocabulary + 4 * header.vocabulary * self.model.slots
        return Footprint(
            weights_bytes=sum(one.size_bytes for one in host) if header.tensors else header.size_bytes,
            kv_bytes=sum(self._kv_by_layer[: self._first_offloaded]),
            overhead_bytes=fixed_bytes + scratch_bytes + sum(one.size_bytes for one in host if self._is_repacked(one)),
            gpu_bytes=self._gpu_bytes(scratch_bytes),
            asleep_bytes=ASLEEP_BYTES,
        )

    @property
    def context_tokens(self) -> int:
        """Of one slot: what is asked for, but no more than the model was trained for, which llama.cpp would not use."""
        return min(self.model.n_ctx, self.header.context_tokens or self.model.n_ctx)

    @property
    def cache_tokens(self) -> int:
        return _in_steps(self.context_tokens)

    @property
    def _kv_by_layer(self) -> list[int]:
        """Of all slots. A layer with a window keeps that and one batch."""
        tokens = [
            min(self.cache_tokens, _in_steps(window + UBATCH_TOKENS)) if window else self.cache_tokens
            for window in self.header.windows or (0,) * len(self.header.kv_by_layer)
        ]
        return [self.model.slots * size * count for size, count in zip(self.header.kv_by_layer, tokens, strict=False)]

    def _scratch_bytes(self) -> int:
        """Activations of one batch, 32 bit, three times the feed-forward's width at the worst moment and five times the
        model's, and a 16-bit mask over the context."""
        widths = 3 * self.header.ffn_width + 5 * self.header.hidden_width
        return UBATCH_TOKENS * (4 * widths + 2 * self.cache_tokens)

    def _gpu_bytes(self, scratch_bytes: int) -> tuple[tuple[int, int], ...]:
        header, gpus = self.header, gpus_of(self.model)
        if not gpus:
            return ()
        weights_bytes = sum(one.size_bytes for one in header.tensors if self._is_offloaded(one))
        kv_bytes = sum(self._kv_by_layer[self._first_offloaded :])
        each_bytes = (weights_bytes + kv_bytes) // len(gpus) + scratch_bytes + CUDA_BYTES
        return tuple((index, each_bytes) for index in gpus)

    @property
    def _first_offloaded(self) -> int:
        layers = len(self.header.kv_by_layer)
        return min(layers, max(0, layers + 1 - self.model.gpu_layers))

    def _is_offloaded(self, tensor: Tensor) -> bool:
        """The input's embedding stays on the host, always."""
        if tensor.layer is None:
            return self.model.gpu_layers > 0 and tensor.name.startswith("output")
        return tensor.layer >= self._first_offloaded

    def _is_repacked(self, tensor: Tensor) -> bool:
        kinds = REPACKED.get(platform.machine(), frozenset())
        return tensor.kind in kinds and tensor.rows % 8 == 0 and not tensor.name.startswith("token_embd")


def _in_steps(tokens: int) -> int:
    return -(-tokens // CACHE_STEP_TOKENS) * CACHE_STEP_TOKENS


def gpus_of(model: LlamaCppModel) -> tuple[int, ...]:
    """The GPUs it is spread over."""
    return (model.gpus or (0,)) if model.gpu_layers else ()
