"""Engines that are not ours: a program in its own environment, kept by `worker.keeper`; what is alike for all of them.

Knows: how a program is handed to its keeper, what surrounds it, the warm-up that any OpenAI-compatible server answers.
Does not know: any one of them.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pointsman.backends import inhouse, openai_http
from pointsman.backends.base import Toolbox
from pointsman.backends.managed import Launch, WarmUp, worker_argv
from pointsman.backends.safetensors import Facts, read_facts
from pointsman.backends.worker.keeper import Charge
from pointsman.errors import UpstreamError
from pointsman.settings import ExternalBase, ManagedBase
from pointsman.types import FormFile, Kind

KEEPER_GRACE_S = 1.0
"""The keeper ends the program by force before we end the keeper."""
GB = 1e9
ASKED: Mapping[Kind, Mapping[str, object]] = {
    Kind.CHAT: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
    Kind.COMPLETION: {"prompt": "Hi", "max_tokens": 1},
    Kind.EMBEDDING: {"input": "Hi"},
    Kind.SPEECH: {"input": "1, 2, 3.", "voice": "default", "response_format": "wav"},
}

Env = tuple[tuple[str, str], ...]


def kept(argv: Sequence[str], env: Env, *, grace_s: float, stop_signal: int = signal.SIGTERM) -> Launch:
    """The launch of a program by a keeper. `{port}` in `argv` and `env` becomes its port, on which it must listen at
    127.0.0.1; the key, where it gets one, is in `env`."""
    charge = Charge(argv=tuple(argv), env=env, stop_signal=stop_signal, grace_s=grace_s)
    return Launch(
        argv=worker_argv("keeper"),
        config=msgspec.json.encode(charge),
        listens_later=True,
        stop_grace_s=grace_s + KEEPER_GRACE_S,
    )


def surroundings(model: ExternalBase, own: Env = ()) -> Env:
    """Its environment beside ours: the GPUs it may use, the engine's own variables, what is passed on, the operator's
    word last."""
    passed = tuple((name, os.environ[name]) for name in model.pass_env if name in os.environ)
    return (*gpus_of(model), *own, *passed, *model.env.items())


def gpus_of(model: ManagedBase) -> Env:
    """What shows a process only the GPUs it may use, counted as `nvidia-smi` counts them."""
    if not model.gpus:
        return ()
    return (("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUDA_VISIBLE_DEVICES", ",".join(map(str, model.gpus))))


def warm_up(kinds: Sequence[Kind], upstream_model: str) -> WarmUp:
    """The smallest request of the first kind it serves."""
    kind = next((kind for kind in (*ASKED, Kind.TRANSCRIPTION) if kind in kinds), Kind.CHAT)
    if kind is Kind.TRANSCRIPTION:
        spoken = FormFile(field="file", filename="ready.ogg", mime="audio/ogg", data=inhouse.sample("ready.ogg"))
        return WarmUp(path=openai_http.PATHS[kind], fields=(("model", upstream_model),), file=spoken)
    return WarmUp(path=openai_http.PATHS[kind], body=msgspec.json.encode({"model": upstream_model, **ASKED[kind]}))


def facts_of(folder: Path | None) -> Facts | None:
    """None where there is no readable folder of safetensors: the engine says what is wrong, an estimate is always to be
    had."""
    try:
        return read_facts(folder) if folder else None
    except UpstreamError:
        return None


def weights_bytes(paths: tuple[Path | None, ...]) -> int:
    return sum(map(inhouse.size_bytes, paths))


def patient(model: ExternalBase, toolbox: Toolbox) -> Toolbox:
    """With the model's own limit for its start, where it has one."""
    return toolbox if model.load_timeout_s is None else replace(toolbox, load_timeout_s=model.load_timeout_s)
