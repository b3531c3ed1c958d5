"""The models of the settings: where weights come from, and what each backend wants to know.

Knows: fields and their words, a class for each backend. Does not know: any engine, nor the sections beside `models`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from pointsman import settings_words as words
from pointsman.settings_base import (
    HubRepo,
    HubRevision,
    Id,
    Label,
    Language,
    Section,
    Sha256,
    Share,
    Url,
    Variable,
    Words,
)
from pointsman.types import Kind, Modality

COMMON_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty")
LLAMA_CPP_SAMPLING = (*COMMON_SAMPLING, "repeat_penalty", "typical_p")
VLLM_SAMPLING = (*COMMON_SAMPLING, "repetition_penalty")
TRANSFORMERS_SAMPLING = (*VLLM_SAMPLING, "repeat_penalty")
SAMPLING = (*TRANSFORMERS_SAMPLING, "typical_p")
"""For a server that nobody here knows: which of them it takes is its own word."""
SAID_OF_SAMPLING = "Sampling defaults for what the caller leaves open."


ORIGINS = ("packaged", "file", "url", "hub")
MAIN = "main"


class Source(Section):
    """Where weights come from: exactly one of `packaged`, `file`, `url`, `hub`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [origin]} for origin in ORIGINS]})

    packaged: Id | None = Field(None, description="A name of the built-in catalogue of weights inside Python packages.")
    file: Words | None = Field(None, description="Path of a file or folder on this machine.")
    url: Url | None = Field(None, description="Where to download from; resumed when interrupted.")
    hub: HubRepo | None = Field(None, description="A repository `ORG/NAME` on the hub that `hub_url` names.")
    sha256: Sha256 | None = Field(None, description="Pinned hash of a `file` or `url`.")
    revision: HubRevision = Field(MAIN, description="Branch, tag or commit of a `hub` repository.")
    include: tuple[Words, ...] = Field(
        (), description="Patterns of the files of a `hub` repository, as in `*Q4_K_M.gguf`; default: what engines need."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(getattr(self, origin) is not None for origin in ORIGINS) != 1:
            raise words.said(f"must name exactly one of {', '.join(f'`{origin}`' for origin in ORIGINS)}")
        if self.packaged and self.sha256:
            raise words.said("has a `sha256`, but packaged weights carry their own; remove it")
        if self.hub and self.sha256:
            raise words.said("has a `sha256`, but the hub names those of its files; pin a commit as `revision` instead")
        if not self.hub and (self.revision != MAIN or self.include):
            raise words.said("has `revision` or `include`, which only a `hub` repository has; remove them")
        return self

    def __str__(self) -> str:
        return self.packaged or self.file or self.url or self.hub or ""


class ModelLimits(Section):
    """What all callers together may ask of a model. At its limit `auto` goes elsewhere; who names it gets 429."""

    requests_per_minute: float | None = Field(None, gt=0, description="Calls, retries included; a tenth at once.")
    tokens_per_minute: float | None = Field(
        None, gt=0, description="Prompt and answer, counted when they are known; overdrawn, it has to wait."
    )
    max_concurrent: int | None = Field(None, ge=1, description="Calls under way at once, over all its instances.")


class ModelBase(Section):
    id: Id = Field(description="What callers name; unique.")
    name: Words | None = Field(None, description="A longer name for people; default: the id.")
    inputs: tuple[Modality, ...] | None = Field(None, description="Modalities it takes; default: by backend.")
    outputs: tuple[Modality, ...] | None = Field(None, description="Modalities it gives; default: by backend.")
    kinds: tuple[Kind, ...] | None = Field(None, description="Endpoints it serves; default: by backend.")
    languages: tuple[Language, ...] = Field((), description="Languages it is good for; empty: all.")
    context_tokens: int = Field(0, ge=0, description="Longest prompt plus answer; 0: unknown.")
    tools: bool = Field(False, description="Whether it can call tools.")
    quality: Mapping[Label, Share] = Field({}, description="Prior quality in [0, 1] by intent or use case.")
    cost_per_mtok: float = Field(0, ge=0, description="Price of a million tokens, in any one currency.")
    tokens_per_s: float = Field(0, ge=0, description="Expected speed; 0: unknown. Corrected by measurement.")
    limits: ModelLimits = Field(ModelLimits.model_construct(), description="How much it may be asked.")

    @property
    def is_attached(self) -> bool:
        """Whether somebody else starts and stops it."""
        return False


class ChatBase(ModelBase):
    """A model that chats: what it is asked beside what the caller says. Counts from the next request on."""

    sampling: Mapping[Annotated[str, *words.one_of(SAMPLING)], float] = Field({}, description=SAID_OF_SAMPLING)
    system_prompt: Words | None = Field(
        None, description="Put before a chat in which the caller gives no system message of its own."
    )


class ManagedBase(ModelBase):
    """A model whose process Pointsman starts and stops."""

    preload: bool = Field(False, description="Load at start.")
    pin: bool = Field(False, description="Never evict.")
    ttl_s: float | None = Field(None, gt=0, description="Unload after this long without use.")
    sleep_after_s: float | None = Field(
        None,
        gt=0,
        description="Put to sleep after this long without use, where its engine can: most of its memory is free, and "
        "it is ready again sooner than by a load.",
    )
    memory_gb: float | None = Field(None, gt=0, description="Footprint; default: estimated by the backend.")
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="GPUs it may use, numbered as by nvidia-smi; default: the first, where it uses any."
    )
    gpu_memory_gb: float | None = Field(
        None, gt=0, description="Footprint on each of those GPUs; default: estimated by the backend."
    )
    slots: int = Field(1, ge=1, description="Requests it answers at the same time.")
    threads: int | None = Field(None, ge=1, description="Compute threads; default: cores − 1.")


