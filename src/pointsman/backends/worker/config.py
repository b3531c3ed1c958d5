"""What a worker child is told on its standard input: one JSON object per engine.

Knows: the fields. Does not know: engines; the gateway writes these values and the child reads them, and only the child
imports what they configure. Paths are absolute.
"""

from pointsman.types import Value

MEBIBYTE = 1024 * 1024


class WorkerConfig(Value, frozen=True):
    """What every engine is told."""

    model_id: str
    api_key: str
    slots: int = 1
    threads: int = 1
    max_body_bytes: int = 64 * MEBIBYTE


class SttConfig(WorkerConfig, frozen=True, kw_only=True):
    """`path` is a folder of CTranslate2 Whisper weights; `initial_prompts` pairs a language with the prompt that fixes
    its script; an unsure guess of the language falls on one of `languages`, where there are any."""

    path: str
    label: str
    beam_size: int = 1
    initial_prompts: tuple[tuple[str, str], ...] = ()
    languages: tuple[str, ...] = ()
    max_audio_s: float = 7200.0


class TtsConfig(WorkerConfig, frozen=True, kw_only=True):
    """`voices` pairs a language with a piper voice (`….onnx`, its `….onnx.json` beside it)."""

    voices: tuple[tuple[str, str], ...] = ()
    default_language: str = "en"


class OcrConfig(WorkerConfig, frozen=True, kw_only=True):
    """`speech` is a folder of Whisper weights, or empty: then a video's sound is left alone."""

    max_frames: int = 8
    speech: str = ""
    max_pixels: int = 50_000_000
    max_video_s: float = 600.0


class E5Config(WorkerConfig, frozen=True, kw_only=True):
    """Nothing more: the weights come with the package."""


class TransformersConfig(WorkerConfig, frozen=True, kw_only=True):
    """`path` is a folder of safetensors; `n_ctx` is tokens for each slot; `device` and `dtype` are torch's names;
    `chat_template`: instead of the tokenizer's, where there is any."""

    path: str
    n_ctx: int
    device: str = "cpu"
    dtype: str = "float32"
    chat_template: str = ""
