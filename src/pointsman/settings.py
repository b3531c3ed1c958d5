"""One frozen settings tree from one YAML file, environment overrides on top.

Knows: names, ranges, cross references, how to say what is wrong and on which line. Does not know: what anything is for
beyond its description, nor any engine. Unknown keys are refused. A reload makes a new tree; nobody edits one.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pointsman.errors import ConfigError
from pointsman.types import Complexity, Intent, Kind, Modality, UseCase

ENV_PREFIX = "POINTSMAN_"
RESERVED_ENV = frozenset({"POINTSMAN_CONFIG"})
AUTO = "auto"
ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"
STRATEGIES = ("balanced", "quality", "cost", "latency", "round_robin", "least_busy", "fixed")


class Section(BaseModel):
    """Frozen, and refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ServerSettings(Section):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8001, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allow_open_network: bool = Field(
        False, description="Must be true to listen on an address other than loopback: there are no API keys yet."
    )
    max_body_mb: float = Field(32, gt=0, description="Largest request body; a larger one is refused with 413.")
    body_timeout_s: float = Field(30, gt=0, description="A body must have arrived after this long.")
    request_timeout_s: float = Field(300, gt=0, description="The one deadline of a request, waiting and retries included.")
    drain_timeout_s: float = Field(30, ge=0, description="On SIGTERM: how long requests under way may still take.")


class FleetSettings(Section):
    memory_budget_gb: float | None = Field(None, gt=0, description="Budget for all managed models; default: a fraction of the machine's memory.")
    memory_fraction: float = Field(0.8, gt=0, le=1, description="The fraction taken where no budget is given.")
    load_timeout_s: float = Field(180, gt=0, description="A start (fetch excluded) that takes longer has failed.")
    max_queue: int = Field(512, ge=1, description="Requests that may wait for one deployment; one more is refused with 503.")
    restart_backoff_s: float = Field(0.5, gt=0, description="Pause before the first restart of a dead child; doubles up to 30 s.")
    probe_interval_s: float = Field(30, gt=0, description="How often a deployment's own health endpoint is asked.")
    min_resident_s: float = Field(5, ge=0, description="A model is not evicted before it has been ready this long.")


class RetrySettings(Section):
    max_attempts: int = Field(4, ge=1, le=20, description="Upstream calls one request may cost, over all candidates.")
    backoff_s: float = Field(0.1, ge=0, description="Base of the exponential back-off with full jitter on one deployment.")
    backoff_max_s: float = Field(5, gt=0, description="Ceiling of that back-off.")
    first_byte_timeout_s: float = Field(120, gt=0, description="A deployment that sends nothing for this long has failed.")
    idle_timeout_s: float = Field(60, gt=0, description="A stream silent for this long after its first byte is cut.")


class RuleSet(Section):
    use_case: UseCase | None = None
    intent: Intent | None = None
    complexity: Complexity | None = None


class RuleSettings(Section):
    """A keyword rule: when it matches the user's words, it proposes labels with a confidence."""

    name: str = Field(description="Shown as evidence in explanations.")
    any: tuple[str, ...] = Field((), description="Words or phrases, matched whole and caseless, in any script.")
    all: tuple[str, ...] = Field((), description="All of these must occur too.")
    none: tuple[str, ...] = Field((), description="None of these may occur.")
    set: RuleSet = Field(description="The labels proposed.")
    confidence: float = Field(0.8, gt=0, le=1, description="high ≥ .7, medium ≥ .4, low ≥ .2.")
    override: bool = Field(False, description="true: wins over the classifier; false: counts as one more piece of evidence.")


class StrategyWeights(Section):
    """Weights of the score terms, each term in [0, 1]."""

    quality: float = Field(1.0, ge=0)
    preference: float = Field(1.0, ge=0)
    language: float = Field(0.6, ge=0)
    cost: float = Field(0.2, ge=0)
    latency: float = Field(0.5, ge=0)
    readiness: float = Field(0.8, ge=0)
    load: float = Field(0.4, ge=0)
    health: float = Field(0.6, ge=0)


