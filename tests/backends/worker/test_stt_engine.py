"""Transcription by real Whisper models. What they hear is spoken by the project's own voices."""

import re
from collections.abc import Generator
from typing import Any

import msgspec
import numpy as np
import pytest

from pointsman.backends.worker import media
from pointsman.backends.worker.hearing import LOOP, Segment, Wish, judged
from pointsman.backends.worker.server import Stop, Stopped
from pointsman.backends.worker.stt import SttEngine, subtitles
from pointsman.backends.worker.tts import TtsEngine
from pointsman.errors import RequestError
from pointsman.testing.samples import chat_body, data_uri, form_body, json_body, result, tone, wav

pytestmark = pytest.mark.real

SENTENCE = "The weather is nice today, so let us walk in the park."
SECOND = "My brother lives in a small house near the river."
SILENCE = wav(np.zeros(5 * 16_000, np.int16))
NOISE = wav((np.random.default_rng(0).normal(size=5 * 16_000) * 1000).astype(np.int16))


def said(speaker: TtsEngine, text: str, kind: str = "wav", **more: object) -> bytes:
    return result(speaker.speech(json_body(input=text, response_format=kind, **more)))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def heard(engine: SttEngine, recording: bytes, **fields: str) -> Any:
    return msgspec.json.decode(result(engine.transcribe(form_body(tuple(fields.items()), recording))))


@pytest.mark.parametrize("kind", ["wav", "mp3", "opus", "aac", "flac"])
def test_speech_comes_back_word_for_word(english: SttEngine, speaker: TtsEngine, kind: str) -> None:
    answer = heard(english, said(speaker, SENTENCE, kind))
    assert words(answer["text"]) == words(SENTENCE)
    assert answer["x-made-by"] == "faster-whisper, tiny.en"
    assert answer["usage"]["seconds"] >= 3


@pytest.mark.parametrize(
    "sentence",
    [
        "Good morning, how can I help you today?",
        "The children are playing with a red ball in the garden.",
        "She bought fresh bread and milk at the market this morning.",
        "The switch sets the points and the train takes its track.",
        "Could you tell me the way to the railway station?",
        "It is important to drink enough water every day.",
        "He wrote a long letter to his friend in London.",
    ],
)
def test_ordinary_sentences(english: SttEngine, speaker: TtsEngine, sentence: str) -> None:
    assert words(heard(english, said(speaker, sentence))["text"]) == words(sentence)


@pytest.mark.parametrize("recording", [SILENCE, NOISE, wav(tone(5))], ids=["silence", "noise", "a tone"])
def test_nothing_is_made_of_no_speech(english: SttEngine, multilingual: SttEngine, recording: bytes) -> None:
    assert heard(english, recording)["text"] == ""
    assert heard(multilingual, recording)["text"] == ""


def test_the_weights_say_whether_they_are_multilingual(english: SttEngine, multilingual: SttEngine) -> None:
    assert not english.hearing.is_multilingual
    assert multilingual.hearing.is_multilingual


@pytest.mark.parametrize("language", ["hi", "hi-IN", "Hindi", "ta"])
def test_an_english_model_refuses_other_languages(english: SttEngine, language: str) -> None:
    with pytest.raises(RequestError) as caught:
        english.transcribe(form_body([("language", language)], SILENCE))
    assert (caught.value.code, caught.value.param) == ("unsupported_language", "language")
    assert "stt-multilingual" in caught.value.message


@pytest.mark.parametrize("language", ["en", "en-US", "EN", "english"])
def test_an_english_model_takes_english_however_it_is_named(english: SttEngine, language: str) -> None:
    assert heard(english, SILENCE, language=language, response_format="verbose_json")["language"] == "english"


def test_an_unknown_language_is_refused_by_a_multilingual_model_too(multilingual: SttEngine) -> None:
    with pytest.raises(RequestError, match="ISO 639-1"):
        multilingual.transcribe(form_body([("language", "xx")], SILENCE))


