"""Speech by real voices: piper in English, espeak-ng in ten languages."""

import base64
import io
import wave
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from pointsman.backends.worker import media
from pointsman.backends.worker.config import TtsConfig
from pointsman.backends.worker.media import Pcm
from pointsman.backends.worker.server import Answer, Stop, Stopped
from pointsman.backends.worker.speaking import MAX_SENTENCE_CHARS, script_of, sentences, spoken
from pointsman.backends.worker.tts import TtsEngine
from pointsman.errors import RequestError
from pointsman.testing.samples import json_body, result

pytestmark = pytest.mark.real

SENTENCES = {
    "en": "The weather is nice today and we go to the park.",
    "hi": "आज मौसम बहुत अच्छा है और हम पार्क जा रहे हैं।",
    "ta": "இன்று வானிலை மிகவும் நன்றாக உள்ளது.",
    "te": "ఈ రోజు వాతావరణం చాలా బాగుంది.",
    "bn": "আজ আবহাওয়া খুব সুন্দর।",
    "mr": "आज हवामान खूप छान आहे.",
    "gu": "આજે હવામાન ખૂબ સરસ છે.",
    "kn": "ಇಂದು ಹವಾಮಾನ ತುಂಬಾ ಚೆನ್ನಾಗಿದೆ.",
    "ml": "ഇന്ന് കാലാവസ്ഥ വളരെ നല്ലതാണ്.",
    "pa": "ਅੱਜ ਮੌਸਮ ਬਹੁਤ ਵਧੀਆ ਹੈ।",
}
LOUD = 1000
ROMANISED = "aaj mausam bahut accha hai aur hum park ja rahe hain"


def answered(speaker: TtsEngine, **members: Any) -> Answer:
    return speaker.speech(json_body(**members))


def heard(speaker: TtsEngine, **members: Any) -> tuple[Pcm, int]:
    """Samples of a whole wav file, and their rate."""
    with wave.open(io.BytesIO(result(answered(speaker, response_format="wav", **members)))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16), file.getframerate()


def seconds(speaker: TtsEngine, **members: Any) -> float:
    pcm, rate_hz = heard(speaker, **members)
    return len(pcm) / rate_hz


def made_by(answer: Answer) -> str:
    return dict(answer.headers)["x-made-by"]


@pytest.mark.parametrize("language", SENTENCES)
def test_each_language_is_spoken(speaker: TtsEngine, language: str) -> None:
    pcm, rate_hz = heard(speaker, input=SENTENCES[language], language=language)
    loud_s = np.abs(pcm.astype(np.int32)).reshape(-1)
    assert 0.5 < len(pcm) / rate_hz < 15
    assert np.sqrt(np.square(pcm.astype(np.float64)).mean()) > LOUD
    assert (loud_s > LOUD).mean() > 0.2


@pytest.mark.parametrize("language", SENTENCES)
def test_the_script_tells_the_language(speaker: TtsEngine, language: str) -> None:
    expected = {"en": "piper", "mr": "espeak-ng, voice hi"}.get(language, f"espeak-ng, voice {language}")
    assert made_by(answered(speaker, input=SENTENCES[language])).startswith(expected)


def test_marathi_is_spoken_where_it_is_asked_for(speaker: TtsEngine) -> None:
    assert made_by(answered(speaker, input=SENTENCES["mr"], language="mr")) == "espeak-ng, voice mr"


def test_romanised_hindi_is_spoken(speaker: TtsEngine) -> None:
    assert made_by(answered(speaker, input=ROMANISED, language="hi")) == "espeak-ng, voice hi"
    pcm, rate_hz = heard(speaker, input=ROMANISED, language="hi")
    assert 1 < len(pcm) / rate_hz < 8
    assert np.abs(pcm).max() > LOUD


