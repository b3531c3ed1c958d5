"""What a request's `model` means."""

import pytest

from pointsman.policy.names import OPENAI_AUDIO, read_name
from pointsman.types import Kind

IDS = ("qwen-coder", "whisper-large")
ALIASES = {"small": "qwen-coder"}


@pytest.mark.parametrize(
    ("name", "kind", "model_id", "said"),
    [
        ("auto", Kind.CHAT, "", ""),
        ("qwen-coder", Kind.CHAT, "qwen-coder", "names `qwen-coder`"),
        ("small", Kind.CHAT, "qwen-coder", "`small`, an alias of `qwen-coder`"),
        ("whisper-1", Kind.TRANSCRIPTION, "", "`whisper-1` is OpenAI's name"),
        ("tts-1-hd", Kind.SPEECH, "", "`tts-1-hd` is OpenAI's name"),
    ],
)
def test_known_names(name: str, kind: Kind, model_id: str, said: str) -> None:
    named = read_name(name, kind, IDS, ALIASES)
    assert named.is_known
    assert named.model_id == model_id
    assert said in named.why


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("qwen-code", Kind.CHAT, "Did you mean `qwen-coder`?"),
        ("gpt-4o", Kind.CHAT, "Name one of auto, qwen-coder, whisper-large, small."),
        ("whisper-1", Kind.CHAT, "There is no model `whisper-1`"),
        ("tts-1", Kind.TRANSCRIPTION, "There is no model `tts-1`"),
        ("", Kind.CHAT, "There is no model ``"),
    ],
)
def test_unknown_names(name: str, kind: Kind, said: str) -> None:
    named = read_name(name, kind, IDS, ALIASES)
    assert not named.is_known
    assert said in named.why


def test_the_operator_s_own_name_wins_over_openai_s() -> None:
    taken = read_name("whisper-1", Kind.TRANSCRIPTION, (*IDS, "whisper-1"), ALIASES)
    aliased = read_name("whisper-1", Kind.TRANSCRIPTION, IDS, {"whisper-1": "whisper-large"})
    assert (taken.model_id, aliased.model_id) == ("whisper-1", "whisper-large")
    assert OPENAI_AUDIO[Kind.TRANSCRIPTION].isdisjoint(OPENAI_AUDIO[Kind.SPEECH])


def test_a_huge_name_is_said_back_short() -> None:
    assert len(read_name("x" * 100_000, Kind.CHAT, IDS, ALIASES).why) < 300
