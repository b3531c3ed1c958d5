"""llama.cpp's own `llama-server`, any build of it, in place of the embedded one.

Knows: its flags and its variables. Does not know: processes, HTTP. Sizes, warm-up and configuration are the embedded
one's, so that both behave alike. It cannot be told to sleep: its own sleep is a timer that nobody can ask.
"""

from pathlib import Path

import msgspec

from pointsman.backends import external
from pointsman.backends.llama_cpp import LlamaCpp
from pointsman.backends.managed import Launch, Nap
from pointsman.backends.worker.llama_cpp import LlamaCppConfig
from pointsman.settings import LlamaCppModel
from pointsman.types import Footprint

KEY_VARIABLE = "LLAMA_API_KEY"
STOP_GRACE_S = 2.0
AS_EMBEDDED = ("--no-kv-unified", "--cache-ram", "0", "--no-warmup", "--jinja", "--no-webui")
"""As `worker.llama_cpp` has it: a context of its own for each slot, no memory that no budget knows of."""


class LlamaServer(LlamaCpp):
    """`managed.Engine` for one model with a `binary`."""

    def __init__(self, model: LlamaCppModel, binary: str) -> None:
        super().__init__(model)
        self._binary = binary

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        embedded = super().launch(paths, api_key)
        config = msgspec.json.decode(embedded.config, type=LlamaCppConfig)
        env = (*external.gpus_of(self._model), (KEY_VARIABLE, api_key))
        template = ("--chat-template", config.chat_template) if config.chat_template else ()  # after `--jinja`
        launch = external.kept((self._binary, *flags(config), *AS_EMBEDDED, *template), env, grace_s=STOP_GRACE_S)
        return msgspec.structs.replace(launch, continues=embedded.continues)

    def nap(self) -> Nap | None:
        return None

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        return msgspec.structs.replace(super().footprint(paths), asleep_bytes=0)


def flags(config: LlamaCppConfig) -> tuple[str, ...]:
    """What the embedded server is told, in `llama-server`'s words; not the key."""
    pooling = ("--pooling", "mean") if config.mean_pooling else ()
    return (
        *("--host", "127.0.0.1", "--port", "{port}"),
        *("--model", config.path, "--alias", config.model_id),
        *("--ctx-size", str(config.n_ctx * config.slots), "--parallel", str(config.slots)),
        *("--threads", str(config.threads), "--threads-batch", str(config.threads)),
        *("--n-gpu-layers", str(config.gpu_layers)),
        *(("--embeddings", *pooling) if config.embeddings else ()),
    )
