"""RapidOCR and frame sampling as an engine: which weights, which child, which warm-up, how much memory.

Knows: sizes, what a picture costs. Does not know: processes, HTTP (`managed`), recognisers (`worker.reading`), whose
weights come with their package.
"""

import base64
from pathlib import Path

import msgspec

from pointsman.backends import inhouse
from pointsman.backends.managed import Launch, WarmUp
from pointsman.backends.worker.config import OcrConfig
from pointsman.settings import OcrModel, Source
from pointsman.types import Footprint

# Measured, resident: 222 MB after pictures of one megapixel, 233 to 264 MB after films with sound (Whisper tiny.en, a
# file of 78 MB, beside it); a page of eight megapixels needs 300 MB more while it is read.
BASE_BYTES = 100_000_000
BYTES_PER_SLOT = 40_000_000
SPEECH_BYTES = 30_000_000


class Ocr:
    """`managed.Engine` for one reader of pictures and films."""

    def __init__(self, model: OcrModel) -> None:
        self._model = model

    def sources(self) -> tuple[Source, ...]:
        return (self._model.speech,) if self._model.speech else ()

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        model = self._model
        config = OcrConfig(
            model_id=model.id,
            api_key=api_key,
            slots=model.slots,
            threads=inhouse.threads_of(model),
            max_frames=model.max_frames,
            speech=str(paths[0]) if paths else "",
        )
        return inhouse.launch("ocr", config)

    def warm_up(self) -> WarmUp:
        """A drawn word: a blank picture would never reach the recogniser."""
        uri = "data:image/png;base64," + base64.b64encode(inhouse.sample("ready.png")).decode()
        part = {"type": "image_url", "image_url": {"url": uri}}
        body = msgspec.json.encode({"messages": [{"role": "user", "content": [part]}]})
        return WarmUp(path="/chat/completions", body=body)

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        working = BASE_BYTES + BYTES_PER_SLOT * self._model.slots + (SPEECH_BYTES if paths else 0)
        return Footprint(weights_bytes=sum(map(inhouse.size_bytes, paths)), overhead_bytes=working)

    def __repr__(self) -> str:
        return f"Ocr({self._model.id})"