def test_the_language_is_what_is_known(english: SttEngine, multilingual: SttEngine, speaker: TtsEngine) -> None:
    """English-only weights cannot tell, so they do not; multilingual ones detect."""
    recording = said(speaker, SENTENCE)
    assert heard(english, recording, response_format="verbose_json")["language"] == "und"
    detected = heard(multilingual, recording, response_format="verbose_json")
    assert detected["language"] == "english"
    assert words(detected["text"]) == words(SENTENCE)


def test_asked_for_hindi_the_answer_is_in_devanagari(multilingual: SttEngine, speaker: TtsEngine) -> None:
    recording = said(speaker, "नमस्ते। आपका नाम क्या है?")
    answer = heard(multilingual, recording, language="hi", response_format="verbose_json")
    assert answer["language"] == "hindi"
    letters = [letter for letter in answer["text"] if letter.isalpha()]
    assert letters
    assert all("\u0900" <= letter <= "\u097f" for letter in letters)


@pytest.mark.parametrize(
    ("detected", "chances", "spoken"),
    [
        ("ur", {"ur": 0.9, "hi": 0.1}, "hi"),
        ("th", {"th": 0.4, "en": 0.1, "hi": 0.2}, "hi"),
        ("th", {"th": 0.9, "en": 0.1}, "th"),
        ("en", {"en": 0.2, "hi": 0.3}, "en"),
        ("fr", {"fr": 0.6, "hi": 0.4}, "fr"),
    ],
)
def test_which_language_a_detection_means(detected: str, chances: dict[str, float], spoken: str) -> None:
    assert judged(detected, chances, prompted={"hi": "नमस्ते"}, expected=("en", "hi")) == spoken