class WeightsBase(ChatBase):
    """A model whose engine is told its weights, and how a chat becomes text."""

    variants: tuple[Source, ...] = Field(
        (), description="Smaller quantisations of the same model, best first, for when `source` does not fit."
    )
    chat_template: Words | None = Field(
        None,
        description="Path of a Jinja file, or the template itself, in place of the one that comes with the weights.",
    )

    def in_each_size(self) -> tuple[Self, ...]:
        """Itself, then with each of its variants for a `source`."""
        return (self, *(self.model_copy(update={"source": source}) for source in self.variants))


class LlamaCppModel(WeightsBase, ManagedBase):
    """llama.cpp in a child process (`xllamacpp`)."""

    backend: Literal["llama_cpp"] = Field(description="llama.cpp in a child process.")
    source: Source = Field(description="A GGUF file.")
    n_ctx: int = Field(4096, ge=256, description="Context of each slot, tokens.")
    gpu_layers: int = Field(0, ge=0, description="Layers to put on the GPU.")
    binary: Words | None = Field(None, description="A `llama-server` to run instead of the embedded one.")
    sampling: Mapping[Annotated[str, *words.one_of(LLAMA_CPP_SAMPLING)], float] = Field(
        {}, description=SAID_OF_SAMPLING
    )


class SttModel(ManagedBase):
    """faster-whisper in a child process."""

    backend: Literal["stt"] = Field(description="Speech to text: faster-whisper in a child process.")
    source: Source = Field(description="Whisper weights in CTranslate2's format.")
    beam_size: int = Field(1, ge=1, description="Beams of the search; more is slower and a little better.")
    initial_prompts: Mapping[Language, str] = Field(
        {}, description="Language → prompt that fixes the script, such as Devanagari for hi."
    )


class TtsModel(ManagedBase):
    """piper where a voice is given, espeak-ng for every other language, in one child process."""

    backend: Literal["tts"] = Field(description="Text to speech in a child process.")
    voices: Mapping[Language, Source] = Field({}, description="Language → piper voice; espeak-ng speaks the others.")
    default_language: Language = Field("en", description="Spoken where the text's language cannot be told.")


class OcrModel(ManagedBase):
    """RapidOCR and video frame sampling in a child process: a modest reader of images and short videos."""

    backend: Literal["ocr"] = Field(description="Reader of images and short videos in a child process.")
    max_frames: int = Field(8, ge=1, le=64, description="Frames sampled from a video.")
    speech: Source | None = Field(None, description="Whisper weights, to transcribe a video's sound too.")


class E5Model(ManagedBase):
    """multilingual-e5-small in a child process (`pointsman[local]`); its weights come with its package."""

    backend: Literal["e5"] = Field(description="Embeddings of texts in many languages, in a child process.")