class RoutingSettings(Section):
    enabled: bool = Field(True, description="false: `auto` always means `default_model`.")
    default_model: str | None = Field(None, description="Model for `auto` where nothing else speaks; default: the first chat model.")
    strategy: Literal["balanced", "quality", "cost", "latency", "round_robin", "least_busy", "fixed"] = "balanced"
    weights: dict[str, StrategyWeights] = Field({}, description="Weights by strategy; what is absent keeps its default.")
    use_cases: dict[str, tuple[str, ...]] = Field(
        {}, description="Use case or agent intent → models in order of preference: the use-case matrix."
    )
    rules: tuple[RuleSettings, ...] = Field((), description="Keyword rules, checked before the built-in ones.")
    builtin_rules: bool = Field(True, description="Keep the built-in rules of the ten languages.")
    abstain_below: float = Field(0.4, ge=0, le=1, description="A label less sure than this falls back to its safe default.")


class Source(Section):
    """Where weights come from: exactly one of `packaged`, `file`, `url`."""

    packaged: str | None = Field(None, description="A name of the built-in catalogue of weights inside Python packages.")
    file: str | None = Field(None, description="Path of a file or folder on this machine.")
    url: str | None = Field(None, pattern=r"^https?://", description="Where to download from; resumed when interrupted.")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="Pinned hash of a `file` or `url`.")


class ModelBase(Section):
    id: str = Field(pattern=ID, description="What callers name; unique.")
    name: str | None = Field(None, description="A longer name for people; default: the id.")
    inputs: tuple[Modality, ...] | None = Field(None, description="Modalities it takes; default: by backend.")
    outputs: tuple[Modality, ...] | None = Field(None, description="Modalities it gives; default: by backend.")
    kinds: tuple[Kind, ...] | None = Field(None, description="Endpoints it serves; default: by backend.")
    languages: tuple[str, ...] = Field((), description="Languages it is good for; empty: all.")
    context_tokens: int = Field(0, ge=0, description="Longest prompt plus answer; 0: unknown.")
    tools: bool = Field(False, description="Whether it can call tools.")
    quality: dict[str, float] = Field({}, description="Prior quality in [0, 1] by intent or use case.")
    cost_per_mtok: float = Field(0, ge=0, description="Price of a million tokens, in any one currency.")
    tokens_per_s: float = Field(0, ge=0, description="Expected speed; 0: unknown. Corrected by measurement.")


class ManagedBase(ModelBase):
    """A model whose process Pointsman starts and stops."""

    preload: bool = Field(False, description="Load at start.")
    pin: bool = Field(False, description="Never evict.")
    ttl_s: float | None = Field(None, gt=0, description="Unload after this long without use.")
    memory_gb: float | None = Field(None, gt=0, description="Footprint; default: estimated by the backend.")
    slots: int = Field(1, ge=1, description="Requests it answers at the same time.")
    threads: int | None = Field(None, ge=1, description="Compute threads; default: cores − 1.")


class LlamaCppModel(ManagedBase):
    """llama.cpp in a child process (`xllamacpp`)."""

    backend: Literal["llama_cpp"]
    source: Source
    n_ctx: int = Field(4096, ge=256, description="Context of each slot, tokens.")
    gpu_layers: int = Field(0, ge=0, description="Layers to put on the GPU.")
    sampling: dict[str, float] = Field({}, description="Sampling defaults for what the caller leaves open: temperature, top_p …")


class SttModel(ManagedBase):
    """faster-whisper in a child process."""

    backend: Literal["stt"]
    source: Source
    beam_size: int = Field(1, ge=1)
    initial_prompts: dict[str, str] = Field({}, description="Language → prompt that fixes the script, such as Devanagari for hi.")


class TtsModel(ManagedBase):
    """piper where a voice is given, espeak-ng for every other language, in one child process."""

    backend: Literal["tts"]
    voices: dict[str, Source] = Field({}, description="Language → piper voice.")
    default_language: str = "en"


class OcrModel(ManagedBase):
    """RapidOCR and video frame sampling in a child process: a modest reader of images and short videos."""

    backend: Literal["ocr"]
    max_frames: int = Field(8, ge=1, le=64, description="Frames sampled from a video.")
    speech: Source | None = Field(None, description="Whisper weights, to transcribe a video's sound too.")


class OpenAiModel(ModelBase):
    """Any OpenAI-compatible URL; several URLs are instances of one model."""

    backend: Literal["openai"]
    url: str | None = Field(None, pattern=r"^https?://", description="Base URL, with /v1 where the server has it.")
    urls: tuple[Annotated[str, Field(pattern=r"^https?://")], ...] = ()
    model: str | None = Field(None, description="What the server calls the model; default: the id.")
    api_key_env: str | None = Field(None, description="Environment variable that holds the key. Keys are never in this file.")
    slots: int = Field(64, ge=1, description="Requests each instance may have under way.")
    stream_usage: bool = Field(True, description="Ask for token usage at the end of streams.")

    def all_urls(self) -> tuple[str, ...]:
        return ((self.url,) if self.url else ()) + self.urls