def test_verbose_json(english: SttEngine, speaker: TtsEngine) -> None:
    recording = said(speaker, f"{SENTENCE} {SECOND}")
    answer = heard(english, recording, response_format="verbose_json")
    assert answer["task"] == "transcribe"
    assert answer["duration"] == pytest.approx(len(recording) / 44_100, abs=0.1)
    assert "words" not in answer
    assert "".join(segment["text"] for segment in answer["segments"]).strip() == answer["text"]
    ends = [0.0, *(segment["end"] for segment in answer["segments"])]
    assert ends == sorted(ends)
    assert ends[-1] <= answer["duration"] + 0.5
    expected = {"id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "no_speech_prob"}
    assert set(answer["segments"][0]) == expected | {"compression_ratio"}


def test_word_times(english: SttEngine, speaker: TtsEngine) -> None:
    form = form_body(
        [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")], said(speaker, SENTENCE)
    )
    answer = msgspec.json.decode(result(english.transcribe(form)))
    assert "segments" not in answer
    assert words(" ".join(word["word"] for word in answer["words"])) == words(SENTENCE)
    starts = [word["start"] for word in answer["words"]]
    assert starts == sorted(starts)
    assert starts[-1] > starts[0] + 1


def test_text_srt_and_vtt(english: SttEngine, speaker: TtsEngine) -> None:
    recording = said(speaker, SENTENCE)

    def written(kind: str) -> tuple[str, str]:
        answer = english.transcribe(form_body([("response_format", kind)], recording))
        return answer.content_type, result(answer).decode()

    assert written("text")[0].startswith("text/plain")
    assert words(written("text")[1]) == words(SENTENCE)
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\nThe weather", written("srt")[1])
    assert written("vtt")[0].startswith("text/vtt")
    assert re.match(r"WEBVTT\n\n00:00:0\d\.\d{3} --> 00:00:0\d\.\d{3}\nThe weather", written("vtt")[1])


def test_a_stream_says_the_same_as_the_whole(english: SttEngine, speaker: TtsEngine) -> None:
    recording = said(speaker, f"{SENTENCE} {SECOND}")
    answer = english.transcribe(form_body([("stream", "true")], recording))
    assert answer.is_stream
    assert answer.content_type == "text/event-stream"
    *deltas, done = [msgspec.json.decode(chunk.removeprefix(b"data: ")) for chunk in answer.chunks(Stop())]
    assert {delta["type"] for delta in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == heard(english, recording)["text"]


@pytest.mark.parametrize(
    ("fields", "recording", "code", "param"),
    [
        ({}, b"not a recording", "invalid_media", "file"),
        ({}, b"", "invalid_media", "file"),
        ({}, wav(np.zeros(601 * 16_000, np.int16)), "invalid_media", "file"),
        ({"response_format": "pdf"}, SILENCE, "invalid_value", "response_format"),
        ({"temperature": "hot"}, SILENCE, "invalid_value", "temperature"),
        ({"temperature": "1.5"}, SILENCE, "invalid_value", "temperature"),
        ({"stream": "true", "response_format": "srt"}, SILENCE, "invalid_value", "stream"),
        ({"timestamp_granularities[]": "word"}, SILENCE, "invalid_value", "timestamp_granularities"),
        (
            {"timestamp_granularities[]": "page", "response_format": "verbose_json"},
            SILENCE,
            "invalid_value",
            "timestamp_granularities",
        ),
    ],
)
def test_what_is_refused(english: SttEngine, fields: dict[str, str], recording: bytes, code: str, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        result(english.transcribe(form_body(tuple(fields.items()), recording)))
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_recording_in_a_chat(english: SttEngine, speaker: TtsEngine) -> None:
    part = {"type": "input_audio", "input_audio": {"data": data_uri(said(speaker, SENTENCE, "mp3"), "audio/mpeg")}}
    answer = msgspec.json.decode(result(english.chat(chat_body(part))))
    assert words(answer["choices"][0]["message"]["content"]) == words(SENTENCE)
    assert answer["x-made-by"] == "faster-whisper, tiny.en"


def test_a_chat_without_a_recording(english: SttEngine) -> None:
    with pytest.raises(RequestError) as caught:
        english.chat(chat_body({"type": "text", "text": "hello"}))
    assert caught.value.code == "missing_field"


def test_a_bad_recording_in_a_chat_names_its_member(english: SttEngine) -> None:
    part = {"type": "input_audio", "input_audio": {"data": data_uri(b"no sound", "audio/wav")}}
    with pytest.raises(RequestError) as caught:
        result(english.chat(chat_body({"type": "text", "text": "?"}, part)))
    assert caught.value.param == "messages[1].content[1].input_audio.data"


def test_it_stops_between_pieces(english: SttEngine, speaker: TtsEngine) -> None:
    (piece,) = media.pieces(said(speaker, SENTENCE), "file", 60)
    given = 0

    def endless() -> Generator[media.Piece, None, None]:
        nonlocal given
        while True:
            given += 1
            yield piece

    stop = Stop()
    listening = iter(english.hearing.listen(endless(), Wish(), stop))
    next(listening)
    stop.ask()
    with pytest.raises(Stopped):
        list(listening)
    assert given <= 2


# ---------------------------------------------------------------- without a model


def segment(start: float, end: float, text: str) -> Segment:
    return Segment(
        id=0,
        seek=0,
        start=start,
        end=end,
        text=text,
        tokens=(),
        temperature=0,
        avg_logprob=0,
        compression_ratio=1,
        no_speech_prob=0,
    )


def test_subtitle_clocks() -> None:
    cues = (segment(0, 1.5, " One"), segment(3661.0004, 36000, " a --> b"))
    assert subtitles(cues, ",", numbered=True) == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne\n\n2\n01:01:01,000 --> 10:00:00,000\na -> b\n"
    )


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("आपाँवाँवाँवाँवाँवाँवाँ", "आपाँवाँ"),
        ("well thank you thank you thank you thank you thank you", "well thank you"),
        ("no, no, no", "no, no, no"),
        ("it costs 1000000", "it costs 1000000"),
    ],
)
def test_a_loop_is_said_once(said: str, kept: str) -> None:
    assert LOOP.sub(r"\1", said) == kept
