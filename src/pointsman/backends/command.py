"""Any OpenAI-compatible server that a command starts, as an engine.

Knows: the placeholders of its arguments. Does not know: the server; its memory is the operator's word (`memory_gb`),
or a rule of thumb.
"""

import signal
from pathlib import Path

import msgspec

from pointsman.backends import external
from pointsman.backends.managed import Launch, WarmUp
from pointsman.settings import CommandModel, Source
from pointsman.types import Footprint, Kind

KEY, PATH = "{api_key}", "{path}"
# As GPUStack reckons: a fifth more than the weights, and what a runtime takes.
RUNTIME_BYTES = 500_000_000
SHARE_OF_WEIGHTS = 0.2


class Command:
    """`managed.Engine` for one model."""

    def __init__(self, model: CommandModel) -> None:
        self._model = model

    def sources(self) -> tuple[Source, ...]:
        return (self._model.source,) if self._model.source else ()

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        model = self._model
        filled = {KEY: api_key, PATH: str(paths[0]) if paths else PATH}
        key = ((model.api_key_variable, api_key),) if model.api_key_variable else ()
        env = (*key, *((name, _fill(value, filled)) for name, value in external.surroundings(model)))
        launch = external.kept(
            [_fill(word, filled) for word in model.argv],
            env,
            grace_s=model.stop_grace_s,
            stop_signal=signal.Signals[model.stop_signal],
        )
        takes_key = key or any(KEY in word for word in (*model.argv, *model.env.values()))
        return msgspec.structs.replace(
            launch, upstream_model=model.model or model.id, health=model.health, is_open=not takes_key
        )

    def warm_up(self) -> WarmUp:
        return external.warm_up(self._model.kinds or (Kind.CHAT,), self._model.model or self._model.id)

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        weights_bytes = external.weights_bytes(paths)
        return Footprint(
            weights_bytes=weights_bytes, overhead_bytes=RUNTIME_BYTES + int(weights_bytes * SHARE_OF_WEIGHTS)
        )

    def __repr__(self) -> str:
        return f"Command({self._model.id}, {self._model.argv[0]})"


def _fill(text: str, filled: dict[str, str]) -> str:
    """Placeholders only: other braces, as of JSON, stay."""
    for placeholder, value in filled.items():
        text = text.replace(placeholder, value)
    return text
