"""`python -m pointsman.backends.worker ENGINE`: tie to the parent, load one engine, listen, say where, serve.

Exit code 2: called wrongly; 1: the engine cannot be loaded, and the last line of the log says why.
"""

import gc
import importlib
import logging
import sys
from collections.abc import Callable

from pointsman.backends.worker import lifeline

ENGINES = {
    "stt": "pointsman.backends.worker.stt",
    "tts": "pointsman.backends.worker.tts",
    "ocr": "pointsman.backends.worker.ocr",
    "e5": "pointsman.backends.worker.e5",
    "transformers": "pointsman.backends.worker.transformers",
}
"""Name → module with `load(config: bytes) -> Engine`. A child imports the libraries of its own engine only."""


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in ENGINES:
        sys.stderr.write(f"usage: python -m pointsman.backends.worker {'|'.join(ENGINES)}\n")
        return 2
    config = lifeline.receive_config()  # before the slow imports: an orphan must not linger
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    from pointsman.backends.worker.server import Engine, Worker, serve

    gc.disable()  # the libraries' millions of objects stay: to look for garbage among them takes a quarter of the start
    try:
        load: Callable[[bytes], Engine] = importlib.import_module(ENGINES[arguments[0]]).load
        worker = Worker(load(config))
    except ImportError as error:
        extra = "transformers" if arguments[0] == "transformers" else "local"
        sys.stderr.write(f"{error}; the embedded engines are an extra: pip install 'pointsman[{extra}]'\n")
        return 1
    gc.freeze()
    gc.enable()
    serve(worker)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
