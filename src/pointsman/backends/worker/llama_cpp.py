"""The child that runs llama.cpp's own HTTP server, from `xllamacpp`.

Knows: which of llama.cpp's parameters mean what we promise. Does not know: the gateway beyond its lifeline.
The server's constructor loads the model and holds the interpreter lock meanwhile; the kernel's tie to the parent
(`lifeline`) works all the same.

Told to `sleep`, it deletes the server, which frees the model, its cache and the mapping of its file; told to `wake`, it
makes it anew at the same port. llama.cpp's own sleep does the same by a timer that nobody can ask or stop, and wakes
for any request. Meanwhile a socket that never listens keeps the port ours.
"""

import ctypes
import queue
import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pointsman.backends.worker import lifeline

HOST = "127.0.0.1"
WARNINGS = 2  # llama.cpp's verbosity: errors and warnings, so that the log stays small and holds no prompt
PING_S = 15  # a comment line in a stream that is still reading its prompt, so that silence means trouble


class LlamaCppConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent sends. `n_ctx` is tokens for each slot; `mean_pooling` is for embeddings of a chat model;
    `chat_template`: instead of the one in the file, where there is any."""

    path: str
    model_id: str
    api_key: str
    n_ctx: int
    slots: int
    threads: int
    gpu_layers: int = 0
    embeddings: bool = False
    mean_pooling: bool = False
    chat_template: str = ""


def main() -> None:
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    config = msgspec.json.decode(lifeline.receive_config(orders.put), type=LlamaCppConfig)
    import xllamacpp

    server: Any = xllamacpp.Server(_params(config))
    port = urlsplit(server.listening_address).port or 0
    with _held(port):
        lifeline.announce(port)
        while True:  # the lifeline ends this process
            error, order = "", orders.get()
            try:
                server = None  # before the next one: two at once would need twice the memory
                if order == "sleep":
                    ctypes.CDLL(None).malloc_trim(0)
                else:
                    server = xllamacpp.Server(_params(config, port))
            except RuntimeError as problem:
                error = str(problem)
            lifeline.done(error)


def _held(port: int) -> socket.socket:
    """The port stays ours while nobody listens: the server and this socket both allow to share it."""
    placeholder = socket.socket()
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    placeholder.bind((HOST, port))
    return placeholder


def _params(config: LlamaCppConfig, port: int = 0) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = config.path
    params.model_alias = {config.model_id}
    params.api_keys = [config.api_key]
    params.hostnames = [HOST]
    params.port = port
    params.reuse_port = True
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
    params.chat_template = config.chat_template
    params.ui = False
    params.cors_origins = ""
    params.verbosity = WARNINGS
    params.sse_ping_interval = PING_S
    params.embedding = config.embeddings
    if config.mean_pooling:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return params


if __name__ == "__main__":
    main()
