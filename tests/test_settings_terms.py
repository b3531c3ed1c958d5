"""What of a model is changed in place: no engine is told it."""

import json
from pathlib import Path
from typing import Any

import pytest

from pointsman.backends.command import Command
from pointsman.backends.llama_cpp import LlamaCpp
from pointsman.backends.managed import Engine
from pointsman.backends.max_serve import MaxServe
from pointsman.backends.ocr import Ocr
from pointsman.backends.stt import Stt
from pointsman.backends.transformers import Transformers
from pointsman.backends.tts import Tts
from pointsman.backends.vllm import Vllm
from pointsman.fleet.remembered import fingerprint
from pointsman.settings import ModelBase, parse
from pointsman.settings_changes import TERMS, TOLD, changes_between, terms_of
from pointsman.testing.checkpoint import write_checkpoint

SOURCE = {"source": {"file": "/w"}}
OTHER: dict[str, Any] = {
    "name": "Another",
    "inputs": ["text", "image"],
    "outputs": ["text", "audio"],
    "languages": ["hi", "en"],
    "context_tokens": 777,
    "tools": True,
    "quality": {"code": 0.5},
    "cost_per_mtok": 3,
    "tokens_per_s": 9,
    "limits": {"max_concurrent": 2},
    "sampling": {"top_p": 0.5},
    "system_prompt": "Be nice.",
    "preload": True,
    "pin": True,
    "ttl_s": 5,
    "sleep_after_s": 7,
    "memory_gb": 0.5,
    "gpu_memory_gb": 0.25,
}
ENGINES: dict[str, Any] = {
    "command": (Command, {"argv": ["x"]}),
    "llama_cpp": (LlamaCpp, SOURCE),
    "max_serve": (MaxServe, SOURCE),
    "ocr": (Ocr, {}),
    "stt": (Stt, SOURCE),
    "transformers": (Transformers, SOURCE),
    "tts": (Tts, {}),
    "vllm": (Vllm, SOURCE),
}


def tree(backend: str, **more: Any) -> str:
    return json.dumps({"models": [{"id": "m", "backend": backend, **ENGINES[backend][1], **more}]})


def launched(backend: str, model: ModelBase, path: Path) -> object:
    engine: Engine = ENGINES[backend][0](model)
    return engine.launch(tuple(path for _ in engine.sources()), "key")


@pytest.mark.parametrize("backend", sorted(ENGINES))
def test_a_term_is_what_no_engine_is_told(backend: str, smollm2: Path, tmp_path: Path) -> None:
    """And what one is told is no term of its."""
    assert set(OTHER) == TERMS
    path = smollm2 if backend == "llama_cpp" else write_checkpoint(tmp_path / "tiny")
    (plain,) = parse(tree(backend)).models
    before = launched(backend, plain, path)
    for name, value in OTHER.items():
        if name not in type(plain).model_fields:
            continue
        (other,) = parse(tree(backend, **{name: value})).models
        assert other != plain
        is_term = name in terms_of(plain)
        assert (launched(backend, other, path) == before) is is_term, name
        changes = changes_between(parse(tree(backend)), parse(tree(backend, **{name: value})))
        assert (changes.amended, changes.replaced) == ((("m",), ()) if is_term else ((), ("m",))), name
        assert (fingerprint(other) == fingerprint(plain)) is is_term, name


def test_the_exceptions_are_terms() -> None:
    assert all(names <= TERMS for names in TOLD.values())