class OpenAiModel(ChatBase):
    """Any OpenAI-compatible URL; several URLs are instances of one model."""

    backend: Literal["openai"] = Field(description="An OpenAI-compatible server that somebody else runs.")
    url: Url | None = Field(None, description="Base URL, with /v1 where the server has it.")
    urls: tuple[Url, ...] = Field((), description="Base URLs of further instances of the same model.")
    model: Words | None = Field(None, description="What the server calls the model; default: the id.")
    api_key_env: Variable | None = Field(
        None, description="Environment variable that holds the key. Keys are never in this file."
    )
    slots: int = Field(64, ge=1, description="Requests each instance may have under way.")
    min_slots: int | None = Field(
        None,
        ge=1,
        description="Where set, `slots` is only the most: how many each instance takes is learned from here on, more "
        "while it answers, fewer when it says 429 or 503, times out or is slow (`fleet.breaker.slow_call_s`).",
    )
    stream_usage: bool = Field(True, description="Ask for token usage at the end of streams.")
    continues: Literal["", "prefill", "vllm"] = Field(
        "",
        description="How it goes on with an answer that another model began: `prefill`, where a last message of the "
        "assistant is enough; `vllm`, where it must be asked in vLLM's way; empty: it cannot.",
    )

    @model_validator(mode="after")
    def _has_urls(self) -> Self:
        urls = self.all_urls()
        if not urls:
            raise words.said("has no URL; give `url` or `urls`")
        if len(set(urls)) < len(urls):
            raise words.said("names one URL twice; each instance has its own")
        if (self.min_slots or 1) > self.slots:
            raise words.said(f"has `min_slots: {self.min_slots}`, more than its `slots: {self.slots}`; correct one")
        return self

    @property
    def is_attached(self) -> bool:
        return True

    def all_urls(self) -> tuple[str, ...]:
        """One per instance."""
        return ((self.url,) if self.url else ()) + self.urls


class ExternalBase(ChatBase, ManagedBase):
    """A program that is not ours, as a child process: what is alike for all of them."""

    env: Mapping[Variable, str] = Field({}, description="Environment variables of the process.")
    pass_env: tuple[Variable, ...] = Field(
        (),
        description="Credentials of Pointsman's own environment that it gets too, such as HF_TOKEN; else it gets none.",
    )
    load_timeout_s: float | None = Field(
        None, gt=0, description="How long it may take to start; default: `fleet.load_timeout_s`."
    )
    stop_grace_s: float = Field(8, ge=0, le=12, description="How long it may take to end before it is killed.")


class CommandModel(ExternalBase):
    """Any OpenAI-compatible server, started by a command."""

    backend: Literal["command"] = Field(description="Any OpenAI-compatible server, started by a command.")
    argv: tuple[str, ...] = Field(
        min_length=1,
        description="Program and arguments. `{port}`, `{path}` (of the source) and `{api_key}` are filled in, here and "
        "in `env`. All users of the machine can read arguments: better give the key by `api_key_variable`.",
    )
    source: Source | None = Field(None, description="Weights to fetch before the start.")
    api_key_variable: Variable | None = Field(
        None, description="The process finds its key, new at every start, in this variable; default: it has no key."
    )
    health: Annotated[str, *words.matching(r"/\S*", "be a path such as /health")] = Field(
        "/health", description="Path of its cheap health page, below the root."
    )
    model: Words | None = Field(None, description="What the server calls the model; default: the id.")
    stop_signal: Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"] = Field("SIGTERM", description="Asks it to end.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.source is None and any("{path}" in word for word in (*self.argv, *self.env.values())):
            raise words.said("speaks of `{path}`, but has no `source`; name the weights, or write their path out")
        return self


class VllmModel(WeightsBase, ExternalBase):
    """vLLM: a process of Pointsman's, or with `url` a server that somebody else runs."""

    backend: Literal["vllm"] = Field(description="vLLM, as a child process or attached.")
    slots: int = Field(64, ge=1, description="Requests it answers at the same time.")
    source: Source | None = Field(None, description="A folder of weights; one of `source` and `model` is needed.")
    model: Words | None = Field(None, description="Name of the model on the hub; of an attached server: its model.")
    python: Words = Field("python3", description="Interpreter of the environment in which vLLM is installed.")
    args: tuple[str, ...] = Field((), description="Further arguments, such as `--dtype`, `float16`.")
    gpu_memory_utilization: Share | None = Field(
        None,
        description="Share of each GPU's memory that it takes at once, of the host's where it has no GPU; default: all "
        "that the fleet may fill of those GPUs.",
    )
    kv_cache_gb: float | None = Field(None, gt=0, description="Memory for the KV cache, in place of that share.")
    sleep_level: Literal[0, 1, 2] = Field(
        0, description="How it sleeps, on GPUs: 1 keeps the weights in host memory, 2 drops them; 0: never."
    )
    url: Url | None = Field(None, description="Base URL of an attached server, with /v1.")
    api_key_env: Variable | None = Field(None, description="Environment variable that holds an attached server's key.")
    sampling: Mapping[Annotated[str, *words.one_of(VLLM_SAMPLING)], float] = Field({}, description=SAID_OF_SAMPLING)

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        if self.url is None and (self.source is None) == (self.model is None):
            raise words.said("must name exactly one of `source` and `model`, or the `url` of a running server")
        if self.url is not None and self.source is not None:
            raise words.said("has a `url`, so somebody else starts it with its weights; remove `source`")
        if self.url is None and self.api_key_env is not None:
            raise words.said("has an `api_key_env`, which only an attached server needs; remove it or give its `url`")
        if self.url is not None and self.chat_template is not None:
            raise words.said("has a `url`, so somebody else starts it with its template; remove `chat_template`")
        if self.variants and self.source is None:
            raise words.said("has `variants` of no `source`; name the full weights as `source`, or remove `variants`")
        return self

    @property
    def is_attached(self) -> bool:
        return self.url is not None

    @property
    def share(self) -> float | None:
        """What it is told to take of each GPU; None where nothing is said, or `kv_cache_gb` says it."""
        return self.gpu_memory_utilization if self.kv_cache_gb is None else None


