"""MAX Serve as an engine.

Knows: the command line and the habits of MAX 26.7: it has no key, so it listens to this machine only; its health page
says 200 as soon as it listens; it compiles a model at its first start, for minutes, and keeps that in its own cache.
Does not know: processes, HTTP.
"""

from pathlib import Path

import msgspec

from pointsman.backends import external
from pointsman.backends.managed import Launch, WarmUp
from pointsman.settings import MaxServeModel, Source
from pointsman.types import Footprint, Kind

KINDS = (Kind.CHAT, Kind.COMPLETION)
RUNTIME_BYTES = 1_500_000_000


class MaxServe:
    """`managed.Engine` for one model."""

    def __init__(self, model: MaxServeModel) -> None:
        self._model = model

    def sources(self) -> tuple[Source, ...]:
        return (self._model.source,) if self._model.source else ()

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:  # noqa: ARG002  # it knows no keys
        model = self._model
        own: external.Env = (("MAX_SERVE_HOST", "127.0.0.1"), ("MAX_SERVE_DISABLE_TELEMETRY", "1"))
        own += (("MAX_SERVE_METRICS_ENDPOINT_PORT", "0"),)
        own += (("HF_HUB_OFFLINE", "1"),) if paths else ()
        argv = (model.binary, "serve", *self._flags(str(paths[0]) if paths else model.model or ""), *model.args)
        launch = external.kept(argv, external.surroundings(model, own), grace_s=model.stop_grace_s)
        return msgspec.structs.replace(launch, is_open=True)

    def _flags(self, weights: str) -> tuple[str, ...]:
        model = self._model
        flags = ["--port", "{port}", "--model-path", weights, "--served-model-name", model.id]
        flags += ["--max-batch-size", str(model.slots)]
        flags += ["--max-length", str(model.context_tokens)] if model.context_tokens else []
        flags += ["--devices", model.devices] if model.devices else []
        return tuple(flags)

    def warm_up(self) -> WarmUp:
        return external.warm_up(self._model.kinds or KINDS, self._model.id)

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        return Footprint(weights_bytes=external.weights_bytes(paths), overhead_bytes=RUNTIME_BYTES)

    def __repr__(self) -> str:
        return f"MaxServe({self._model.id})"
