"""A tour of a running Pointsman with the official `openai` package: chat, code, speech in ten languages, ears, eyes.

    make serve                           # in one terminal
    .venv/bin/python examples/tour.py    # in another; --url for another address

Prints a row per stop: which model answered and what the router took the request for. Exits 1 when a stop is not right.
"""

import argparse
import base64
import io
import json
import re
import sys
import time
import wave
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openai import OpenAI
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

SPOKEN = "The quick brown fox jumps over the lazy dog."
PICTURED = "POINTSMAN 8001"
SENTENCES = {
    "en": "Good morning, how are you today?",
    "hi": "नमस्ते, आप कैसे हैं? आज मौसम बहुत अच्छा है।",
    "ta": "வணக்கம், நீங்கள் எப்படி இருக்கிறீர்கள்?",
    "te": "నమస్కారం, మీరు ఎలా ఉన్నారు?",
    "bn": "নমস্কার, আপনি কেমন আছেন?",
    "mr": "नमस्कार, तुम्ही कसे आहात?",
    "gu": "નમસ્તે, તમે કેમ છો?",
    "kn": "ನಮಸ್ಕಾರ, ನೀವು ಹೇಗಿದ್ದೀರಿ?",
    "ml": "നമസ്കാരം, നിങ്ങൾക്ക് സുഖമാണോ?",
    "pa": "ਸਤ ਸ੍ਰੀ ਅਕਾਲ, ਤੁਸੀਂ ਕਿਵੇਂ ਹੋ?",
}


@dataclass(frozen=True)
class Stop:
    """One row of the table. `problem` is empty where the stop is as it should be."""

    what: str
    metadata: dict[str, Any]
    seconds: float
    result: str
    problem: str = ""


def metadata_in(headers: Any) -> dict[str, Any]:
    """The routing metadata, from the response header."""
    found: dict[str, Any] = json.loads(headers["x-routing-metadata"])
    return found


def expect(metadata: dict[str, Any], model_part: str) -> str:
    """A problem where another model answered than the tour expects."""
    return "" if model_part in metadata["model_id"] else f"expected {model_part}, {metadata['model_id']} answered"


def chat_stream(client: OpenAI, what: str, prompt: str, model_part: str) -> Stop:
    """A streamed chat; the text must not be empty."""
    began = time.monotonic()
    messages: list[Any] = [{"role": "user", "content": prompt}]
    with client.chat.completions.with_streaming_response.create(
        model="auto", messages=messages, max_tokens=64, temperature=0, stream=True
    ) as response:
        metadata = metadata_in(response.headers)
        pieces = [chunk.choices[0].delta.content or "" for chunk in response.parse() if chunk.choices]
    text = "".join(pieces)
    problem = expect(metadata, model_part) or ("" if text.strip() else "an empty answer")
    return Stop(what, metadata, time.monotonic() - began, f"{len(pieces)} chunks: {text}", problem)


def speech(client: OpenAI, text: str, language: str) -> tuple[bytes, dict[str, Any]]:
    """A WAV of the text, and the routing metadata."""
    response = client.audio.speech.with_raw_response.create(
        model="auto", voice="alloy", input=text, response_format="wav", extra_body={"language": language}
    )
    return response.content, metadata_in(response.headers)


def speak(client: OpenAI, language: str) -> Stop:
    """Speech in one language: not silent, and of plausible length."""
    began = time.monotonic()
    wav, metadata = speech(client, SENTENCES[language], language)
    seconds, loudness = measure(wav)
    problem = "" if 0.5 < seconds < 15 and loudness > 300 else f"{seconds:.2f} s at RMS {loudness:.0f} is no speech"
    took = time.monotonic() - began
    return Stop(f"speak {language}", metadata, took, f"{seconds:.2f} s, RMS {loudness:.0f}", problem)


def measure(wav: bytes) -> tuple[float, float]:
    """Length in seconds and root mean square of 16-bit samples."""
    with wave.open(io.BytesIO(wav)) as audio:
        rate, channels = audio.getframerate(), audio.getnchannels()
        samples = array("h", audio.readframes(10**9))
    seconds = len(samples) / rate / channels
    loudness = (sum(s * s for s in samples) / max(1, len(samples))) ** 0.5
    return seconds, loudness


def listen(client: OpenAI) -> Stop:
    """What our own voice said must come back word for word."""
    began = time.monotonic()
    wav, _ = speech(client, SPOKEN, "en")
    response = client.audio.transcriptions.with_raw_response.create(model="auto", file=("fox.wav", wav, "audio/wav"))
    text, metadata = response.parse().text, metadata_in(response.headers)
    problem = "" if words(text) == words(SPOKEN) else f"said {SPOKEN!r}, heard {text!r}"
    return Stop("transcribe our own voice", metadata, time.monotonic() - began, text, problem)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def read_picture(client: OpenAI) -> Stop:
    """An image as a chat part: its text must come back."""
    began = time.monotonic()
    image = Image.new("RGB", (640, 160), "white")
    ImageDraw.Draw(image).text((40, 45), PICTURED, fill="black", font=ImageFont.load_default(size=64))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    parts = [{"type": "text", "text": "What is written here?"}, {"type": "image_url", "image_url": {"url": url}}]
    messages: list[Any] = [{"role": "user", "content": parts}]
    response = client.chat.completions.with_raw_response.create(model="auto", messages=messages)
    text, metadata = response.parse().choices[0].message.content or "", metadata_in(response.headers)
    problem = "" if PICTURED in text else "the text of the picture did not come back"
    return Stop("read a picture", metadata, time.monotonic() - began, text, problem)


def tour(client: OpenAI) -> list[Stop]:
    stops: list[Callable[[], Stop]] = [
        lambda: chat_stream(client, "greeting (stream)", "Hello! How are you?", "smollm2"),
        lambda: chat_stream(
            client, "code (stream)", "Write a Python function that checks whether a number is prime.", "qwen2.5-coder"
        ),
        lambda: listen(client),
        *(lambda language=language: speak(client, language) for language in SENTENCES),
        lambda: read_picture(client),
    ]
    return [stop() for stop in stops]


def show(stops: list[Stop]) -> None:
    table = Table("stop", "model", "use case", "intent", "lang", "complexity", "conf.", "s", "result", box=None)
    for stop in stops:
        m = stop.metadata
        result = f"[red]{stop.problem}[/red]" if stop.problem else stop.result.replace("\n", " ")[:60]
        labels = [str(m[name]) for name in ("model_id", "use_case", "intent", "language", "complexity")]
        table.add_row(stop.what, *labels, f"{m['confidence']:.2f}", f"{stop.seconds:.2f}", result)
    Console(width=200 if not sys.stdout.isatty() else None).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="http://127.0.0.1:8001/v1")
    client = OpenAI(base_url=parser.parse_args().url, api_key="unused", max_retries=0, timeout=120)
    stops = tour(client)
    show(stops)
    return 1 if any(stop.problem for stop in stops) else 0


if __name__ == "__main__":
    sys.exit(main())
