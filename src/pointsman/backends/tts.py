"""piper and espeak-ng as an engine: which voices, which child, which warm-up, how much memory.

Knows: sizes on disk, what a sentence costs. Does not know: processes, HTTP (`managed`), voices (`worker.speaking`).
"""

from pathlib import Path

from pointsman.backends import inhouse
from pointsman.backends.managed import Launch, WarmUp
from pointsman.backends.worker.config import TtsConfig
from pointsman.settings import Source, TtsModel
from pointsman.types import Footprint

# Measured, resident: 75 MB without a piper voice; with one (a file of 63 MB) 173 to 185 MB after long texts.
BASE_BYTES = 75_000_000
BYTES_PER_SLOT = 55_000_000


class Tts:
    """`managed.Engine` for one model: piper voices by language, espeak-ng for the rest."""

    def __init__(self, model: TtsModel) -> None:
        self._model = model

    def sources(self) -> tuple[Source, ...]:
        return tuple(self._model.voices.values())

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        model = self._model
        config = TtsConfig(
            model_id=model.id,
            api_key=api_key,
            slots=model.slots,
            threads=inhouse.threads_of(model),
            voices=tuple((language, str(path)) for language, path in zip(model.voices, paths, strict=True)),
            default_language=model.default_language,
        )
        return inhouse.launch("tts", config)

    def warm_up(self) -> WarmUp:
        return WarmUp(path="/audio/speech", body=b'{"input":"1, 2, 3.","response_format":"wav"}')

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        working = BASE_BYTES + (BYTES_PER_SLOT * self._model.slots if paths else 0)
        return Footprint(weights_bytes=sum(map(inhouse.size_bytes, paths)), overhead_bytes=working)

    def __repr__(self) -> str:
        return f"Tts({self._model.id})"
