"""faster-whisper as an engine: which weights, which child, which warm-up, how much memory.

Knows: sizes on disk, what a transcription costs. Does not know: processes, HTTP (`managed`), Whisper
(`worker.hearing`).
"""

from pathlib import Path

from pointsman.backends import inhouse
from pointsman.backends.managed import Launch, WarmUp
from pointsman.backends.worker.config import SttConfig
from pointsman.settings import Source, SttModel
from pointsman.types import Footprint, FormFile

# Measured, resident, after recordings of 5 s and 30 s: tiny.en (a file of 78 MB) 191 and 205 MB, base (148 MB) 231 and
# 240 MB. Longer ones are cut in pieces of 30 s.
BASE_BYTES = 75_000_000
BYTES_PER_SLOT = 30_000_000


class Stt:
    """`managed.Engine` for one Whisper model."""

    def __init__(self, model: SttModel) -> None:
        self._model = model

    def sources(self) -> tuple[Source, ...]:
        return (self._model.source,)

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        model = self._model
        config = SttConfig(
            model_id=model.id,
            api_key=api_key,
            slots=model.slots,
            threads=inhouse.threads_of(model),
            path=str(paths[0]),
            label=model.name or model.id,
            beam_size=model.beam_size,
            initial_prompts=tuple(model.initial_prompts.items()),
            languages=model.languages,
        )
        return inhouse.launch("stt", config)

    def warm_up(self) -> WarmUp:
        """Four spoken words: silence would never reach Whisper."""
        spoken = FormFile(field="file", filename="ready.ogg", mime="audio/ogg", data=inhouse.sample("ready.ogg"))
        return WarmUp(path="/audio/transcriptions", file=spoken)

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        """Weights stay as they are on disk (int8); the rest is libraries and what a transcription needs."""
        working = BASE_BYTES + BYTES_PER_SLOT * self._model.slots
        return Footprint(weights_bytes=inhouse.size_bytes(paths[0]), overhead_bytes=working)

    def __repr__(self) -> str:
        return f"Stt({self._model.id})"