Model = Annotated[LlamaCppModel | SttModel | TtsModel | OcrModel | OpenAiModel, Field(discriminator="backend")]


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    requests: bool = Field(True, description="One JSON line per request on standard error.")


class Settings(Section):
    """The root."""

    server: ServerSettings = ServerSettings.model_construct()
    fleet: FleetSettings = FleetSettings.model_construct()
    retry: RetrySettings = RetrySettings.model_construct()
    routing: RoutingSettings = RoutingSettings.model_construct()
    log: LogSettings = LogSettings.model_construct()
    cache_dir: str = Field("~/.cache/pointsman", description="Where weights and learned figures are kept.")
    aliases: dict[str, str] = Field({}, description="Name → model id.")
    models: tuple[Model, ...] = Field(description="The models, in order of preference where nothing else decides.")

    def cache_path(self) -> Path:
        return Path(self.cache_dir).expanduser()


# ---------------------------------------------------------------- reading


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in a file, overrides applied.

    Raises ConfigError with one line per problem: `FILE:LINE: models[2].memory_gb: …`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read ({error.strerror}); name an existing file",)) from None
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: is not UTF-8 text at byte {error.start}; save it as UTF-8",)) from None
    return parse(text, str(path), os.environ if environ is None else environ)


def parse(text: str, where: str = "settings", environ: Mapping[str, str] | None = None) -> Settings:
    """Like `load`, from text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError((_yaml_problem(error, where),)) from None
    if not isinstance(tree, dict):
        raise ConfigError((f"{where}: must be a mapping with at least `models:`, not {_kind_of(tree)}",))
    lines = dict(_lines(root, ())) if root is not None else {}
    problems = list(_duplicate_keys(root, where)) + _override(tree, environ or {})
    settings = None
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        problems += [_describe(entry, where, lines) for entry in error.errors(include_url=False)]
    if settings is not None:
        problems += [f"{_at(where, lines, path)}{_dotted(path)}: {text}" for path, text in _cross_check(settings)]
    if problems or settings is None:
        raise ConfigError(tuple(problems))
    return settings


def _yaml_problem(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{where}{line}: is not valid YAML: {what}; check indentation, quotes and tabs there"


Path_ = tuple[str | int, ...]


def _lines(node: yaml.Node, path: Path_) -> Iterator[tuple[Path_, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, str(key.value)), key.start_mark.line + 1
            yield from ((p, n) for p, n in _lines(value, (*path, str(key.value))) if p != (*path, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def _duplicate_keys(node: yaml.Node | None, where: str) -> Iterator[str]:
    """YAML takes the last of two equal keys in silence; a person lost the first."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                yield f"{where}:{line}: {name}: stands twice (first on line {seen[name]}); keep one"
            seen[name] = line
            yield from _duplicate_keys(value, where)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicate_keys(value, where)