@pytest.mark.parametrize(
    ("members", "voice"),
    [
        ({}, "piper"),
        ({"voice": "alloy"}, "piper"),
        ({"voice": "Onyx"}, "piper"),
        ({"voice": {"id": "espeak-en"}}, "espeak-ng, voice en-us"),
        ({"voice": "piper-en"}, "piper"),
        ({"voice": "espeak-hi"}, "espeak-ng, voice hi"),
        ({"voice": "ta"}, "espeak-ng, voice ta"),
        ({"voice": "alloy", "language": "te"}, "espeak-ng, voice te"),
        ({"language": "en-IN"}, "piper"),
        ({"voice": "espeak-hi", "language": "hi"}, "espeak-ng, voice hi"),
    ],
)
def test_how_a_voice_is_chosen(speaker: TtsEngine, members: dict[str, Any], voice: str) -> None:
    assert made_by(answered(speaker, input="Hello", **members)).startswith(voice)


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"input": " "}, "invalid_value", "input"),
        ({"input": "a" * 4097}, "invalid_value", "input"),
        ({"input": "?!… 🎉"}, "invalid_value", "input"),
        ({}, "missing_field", "input"),
        ({"input": 5}, "invalid_value", "input"),
        ({"input": "привет"}, "unsupported_language", "input"),
        ({"input": "hi", "language": "fr"}, "unsupported_language", "language"),
        ({"input": "hi", "voice": "bob"}, "invalid_value", "voice"),
        ({"input": "hi", "voice": "espeak-hi", "language": "ta"}, "invalid_value", "language"),
        ({"input": "hi", "response_format": "ogg"}, "invalid_value", "response_format"),
        ({"input": "hi", "speed": 0.2}, "invalid_value", "speed"),
        ({"input": "hi", "speed": 4.1}, "invalid_value", "speed"),
        ({"input": "hi", "stream_format": "chunks"}, "invalid_value", "stream_format"),
    ],
)
def test_what_is_refused(speaker: TtsEngine, members: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        result(answered(speaker, **members))
    assert (caught.value.code, caught.value.param) == (code, param)


def test_an_unknown_voice_is_told_all_voices(speaker: TtsEngine) -> None:
    with pytest.raises(RequestError) as caught:
        answered(speaker, input="hi", voice="bob")
    for choice in ("piper-en", "espeak-pa", "alloy"):
        assert choice in caught.value.message


def test_4096_characters_are_allowed(speaker: TtsEngine) -> None:
    answer = answered(speaker, input="ab " * 1365 + "a", voice="espeak-en", response_format="mp3")
    assert len(result(answer)) > 100_000


def test_the_default_format_is_mp3(speaker: TtsEngine) -> None:
    answer = answered(speaker, input="Hello")
    assert answer.content_type == "audio/mpeg"
    (piece,) = media.pieces(result(answer), "file", 60)
    assert 0.5 < piece.end_s < 4


@pytest.mark.parametrize("voice", ["piper-en", "espeak-en"])
def test_speed(speaker: TtsEngine, voice: str) -> None:
    normal_s = seconds(speaker, input=SENTENCES["en"], voice=voice)
    for speed in (0.25, 0.5, 2, 4):
        assert seconds(speaker, input=SENTENCES["en"], voice=voice, speed=speed) == pytest.approx(
            normal_s / speed, rel=0.2
        )


@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "pcm", "wav"])
def test_it_speaks_sentence_by_sentence(speaker: TtsEngine, kind: str) -> None:
    answer = answered(speaker, input=f"{SENTENCES['en']} " * 4, response_format=kind, stream_format="audio")
    assert answer.is_stream
    sizes = [len(chunk) for chunk in answer.chunks(Stop())]
    assert len(sizes) >= 4
    assert min(sizes[:4]) > 1000


def test_the_same_text_sounds_the_same(speaker: TtsEngine) -> None:
    first, second = (result(answered(speaker, input=SENTENCES["en"])) for _ in range(2))
    assert first == second


def test_a_stream_of_events(speaker: TtsEngine) -> None:
    said = f"{SENTENCES['en']} {SENTENCES['en']}"
    answer = answered(speaker, input=said, stream_format="sse", response_format="pcm")
    assert answer.content_type == "text/event-stream"
    *deltas, done = [msgspec.json.decode(chunk.removeprefix(b"data: ")) for chunk in answer.chunks(Stop())]
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["input_tokens"] == 25
    sound = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    assert sound == result(answered(speaker, input=said, response_format="pcm"))


def test_it_stops_between_sentences(speaker: TtsEngine) -> None:
    stop = Stop()
    speech = spoken(f"{SENTENCES['en']} " * 50, speaker.voices["espeak-en"], 1.0, stop)
    next(speech)
    stop.ask()
    with pytest.raises(Stopped):
        next(speech)


def test_a_default_language_nobody_speaks_is_an_error_at_the_start() -> None:
    with pytest.raises(ValueError, match="default_language: `xx` is not spoken here"):
        TtsEngine(TtsConfig(model_id="tts", api_key="", default_language="xx"))


def test_without_a_piper_voice_espeak_speaks_english() -> None:
    bare = TtsEngine(TtsConfig(model_id="tts", api_key=""))
    assert made_by(answered(bare, input="Hello")) == "espeak-ng, voice en-us"


# ---------------------------------------------------------------- cutting text


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Smith met Mr. J. Doe. They left.", ["Dr. Smith met Mr. J. Doe.", "They left."]),
        ("It costs 3.50 now. Yes.", ["It costs 3.50 now.", "Yes."]),
        ("पहला वाक्य। दूसरा वाक्य॥ तीसरा", ["पहला वाक्य।", "दूसरा वाक्य॥", "तीसरा"]),
        ("A line\nanother line\n\n", ["A line", "another line"]),
        ("   ", []),
    ],
)
def test_sentences(text: str, cut: list[str]) -> None:
    assert list(sentences(text)) == cut


def test_long_sentences_are_cut_at_clauses_then_at_words_then_anywhere() -> None:
    clauses = "word " * 25 + "end, " + "word " * 25
    words = "word " * 100
    solid = "x" * 1000
    for text in (clauses, words, solid):
        parts = list(sentences(text))
        assert max(map(len, parts)) <= MAX_SENTENCE_CHARS
        assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert next(sentences(clauses)).endswith("end,")
    assert all(part.endswith("word") for part in sentences(words))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello", "LATIN"),
        ("नमस्ते world", "DEVANAGARI"),
        ("मेरा laptop restart नहीं हो रहा", "DEVANAGARI"),
        ("The word for a greeting in Hindi is नमस्ते", "LATIN"),
        ("ਸਤ", "GURMUKHI"),
        ("12:30", ""),
        ("привет", "CYRILLIC"),
    ],
)
def test_script(text: str, script: str) -> None:
    assert script_of(text) == script


def test_pauses_stand_around_and_between(speaker: TtsEngine) -> None:
    """No stretch begins or ends with sound, so that none is clipped."""
    voice = speaker.voices["espeak-en"]
    stretches = list(spoken("One. Two. Three.", voice, 1.0, Stop()))
    assert len(stretches) == 3
    assert not stretches[0][: voice.rate_hz // 10].any()
    for before, _ in pairwise(stretches):
        assert not before[-voice.rate_hz // 10 :].any()
