"""Cards: defaults by backend, overridden by the settings."""

from typing import get_args

import pytest
from pydantic import BaseModel

from pointsman.policy.catalogue import DEFAULTS, cards_of, default_model_of, primary_language
from pointsman.settings import Model, Settings, parse
from pointsman.types import Kind, Modality

TEXT, IMAGE, AUDIO, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO, Modality.VIDEO
EVERY_BACKEND = """
models:
  - {id: chat, backend: llama_cpp, source: {file: a.gguf}, n_ctx: 2048, tools: true, quality: {general: 0.4, code: 0.2}}
  - {id: ear, backend: stt, source: {file: b}, languages: [en-US]}
  - {id: voice, backend: tts}
  - {id: reader, backend: ocr}
  - {id: remote, backend: openai, url: "http://127.0.0.1:9/v1"}
"""


def settings(text: str = EVERY_BACKEND) -> Settings:
    return parse(text)


@pytest.mark.parametrize(
    ("model_id", "kinds", "inputs", "outputs", "requires"),
    [
        ("chat", (Kind.CHAT, Kind.COMPLETION), (TEXT,), (TEXT,), ()),
        ("ear", (Kind.TRANSCRIPTION, Kind.CHAT), (AUDIO, TEXT), (TEXT,), (AUDIO,)),
        ("voice", (Kind.SPEECH,), (TEXT,), (AUDIO,), ()),
        ("reader", (Kind.CHAT,), (TEXT, IMAGE, VIDEO), (TEXT,), (IMAGE, VIDEO)),
        ("remote", (Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING), (TEXT,), (TEXT,), ()),
    ],
)
def test_defaults_by_backend(
    model_id: str,
    kinds: tuple[Kind, ...],
    inputs: tuple[Modality, ...],
    outputs: tuple[Modality, ...],
    requires: tuple[Modality, ...],
) -> None:
    card = {card.id: card for card in cards_of(settings())}[model_id]
    assert (card.kinds, card.inputs, card.outputs, card.requires) == (kinds, inputs, outputs, requires)


def test_what_the_settings_say_wins() -> None:
    chat, ear, *_ = cards_of(settings())
    assert (chat.context_tokens, chat.tools, chat.quality) == (2048, True, (("code", 0.2), ("general", 0.4)))
    assert ear.languages == ("en",)
    (remote,) = cards_of(
        settings(
            "models: [{id: r, name: R, backend: openai, url: 'http://h', kinds: [chat], inputs: [text, image],"
            " context_tokens: 99, cost_per_mtok: 2, tokens_per_s: 7}]"
        )
    )
    assert (remote.name, remote.kinds, remote.inputs) == ("R", (Kind.CHAT,), (TEXT, IMAGE))
    assert (remote.context_tokens, remote.cost_per_mtok, remote.tokens_per_s) == (99, 2, 7)


def test_a_remote_ear_hears_and_a_remote_voice_speaks() -> None:
    ear, voice = cards_of(
        settings(
            "models: [{id: e, backend: openai, url: 'http://h', kinds: [transcription]},"
            " {id: v, backend: openai, url: 'http://h', kinds: [speech]}]"
        )
    )
    assert (ear.inputs, ear.outputs) == ((TEXT, AUDIO), (TEXT,))
    assert (voice.inputs, voice.outputs) == ((TEXT,), (TEXT, AUDIO))


def test_a_stated_context_outweighs_the_engine_s() -> None:
    (card,) = cards_of(
        settings("models: [{id: a, backend: llama_cpp, source: {file: a}, n_ctx: 4096, context_tokens: 1000}]")
    )
    assert card.context_tokens == 1000


def test_every_backend_of_the_settings_has_defaults() -> None:
    union = get_args(Model)[0]
    backends: set[str] = set()
    for model in get_args(union):
        assert issubclass(model, BaseModel)
        backends.update(get_args(model.model_fields["backend"].annotation))
    assert backends == set(DEFAULTS)


def test_the_default_model_is_the_first_that_chats_about_plain_text() -> None:
    later = """
models:
  - {id: reader, backend: ocr}
  - {id: voice, backend: tts}
  - {id: chat, backend: llama_cpp, source: {file: a}}
"""
    assert default_model_of(settings(later)) == "chat"
    assert default_model_of(settings("models: [{id: voice, backend: tts}]")) == "voice"
    assert default_model_of(settings(later + "routing: {default_model: reader}\n")) == "reader"


@pytest.mark.parametrize(("tag", "primary"), [("hi", "hi"), ("hi-IN", "hi"), ("EN_us", "en"), ("", "")])
def test_languages_meet_on_their_primary_subtag(tag: str, primary: str) -> None:
    assert primary_language(tag) == primary
