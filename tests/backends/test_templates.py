"""A model's own chat template: a file or the text itself, and how each engine is told."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pointsman.backends import templates
from pointsman.backends.llama_server import LlamaServer
from pointsman.backends.transformers import Transformers
from pointsman.backends.vllm import Vllm
from pointsman.backends.worker.config import TransformersConfig
from pointsman.backends.worker.keeper import Charge
from pointsman.errors import ConfigError, UpstreamError
from pointsman.settings import LlamaCppModel, TransformersModel, VllmModel, parse
from pointsman.settings_models import WeightsBase
from pointsman.testing.checkpoint import write_checkpoint

INLINE = "{% for m in messages %}{{ m.content }} – {% endfor %}"


def model(backend: str, template: str | Path = INLINE, **more: Any) -> WeightsBase:
    tree = {"id": "m", "backend": backend, "source": {"file": "/w"}, "chat_template": str(template)} | more
    (one,) = parse(json.dumps({"models": [{key: value for key, value in tree.items() if value}]})).models
    assert isinstance(one, WeightsBase)
    return one


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.jinja"
    path.write_text(f"{INLINE}!", encoding="utf-8")
    return path


def test_a_template_is_a_file_or_the_text_itself(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert templates.text_of(model("vllm", "")) == ""
    assert (templates.text_of(model("vllm")), templates.path_of(model("vllm"))) == (INLINE, None)
    assert templates.text_of(model("vllm", file)) == f"{INLINE}!"
    monkeypatch.chdir(file.parent)
    assert templates.path_of(model("vllm", file.name)) == file


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UpstreamError, match=r"models\.m\.chat_template: /no/such: cannot be read \(No such file"
    ) as caught:
        templates.text_of(model("llama_cpp", "/no/such"))
    assert caught.value.code == "loading_failed"
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(UpstreamError, match="no UTF-8 at byte 3"):
        templates.text_of(model("llama_cpp", tmp_path / "latin"))


def test_vllm_is_given_the_file_or_the_text(file: Path) -> None:
    def argv(template: str | Path) -> tuple[str, ...]:
        one = model("vllm", template)
        assert isinstance(one, VllmModel)
        return msgspec.json.decode(Vllm(one).launch((Path("/w"),), "k").config, type=Charge).argv

    for template in (INLINE, str(file)):
        said = argv(template)
        assert said[said.index("--chat-template") + 1] == template
    assert "--chat-template" not in argv("")


def test_llama_server_is_given_the_text_after_it_is_told_to_take_any(smollm2: Path, file: Path) -> None:
    one = model("llama_cpp", file)
    assert isinstance(one, LlamaCppModel)
    argv = msgspec.json.decode(LlamaServer(one, "x").launch((smollm2,), "k").config, type=Charge).argv
    assert argv[-2:] == ("--chat-template", f"{INLINE}!")
    assert "--jinja" in argv


def test_transformers_are_given_the_text(tmp_path: Path) -> None:
    one = model("transformers")
    assert isinstance(one, TransformersModel)
    launch = Transformers(one).launch((write_checkpoint(tmp_path / "tiny"),), "k")
    assert msgspec.json.decode(launch.config, type=TransformersConfig).chat_template == INLINE


def test_who_starts_a_server_gives_it_its_template() -> None:
    with pytest.raises(ConfigError, match="somebody else starts it with its template; remove `chat_template`"):
        model("vllm", source=None, url="http://h/v1")
    with pytest.raises(ConfigError, match=r"is a key of backend .*vllm.*, not of this one; remove it"):
        model("openai", source=None, url="http://h/v1")