def _override(tree: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Apply POINTSMAN_SECTION__KEY=value, value read as YAML. Returns problems."""
    problems = []
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX) or name in RESERVED_ENV:
            continue
        path = name.removeprefix(ENV_PREFIX).lower().split("__")
        if path[0] not in Settings.model_fields:
            near = _did_you_mean(path[0], Settings.model_fields)
            problems.append(f"environment {name}: there is no setting `{path[0]}`{near}; unset it or name SECTION__KEY")
            continue
        here = tree
        for step in path[:-1]:
            here = here.setdefault(step, {})
            if not isinstance(here, dict):
                problems.append(f"environment {name}: `{step}` is not a section")
                break
        else:
            try:
                here[path[-1]] = yaml.safe_load(value)
            except yaml.YAMLError:
                here[path[-1]] = value
    return problems


def _describe(entry: Any, where: str, lines: Mapping[Path_, int]) -> str:
    """One pydantic error in the operator's words."""
    path = entry["loc"]
    if path[:1] == ("models",) and len(path) > 2:
        path = (*path[:2], *path[3:])  # pydantic names the union's tag, here the backend, after the index
    kind, context = entry["type"], entry.get("ctx", {})
    if kind == "extra_forbidden":
        said = f"unknown key{_did_you_mean(str(path[-1]), _known_keys(path))}; remove it or correct its name"
    elif kind == "missing":
        said = "is missing; add it"
    elif kind == "union_tag_invalid":
        path = (*path, "backend")
        said = f"`{context['tag']}` is not a backend; use one of {context['expected_tags']}"
    elif kind == "union_tag_not_found":
        said = "has no `backend`; say which engine runs this model: llama_cpp, stt, tts, ocr or openai"
    else:
        said = f"{entry['msg'][0].lower()}{entry['msg'][1:]}, not {_kind_of(entry['input'])}"
    return f"{_at(where, lines, path)}{_dotted(path)}: {said}"


def _known_keys(path: Path_) -> list[str]:
    names: set[str] = set()
    if len(path) == 1:
        names |= set(Settings.model_fields)
    elif path[0] == "models":
        for model in (LlamaCppModel, SttModel, TtsModel, OcrModel, OpenAiModel):
            names |= set(model.model_fields)
    else:
        section = Settings.model_fields.get(str(path[0]))
        annotation = section.annotation if section else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names |= set(annotation.model_fields)
    return sorted(names)


def _cross_check(settings: Settings) -> Iterator[tuple[Path_, str]]:
    """What only the whole tree can tell: names that point nowhere, names used twice."""
    ids = [model.id for model in settings.models]
    if not ids:
        yield ("models",), "is empty; list at least one model"
    for index, name in enumerate(ids):
        if name in ids[:index]:
            yield ("models", index, "id"), f"`{name}` is taken by models[{ids.index(name)}]; ids are unique"
        if name == AUTO:
            yield ("models", index, "id"), "`auto` is the router's own name; choose another"
    for alias, target in settings.aliases.items():
        if target not in ids:
            yield ("aliases", alias), _no_model(target, ids)
        if alias in ids or alias == AUTO:
            yield ("aliases", alias), "is a model's id already; choose another name"
    for label, names in settings.routing.use_cases.items():
        if label not in {*UseCase, *Intent}:
            yield ("routing", "use_cases", label), f"is neither a use case ({', '.join(UseCase)}) nor an intent ({', '.join(Intent)})"
        for position, name in enumerate(names):
            if name not in ids and name not in settings.aliases:
                yield ("routing", "use_cases", label, position), _no_model(name, ids)
    if settings.routing.default_model is not None and settings.routing.default_model not in ids:
        yield ("routing", "default_model"), _no_model(settings.routing.default_model, ids)
    for name in settings.routing.weights:
        if name not in STRATEGIES:
            yield ("routing", "weights", name), f"is not a strategy; use one of {', '.join(STRATEGIES)}"
    for index, model in enumerate(settings.models):
        if isinstance(model, OpenAiModel) and not model.all_urls():
            yield ("models", index, "url"), "is missing; give `url` or `urls`"
        for path, source in sources_of(model):
            if sum(value is not None for value in (source.packaged, source.file, source.url)) != 1:
                yield ("models", index, *path.split(".")), "must name exactly one of `packaged`, `file`, `url`"
        for label, value in model.quality.items():
            if not 0 <= value <= 1:
                yield ("models", index, "quality", label), f"must lie between 0 and 1, not {value}"
    server = settings.server
    if server.host not in {"127.0.0.1", "localhost", "::1"} and not server.allow_open_network:
        yield ("server", "host"), f"`{server.host}` is open to the network and there are no API keys yet; set `server.allow_open_network: true` behind a firewall or proxy"


def sources_of(model: Model) -> tuple[tuple[str, Source], ...]:
    """The weights a model needs, each with its path inside the model (`source`, `voices.en`); empty for remote models."""
    if isinstance(model, LlamaCppModel | SttModel):
        return (("source", model.source),)
    if isinstance(model, TtsModel):
        return tuple((f"voices.{language}", voice) for language, voice in model.voices.items())
    if isinstance(model, OcrModel) and model.speech:
        return (("speech", model.speech),)
    return ()


def _no_model(name: str, ids: list[str]) -> str:
    return f"there is no model `{name}`{_did_you_mean(name, ids)}; models are {', '.join(ids)}"


def _did_you_mean(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _dotted(path: Path_) -> str:
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else str(step)
    return out or "settings"


def _at(where: str, lines: Mapping[Path_, int], path: Path_) -> str:
    """`FILE:LINE: ` of the nearest ancestor that stands in the file."""
    for length in range(len(path), -1, -1):
        if path[:length] in lines:
            return f"{where}:{lines[path[:length]]}: "
    return f"{where}: "


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"`{value}`" if len(str(value)) <= 40 else f"{type(value).__name__} of {len(str(value))} characters"
