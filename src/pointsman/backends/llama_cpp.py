"""llama.cpp as an engine: which weights, which child, which warm-up, how much memory.

Knows: GGUF sizes, llama.cpp's memory. Does not know: processes, HTTP (`managed`), the child's parameters
(`worker.llama_cpp`).
"""

from pathlib import Path

import msgspec

from pointsman.backends.gguf import Header, read_header
from pointsman.backends.managed import Launch, Nap, Order, WarmUp, default_threads, worker_argv
from pointsman.backends.worker.llama_cpp import LlamaCppConfig
from pointsman.errors import UpstreamError
from pointsman.settings import LlamaCppModel, Source
from pointsman.types import Footprint, Kind

# Measured: SmolLM2 (49,152 tokens) 40 MB, Qwen2.5 0.5B (151,936 tokens) 124 MB beside cache and file.
BASE_BYTES = 10_000_000
BYTES_PER_TOKEN_OF_VOCABULARY = 750
# A file that is not here yet is taken for something between a 0.5B and a 3B model; its size is known elsewhere.
UNKNOWN = Header(context_tokens=0, vocabulary=150_000, kv_bytes_per_token=32_768, has_pooling=False, size_bytes=0)
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

    def sources(self) -> tuple[Source, ...]:
        return (self._model.source,)

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        model, header = self._model, read_header(paths[0])
        embeds = Kind.EMBEDDING in self._kinds
        config = LlamaCppConfig(
            path=str(paths[0]),
            model_id=model.id,
            api_key=api_key,
            n_ctx=self._context_tokens(header),
            slots=model.slots,
            threads=model.threads or default_threads(),
            gpu_layers=model.gpu_layers,
            embeddings=embeds,
            mean_pooling=embeds and not header.has_pooling,
        )
        defaults = tuple((name, msgspec.json.encode(value)) for name, value in model.sampling.items())
        return Launch(argv=worker_argv("llama_cpp"), config=msgspec.json.encode(config), defaults=defaults)

    def warm_up(self) -> WarmUp:
        kind = next((kind for kind in WARM_UPS if kind in self._kinds), Kind.CHAT)
        path, body = WARM_UPS[kind]
        return WarmUp(path=path, body=body)

    def nap(self) -> Nap:
        return Nap(sleep=(Order(word="sleep"),), wake=(Order(word="wake"),))

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        """The file (mapped, shared cache), the cache of all slots, and what the vocabulary costs."""
        model = self._model
        try:
            header = read_header(paths[0]) if paths[0] else UNKNOWN
        except UpstreamError:  # `launch` says what is wrong with the file; an estimate is always to be had
            header = UNKNOWN
        return Footprint(
            weights_bytes=header.size_bytes,
            kv_bytes=header.kv_bytes_per_token * self._context_tokens(header) * model.slots,
            overhead_bytes=BASE_BYTES + BYTES_PER_TOKEN_OF_VOCABULARY * header.vocabulary,
        )

    def _context_tokens(self, header: Header) -> int:
        """Of one slot: what is asked for, but no more than the model was trained for, which llama.cpp would not use."""
        return min(self._model.n_ctx, header.context_tokens or self._model.n_ctx)

    def __repr__(self) -> str:
        return f"LlamaCpp({self._model.id})"
