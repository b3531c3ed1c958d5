"""multilingual-e5-small as an engine: which child, which warm-up, how much memory.

Knows: sizes. Does not know: processes, HTTP (`managed`), vectors (`worker.e5`). Its weights come with its package.
"""

from pathlib import Path

from pointsman.backends import inhouse
from pointsman.backends.managed import Launch, WarmUp
from pointsman.backends.worker.config import E5Config
from pointsman.settings import E5Model, Source
from pointsman.types import Footprint

# Measured, resident: 69 MB after English texts, 101 MB after texts in many scripts: its weights (72 MB) are mapped, and
# of the vocabulary only what was asked for comes into memory.
BASE_BYTES = 60_000_000
BYTES_PER_SLOT = 10_000_000


class E5:
    """`managed.Engine` for the embedding model."""

    def __init__(self, model: E5Model) -> None:
        self._model = model

    def sources(self) -> tuple[Source, ...]:
        return ()

    def launch(self, _paths: tuple[Path, ...], api_key: str) -> Launch:
        model = self._model
        config = E5Config(model_id=model.id, api_key=api_key, slots=model.slots, threads=inhouse.threads_of(model))
        return inhouse.launch("e5", config)

    def warm_up(self) -> WarmUp:
        return WarmUp(path="/embeddings", body=b'{"input":"Hi"}')

    def footprint(self, _paths: tuple[Path | None, ...]) -> Footprint:
        return Footprint(weights_bytes=0, overhead_bytes=BASE_BYTES + BYTES_PER_SLOT * self._model.slots)

    def __repr__(self) -> str:
        return f"E5({self._model.id})"