class MaxServeModel(ExternalBase):
    """MAX Serve in a child process. Attach running servers as `backend: openai`."""

    backend: Literal["max_serve"] = Field(description="MAX Serve in a child process.")
    slots: int = Field(16, ge=1, description="Requests it answers at the same time.")
    source: Source | None = Field(None, description="A folder of weights; one of `source` and `model` is needed.")
    model: Words | None = Field(None, description="Name of the model on the hub.")
    binary: Words = Field("max", description="The command `max` of the environment in which MAX is installed.")
    args: tuple[str, ...] = Field((), description="Further arguments, such as `--quantization-encoding`, `float32`.")
    devices: Words | None = Field(None, description="As its `--devices`: `cpu`, `gpu`, `gpu:0,1`; default: by `gpus`.")
    sampling: Mapping[Annotated[str, *words.one_of(VLLM_SAMPLING)], float] = Field({}, description=SAID_OF_SAMPLING)

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        if (self.source is None) == (self.model is None):
            raise words.said("must name exactly one of `source` and `model`")
        return self


class TransformersModel(WeightsBase, ManagedBase):
    """Hugging Face transformers in a child process (`pointsman[transformers]`), on a CPU or a GPU."""

    backend: Literal["transformers"] = Field(description="Hugging Face transformers in a child process.")
    source: Source = Field(description="A folder of safetensors, with the model's configuration and tokenizer.")
    slots: int = Field(4, ge=1, description="Requests it answers at the same time, in one batch.")
    n_ctx: int = Field(4096, ge=256, description="Context of each slot, tokens.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where it computes; `auto`: on a GPU where there is one. Which one: `gpus`."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format; `auto`: as stored on a GPU; on a CPU bfloat16 if both weights and CPU have it.",
    )
    sampling: Mapping[Annotated[str, *words.one_of(TRANSFORMERS_SAMPLING)], float] = Field(
        {}, description=SAID_OF_SAMPLING
    )

    @model_validator(mode="after")
    def _has_one_gpu(self) -> Self:
        if len(self.gpus) > 1:
            raise words.said("names several `gpus`, but this backend computes on one; name one, or use vLLM")
        return self


class CustomModel(ChatBase, ManagedBase):
    """An engine that another package offers, by an entry point of the group `pointsman.engines`."""

    backend: Literal["custom"] = Field(description="An engine of another package.")
    engine: Id = Field(description="Name of its entry point.")
    sources: tuple[Source, ...] = Field((), description="Weights it needs, in the order in which it takes them.")
    options: Mapping[str, JsonValue] = Field({}, description="Whatever the engine wants to know.")


Model = Annotated[
    LlamaCppModel
    | SttModel
    | TtsModel
    | OcrModel
    | E5Model
    | OpenAiModel
    | CommandModel
    | VllmModel
    | MaxServeModel
    | TransformersModel
    | CustomModel,
    Field(discriminator="backend"),
]


def sources_of(model: Model) -> tuple[tuple[str, Source], ...]:
    """The weights a model needs, each with its path inside the model (`source`, `voices.en`); none for remote ones."""
    if isinstance(model, TtsModel):
        return tuple((f"voices.{language}", voice) for language, voice in model.voices.items())
    if isinstance(model, OcrModel) and model.speech:
        return (("speech", model.speech),)
    if isinstance(model, CustomModel):
        return tuple((f"sources[{index}]", source) for index, source in enumerate(model.sources))
    source: Source | None = getattr(model, "source", None)
    variants = model.variants if isinstance(model, WeightsBase) else ()
    smaller = tuple((f"variants[{index}]", one) for index, one in enumerate(variants))
    return (("source", source), *smaller) if source else ()
