"""A stand-in for the program `llama-server`, where there is none: its flags, and llama.cpp's real server behind them.

It knows those flags that Pointsman uses; any other is an error, as there. The key comes from LLAMA_API_KEY. Like every
foreign program it knows no lifeline: it listens when its model is loaded, and ends at SIGTERM.
"""

import argparse
import os
import threading
from typing import Any

import xllamacpp

VALUES = (
    *("--host", "--port", "--model", "--alias", "--ctx-size", "--parallel", "--threads", "--threads-batch"),
    *("--n-gpu-layers", "--cache-ram", "--pooling"),
)
SWITCHES = ("--no-kv-unified", "--no-warmup", "--jinja", "--no-webui", "--embeddings")


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in VALUES:
        parser.add_argument(flag)
    for flag in SWITCHES:
        parser.add_argument(flag, action="store_true")
    _server = xllamacpp.Server(params(parser.parse_args()))
    threading.Event().wait()


def params(said: argparse.Namespace) -> Any:
    """As llama.cpp's own parser sets them."""
    common = xllamacpp.CommonParams()
    common.model.path = said.model
    common.model_alias = {said.alias}
    common.api_keys = [os.environ["LLAMA_API_KEY"]] if "LLAMA_API_KEY" in os.environ else []
    common.hostnames = [said.host]
    common.port = int(said.port)
    common.n_ctx = int(said.ctx_size)
    common.n_parallel = int(said.parallel)
    common.cpuparams.n_threads = int(said.threads)
    common.cpuparams_batch.n_threads = int(said.threads_batch or said.threads)
    common.n_gpu_layers = int(said.n_gpu_layers or 0)
    common.cache_ram_mib = int(said.cache_ram or 8192)
    common.kv_unified = not said.no_kv_unified
    common.warmup = not said.no_warmup
    common.use_jinja = said.jinja
    common.ui = not said.no_webui
    common.embedding = said.embeddings
    common.fit_params = False
    common.verbosity = 2
    return common


if __name__ == "__main__":
    main()
