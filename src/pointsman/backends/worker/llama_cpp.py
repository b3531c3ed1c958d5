"""The child that runs llama.cpp's own HTTP server, from `xllamacpp`.

Knows: which of llama.cpp's parameters mean what we promise. Does not know: the gateway beyond its lifeline.
The server's constructor loads the model and holds the interpreter lock meanwhile; the kernel's tie to the parent
(`lifeline`) works all the same.
"""

import threading
from urllib.parse import urlsplit

import msgspec

from pointsman.backends.worker import lifeline

WARNINGS = 2  # llama.cpp's verbosity: errors and warnings, so that the log stays small and holds no prompt
PING_S = 15  # a comment line in a stream that is still reading its prompt, so that silence means trouble


class LlamaCppConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent sends. `n_ctx` is tokens for each slot; `mean_pooling` is for embeddings of a chat model."""

    path: str
    model_id: str
    api_key: str
    n_ctx: int
    slots: int
    threads: int
    gpu_layers: int = 0
    embeddings: bool = False
    mean_pooling: bool = False


def main() -> None:
    config = msgspec.json.decode(lifeline.receive_config(), type=LlamaCppConfig)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = config.path
    params.model_alias = {config.model_id}
    params.api_keys = [config.api_key]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = config.slots
    params.n_ctx = config.n_ctx * config.slots  # llama.cpp splits the whole over its slots
    params.kv_unified = False
    params.fit_params = False  # what does not fit must fail, not shrink behind the fleet's back
    params.cache_ram_mib = 0  # by default it may take 8 GiB that no budget knows of
    params.cache_idle_slots = False  # needs that cache
    params.cpuparams.n_threads = config.threads
    params.cpuparams_batch.n_threads = config.threads
    params.n_gpu_layers = config.gpu_layers
    params.warmup = False  # the gateway's own warm-up request is the better one
    params.use_jinja = True
    params.ui = False
    params.cors_origins = ""
    params.verbosity = WARNINGS
    params.sse_ping_interval = PING_S
    params.embedding = config.embeddings
    if config.mean_pooling:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    lifeline.announce(urlsplit(server.listening_address).port or 0)
    threading.Event().wait()  # the lifeline ends this process


if __name__ == "__main__":
    main()
