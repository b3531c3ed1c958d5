"""Which backend stands for which model: the one table.

Knows: every engine by name. Does not know: what any of them does. To add one: a file with an `Engine` and a line here.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pointsman.backends import openai_http, transformers, vllm
from pointsman.backends.base import Backend, Toolbox
from pointsman.backends.command import Command
from pointsman.backends.custom import custom
from pointsman.backends.e5 import E5
from pointsman.backends.external import patient
from pointsman.backends.llama_cpp import LlamaCpp
from pointsman.backends.llama_server import LlamaServer
from pointsman.backends.managed import Engine, ManagedBackend
from pointsman.backends.max_serve import MaxServe
from pointsman.backends.ocr import Ocr
from pointsman.backends.stt import Stt
from pointsman.backends.tts import Tts
from pointsman.settings import ExternalBase, LlamaCppModel, ManagedBase, Model

Deployments = tuple[tuple[str, Backend], ...]
Factory = Callable[[Any, Toolbox], Deployments]
M = TypeVar("M", bound=ManagedBase)
E = TypeVar("E", bound=ExternalBase)


def managed(engine: Callable[[M], Engine]) -> Factory:
    """One child process for one model; the deployment is called like the model."""

    def build_one(model: M, toolbox: Toolbox) -> Deployments:
        return ((model.id, ManagedBackend(model.id, engine(model), toolbox)),)

    return build_one


def external(engine: Callable[[E], Engine]) -> Factory:
    """The same for a program that is not ours, which may take its own time to start."""

    def build_one(model: E, toolbox: Toolbox) -> Deployments:
        return managed(engine)(model, patient(model, toolbox))

    return build_one


def llama_cpp(model: LlamaCppModel, toolbox: Toolbox) -> Deployments:
    """One child for a model in one of its quantisations, each an engine of its own."""
    first, *smaller = (LlamaServer(one, one.binary) if one.binary else LlamaCpp(one) for one in model.in_each_size())
    return ((model.id, ManagedBackend(model.id, first, toolbox, smaller=tuple(smaller))),)


BACKENDS: Mapping[str, Factory] = {
    "command": external(Command),
    "custom": managed(custom),
    "e5": managed(E5),
    "llama_cpp": llama_cpp,
    "max_serve": external(MaxServe),
    "ocr": managed(Ocr),
    "openai": openai_http.attach,
    "stt": managed(Stt),
    "tts": managed(Tts),
    "transformers": transformers.deployments,
    "vllm": vllm.deployments,
}


def build(model: Model, toolbox: Toolbox) -> Deployments:
    """Deployment id → backend, for one model. One deployment is called like its model; several are `id#0`, `id#1` …"""
    return BACKENDS[model.backend](model, toolbox)
