"""MAX Serve as an engine.

Knows: the command line and the habits of MAX 26.7: it has no key, so it listens to this machine only; its health page
says 200 as soon as it listens; it compiles a model at its first start, for minutes, and keeps that in its own cache; it
refuses members of a request that it does not know. Does not know: processes, HTTP.
"""

from pathlib import Path

import msgspec

from pointsman.backends import external
from pointsman.backends.managed import Launch, WarmUp
from pointsman.settings import MaxServeModel, Source
from pointsman.types import Footprint, Kind

KINDS = (Kind.CHAT, Kind.COMPLETION)
WIDTHS = {"F32": 4, "BF16": 2, "F16": 2}
# Measured on a CPU with SmolLM2: API server, worker and their libraries beside weights and cache.
RUNTIME_BYTES = 1_010_000_000


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
        devices = model.devices or ("gpu:" + ",".join(map(str, range(len(model.gpus)))) if model.gpus else "")
        flags += ["--devices", devices] if devices else []
        return tuple(flags)

    def warm_up(self) -> WarmUp:
        return external.warm_up(self._model.kinds or KINDS, self._model.id)

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        """On a CPU; what it takes of a GPU is nearly all of it, and the operator's word (`gpu_memory_gb`)."""
        return Footprint(
            weights_bytes=external.weights_bytes(paths),
            kv_bytes=self._kv_bytes(paths[0] if paths else None),
            overhead_bytes=RUNTIME_BYTES,
        )

    def _kv_bytes(self, folder: Path | None) -> int:
        """Room for the longest request in each slot, in the weights' own number format."""
        facts = external.facts_of(folder)
        if facts is None:
            return 0
        tokens = (self._model.context_tokens or facts.context_tokens) * self._model.slots
        return tokens * facts.kv_values_per_token * WIDTHS.get(facts.dtype, 2)

    def __repr__(self) -> str:
        return f"MaxServe({self._model.id})"
