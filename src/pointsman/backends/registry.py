"""Which backend stands for which model: the one table.

Knows: every engine by name. Does not know: what any of them does. To add one: a file with an `Engine` and a line here.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pointsman.backends import openai_http
from pointsman.backends.base import Backend, Toolbox
from pointsman.backends.llama_cpp import LlamaCpp
from pointsman.backends.managed import Engine, ManagedBackend
from pointsman.backends.ocr import Ocr
from pointsman.backends.stt import Stt
from pointsman.backends.tts import Tts
from pointsman.settings import ManagedBase, Model

Deployments = tuple[tuple[str, Backend], ...]
Factory = Callable[[Any, Toolbox], Deployments]
M = TypeVar("M", bound=ManagedBase)


def managed(engine: Callable[[M], Engine]) -> Factory:
    """One child process for one model; the deployment is called like the model."""

    def build_one(model: M, toolbox: Toolbox) -> Deployments:
        return ((model.id, ManagedBackend(model.id, engine(model), toolbox)),)

    return build_one


BACKENDS: Mapping[str, Factory] = {
    "llama_cpp": managed(LlamaCpp),
    "ocr": managed(Ocr),
    "openai": openai_http.attach,
    "stt": managed(Stt),
    "tts": managed(Tts),
}


def build(model: Model, toolbox: Toolbox) -> Deployments:
    """Deployment id → backend, for one model. One deployment is called like its model; several are `id#0`, `id#1` …"""
    return BACKENDS[model.backend](model, toolbox)
