"""One frozen settings tree from one YAML file, environment overrides on top.

Knows: names, ranges, cross references. Does not know: what anything is for beyond its description, nor any engine.
Strict: nothing is converted but whole numbers to numbers; unknown keys are refused; a problem names its line, and all
problems are told at once. A reload makes a new tree; nobody edits one.
"""

import copy
import ipaddress
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from pointsman import settings_file as file
from pointsman import settings_legacy as legacy
from pointsman import settings_words as words
from pointsman.errors import ConfigError
from pointsman.settings_access import AdmissionSettings, KeySettings, MediaSettings
from pointsman.settings_bandit import BanditSettings
from pointsman.settings_base import LABELS, Alias, Hardness, Id, Label, Section, Share, Url, Variable, Words
from pointsman.settings_cache import CacheSettings, SemanticSettings
from pointsman.settings_experiments import ExperimentSettings, GuardSettings, misplaced
from pointsman.settings_file import KeyPath
from pointsman.settings_fleet import BreakerSettings, FleetSettings
from pointsman.settings_ledger import LedgerSettings
from pointsman.settings_models import (
    CommandModel,
    CustomModel,
    E5Model,
    ExternalBase,
    LlamaCppModel,
    ManagedBase,
    MaxServeModel,
    Model,
    ModelBase,
    ModelLimits,
    OcrModel,
    OpenAiModel,
    Source,
    SttModel,
    TransformersModel,
    TtsModel,
    VllmModel,
    sources_of,
)
from pointsman.settings_rag import RagSettings
from pointsman.settings_telemetry import AlertSettings, TelemetrySettings
from pointsman.types import Intent, UseCase

__all__ = [
    "LABELS",
    "AdmissionSettings",
    "AlertSettings",
    "BanditSettings",
    "BreakerSettings",
    "CacheSettings",
    "CommandModel",
    "CustomModel",
    "E5Model",
    "ExperimentSettings",
    "ExternalBase",
    "FleetSettings",
    "GuardSettings",
    "KeySettings",
    "LedgerSettings",
    "LlamaCppModel",
    "ManagedBase",
    "MaxServeModel",
    "MediaSettings",
    "Model",
    "ModelBase",
    "ModelLimits",
    "OcrModel",
    "OpenAiModel",
    "RagSettings",
    "Section",
    "SemanticSettings",
    "Settings",
    "Source",
    "SttModel",
    "TelemetrySettings",
    "TransformersModel",
    "TtsModel",
    "VllmModel",
    "load",
    "parse",
    "schema",
    "sources_of",
    "text_of",
]

AUTO = "auto"
Strategy = Literal["balanced", "quality", "cost", "latency", "round_robin", "least_busy", "fixed"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)


class ServerSettings(Section):
    """Where the server listens and what it puts up with."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8001, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allowed_hosts: tuple[Words, ...] = Field(
        (), description="Names by which clients may ask, beside the address; default: `localhost`."
    )
    max_body_mb: float = Field(32, gt=0, description="Largest request body; a larger one is refused with 413.")
    body_timeout_s: float = Field(30, gt=0, description="A body must have arrived after this long.")
    admin_key_env: Variable | None = Field(
        None, description="Environment variable that holds the key for `/models` and `/aliases`; none: loopback only."
    )
    request_timeout_s: float = Field(
        300, gt=0, description="The one deadline of a request, waiting and retries included."
    )
    keep_alive_s: float = Field(
        15, gt=0, description="An event stream silent for this long gets a comment, so that no proxy closes it."
    )
    drain_timeout_s: float = Field(30, ge=0, description="On SIGTERM: how long requests under way may still take.")
    drain_delay_s: float = Field(
        0, ge=0, description="On SIGTERM: how long new requests are still taken, while `/ready` answers 503 already."
    )
    reload: bool = Field(True, description="Follow changes of this file; false: only SIGHUP and `POST /admin/reload`.")


class RetrySettings(Section):
    """How hard one request is tried before its caller hears of a failure."""

    max_attempts: int = Field(
        5,
        ge=1,
        le=20,
        description="After so many attempts nobody is asked a second time; a first try every candidate has.",
    )
    backoff_s: float = Field(
        0.1, ge=0, description="Base of the exponential back-off with full jitter on one deployment."
    )
    backoff_max_s: float = Field(5, gt=0, description="Ceiling of that back-off.")
    first_byte_timeout_s: float = Field(
        120, gt=0, description="A deployment that sends nothing for this long has failed."
    )
    first_token_timeout_s: float = Field(
        120, gt=0, description="A stream that has begun must have said something after this long; roles do not count."
    )
    idle_timeout_s: float = Field(
        60,
        gt=0,
        description="A stream silent for this long after its first byte is cut, and so is a whole answer that is not "
        "there this long after it.",
    )
    min_events_per_s: float = Field(0, ge=0, description="A stream slower than this has failed; 0: none is too slow.")
    pace_window_s: float = Field(10, gt=0, description="Over how long that is measured; waiting readers do not count.")
    hedge: bool = Field(
        False,
        description="Where the first candidate keeps silent, ask the second too, if it is ready and free; the first "
        "to answer wins, the other is cancelled.",
    )
    hedge_after_s: float | None = Field(
        None, gt=0, description="That silence; default: learned, the 95th percentile of its last 64 first bytes."
    )
    continuation: bool = Field(
        False,
        description="A chat stream cut after its first token is taken up by the next candidate that can go on writing "
        "another's answer. Callers may ask for it themselves (`x-routing.continuation`).",
    )


class RuleSet(Section):
    """The labels a rule proposes; at least one."""

    use_case: UseCase | None = Field(None, description="What kind of work the request is.")
    intent: Intent | None = Field(None, description="Inside the use case `agent`: what it is about.")
    complexity: Hardness | None = Field(None, description="How hard it is; `simple` is `low`, `complex` is `high`.")

    @model_validator(mode="after")
    def _proposes(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise words.said("proposes nothing; set `use_case`, `intent` or `complexity`")
        return self


class RuleSettings(Section):
    """A keyword rule: when it matches the user's words, it proposes labels with a confidence."""

    name: Words = Field(description="Shown as evidence in explanations.")
    any: tuple[Words, ...] = Field((), description="Words or phrases, matched whole and caseless, in any script.")
    all: tuple[Words, ...] = Field((), description="All of these must occur too.")
    none: tuple[Words, ...] = Field((), description="None of these may occur.")
    set: RuleSet = Field(description="The labels proposed.")
    confidence: float = Field(0.8, gt=0, le=1, description="high ≥ .7, medium ≥ .4, low ≥ .2.")
    override: bool = Field(
        False, description="true: wins over the classifier; false: counts as one more piece of evidence."
    )

    @model_validator(mode="after")
    def _matches(self) -> Self:
        if not self.any and not self.all:
            raise words.said("would match every request; give `any` or `all`")
        return self


class StrategyWeights(Section):
    """Weights of the score terms, each in [0, 1]. Defaults are those of `balanced`; other strategies have theirs."""

    quality: float = Field(1.0, ge=0, description="How good the model is known to be at this kind of request.")
    preference: float = Field(1.0, ge=0, description="Its place in the use-case matrix.")
    language: float = Field(0.6, ge=0, description="Whether it is good for the request's language.")
    cost: float = Field(0.2, ge=0, description="How cheap it is beside the others.")
    latency: float = Field(0.5, ge=0, description="How soon it is expected to answer.")
    readiness: float = Field(0.8, ge=0, description="Whether it is loaded, or how soon it would be.")
    load: float = Field(0.4, ge=0, description="How little it has to do just now.")
    health: float = Field(0.6, ge=0, description="How well its recent calls went.")
    stickiness: float = Field(
        0.25, ge=0, description="Whether it answered the turn before: its prompt cache is warm for this conversation."
    )


class Objective(Section):
    """A name that callers use as `model`: a way to choose, where an alias is a model. A request's own limits win."""

    strategy: Strategy = Field("balanced", description="What ranks the candidates.")
    weights: StrategyWeights | None = Field(None, description="Instead of the strategy's own; absent ones stay.")
    models: tuple[Id, ...] = Field((), description="Only these are chosen from; empty: all.")
    max_cost_per_mtok: float | None = Field(None, ge=0, description="Dearer models are left out.")
    max_latency_s: float | None = Field(None, gt=0, description="So are those expected to take longer.")


class EncoderSettings(Section):
    """The multilingual encoder, asked where the fast classifier is unsure; without its package it is not asked."""

    enabled: bool = Field(True, description="false: the fast classifier has the last word.")
    deadline_ms: float = Field(60, gt=0, description="A request waits this long for the encoder, then goes on without.")
    cache: int = Field(4096, ge=0, description="Texts whose vector is kept, 1.5 kB each.")


class RoutingSettings(Section):
    """How a request is understood and which model it goes to."""

    enabled: bool = Field(True, description="false: `auto` always means `default_model`, and experiments rest.")
    default_model: Id | None = Field(
        None,
        description="Model for `auto` where nothing else speaks; default: the first chat model, with routing off the "
        "large one of a small/large pair.",
    )
    strategy: Strategy = Field("balanced", description="What ranks the candidates that can answer.")
    weights: Mapping[Annotated[str, *words.one_of(STRATEGIES)], StrategyWeights] = Field(
        {}, description="Weights by strategy; what is absent keeps its default."
    )
    objectives: Mapping[Id, Objective] = Field(
        {}, description="Name → a way to choose, to be named as `model`: `thrifty: {strategy: cost}`."
    )
    use_cases: Mapping[Label, tuple[Alias, ...]] = Field(
        {},
        description="Use case or agent intent → models in order of preference: the use-case matrix. An intent's are "
        "followed by those of `agent`.",
    )
    fallbacks: Mapping[Id, tuple[Id, ...]] = Field(
        {},
        description="Model → who answers in its stead, in this order, where a request names it and it cannot; "
        "`auto` falls back to every model that can answer.",
    )
    rules: tuple[RuleSettings, ...] = Field((), description="Keyword rules, checked before the built-in ones.")
    builtin_rules: bool = Field(True, description="Keep the built-in rules of the ten languages.")
    abstain_below: Share = Field(
        0.4, description="A label less sure than this falls back to its safe default; a language to `und`."
    )
    profile: Words | None = Field(
        None, description="A quality profile, as `pointsman calibrate` and `pointsman quality fit` write them."
    )
    encoder: EncoderSettings = Field(EncoderSettings(), description="The second opinion on what is unsure.")
    bandit: BanditSettings = Field(BanditSettings.model_construct(), description="Learning from verdicts.")


class LogSettings(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is written.")
    requests: bool = Field(True, description="One JSON line per request on standard error.")


class Settings(Section):
    """The root."""

    server: ServerSettings = Field(ServerSettings.model_construct(), description="The HTTP server.")
    fleet: FleetSettings = Field(FleetSettings.model_construct(), description="The managed models' memory and health.")
    retry: RetrySettings = Field(RetrySettings.model_construct(), description="Retries, fallbacks and time-outs.")
    routing: RoutingSettings = Field(RoutingSettings.model_construct(), description="Classification and choice.")
    cache: CacheSettings = Field(CacheSettings.model_construct(), description="Answers that are given again.")
    keys: tuple[KeySettings, ...] = Field((), description="API keys; none: nobody is asked for one.")
    admission: AdmissionSettings = Field(
        AdmissionSettings.model_construct(), description="Who comes in, and who waits."
    )
    media: MediaSettings = Field(MediaSettings.model_construct(), description="Links in requests.")
    experiments: tuple[ExperimentSettings, ...] = Field((), description="Pairs of models that are compared.")
    rag: RagSettings = Field(RagSettings.model_construct(), description="Documents that questions are answered from.")
    log: LogSettings = Field(LogSettings.model_construct(), description="Logging.")
    ledger: LedgerSettings = Field(LedgerSettings.model_construct(), description="What is kept of every request.")
    telemetry: TelemetrySettings = Field(TelemetrySettings.model_construct(), description="Traces.")
    alerts: tuple[AlertSettings, ...] = Field((), description="Webhooks that hear of events.")
    cache_dir: Words = Field("~/.cache/pointsman", description="Where weights and learned figures are kept.")
    hub_url: Url | None = Field(
        None, description="Hub that `source.hub` means; default: the variable `HF_ENDPOINT`, else the public hub."
    )
    aliases: Mapping[Alias, Id] = Field({}, description="Name, such as ORG/NAME → model id.")
    models: tuple[Model, ...] = Field(description="The models, in order of preference where nothing else decides.")

    def cache_path(self) -> Path:
        return Path(self.cache_dir).expanduser()


# ---------------------------------------------------------------- reading


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in a file, overrides applied.

    Raises ConfigError with one line per problem: `FILE:LINE: models[2].memory_gb: …`.
    """
    return parse(text_of(path), str(path), os.environ if environ is None else environ)


def text_of(path: Path) -> str:
    """The file's text. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read ({error.strerror}); name an existing file",)) from None
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: is not UTF-8 text at byte {error.start}; save it as UTF-8",)) from None


def parse(text: str, where: str = "settings", environ: Mapping[str, str] | None = None) -> Settings:
    """Like `load`, from text. Total: raises ConfigError or nothing."""
    document = file.read(text, where, environ or {})
    legacy.lay_over(document, environ or {})
    settings, problems = _validate(document.tree)
    judged = settings or _validate(_without(document.tree, [path for path, _ in problems]))[0]
    if judged:
        problems += [found for found in _cross_check(judged) if not _is_told(found[0], problems)]
    lines = (*document.problems, *(document.problem(path, said) for path, said in problems))
    if settings is None or lines:
        raise ConfigError(lines)
    return settings


def schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors. Cross references are beyond it: `pointsman check` knows them."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pointsman settings",
        **Settings.model_json_schema(),
    }


Problem = tuple[KeyPath, str]


def _validate(tree: Mapping[str, Any]) -> tuple[Settings | None, list[Problem]]:
    # As JSON: a list is then a tuple's own form and a word an enum's, while all else stays strict.
    try:
        return Settings.model_validate_json(json.dumps(tree)), []
    except ValidationError as error:
        told = error.errors(include_url=False)
        return None, [(words.without_tag(entry, Settings), words.words_of(entry, Settings)) for entry in told]


def _without(tree: Mapping[str, Any], paths: list[KeyPath]) -> dict[str, Any]:
    """A copy without what was wrong, so that the rest can still be checked for names that point nowhere."""
    pruned: dict[str, Any] = copy.deepcopy(dict(tree))
    for path in paths:
        here: Any = pruned
        for step in path[:-1]:
            here = here[step]
        if isinstance(here, dict):
            here.pop(path[-1], None)
    return pruned


def _is_told(path: KeyPath, problems: list[Problem]) -> bool:
    return any(path[: len(told)] == told[: len(path)] for told, _ in problems)


def _cross_check(settings: Settings) -> Iterator[Problem]:
    """What only the whole tree can tell: names that point nowhere, names used twice, what could never run."""
    ids = [model.id for model in settings.models]
    if not ids:
        yield ("models",), "is empty; list at least one model"
    yield from _check_names(settings, ids)
    yield from _check_routing(settings.routing, ids, settings.aliases)
    if (baseline := settings.ledger.baseline_model) is not None and baseline not in ids:
        yield ("ledger", "baseline_model"), _no_model(baseline, ids)
    yield from _check_budget(settings)
    for path, name, said in misplaced(settings.experiments, ids):
        yield path, said or _no_model(name, ids)
    if not settings.keys and not _is_loopback(settings.server.host):
        said = "is open to the network and there are no API keys"
        remedy = "make one with `pointsman key NAME` and put it under `keys`, or listen on 127.0.0.1"
        yield ("server", "host"), f"{words.quoted(settings.server.host)} {said}; {remedy}"
    yield from _check_keys(settings, ids)


def _check_keys(settings: Settings, ids: list[str]) -> Iterator[Problem]:
    for index, key in enumerate(settings.keys):
        for other in settings.keys[:index]:
            if key.name == other.name or key.sha256 == other.sha256:
                same = "name" if key.name == other.name else "sha256"
                yield ("keys", index, same), "stands in another entry too; each key has its own"
        for position, model in enumerate(key.models):
            if model not in ids:
                yield ("keys", index, "models", position), _no_model(model, ids)
        objectives = settings.routing.objectives
        if key.objective is not None and key.objective not in objectives:
            there_are = f"objectives are {', '.join(objectives)}" if objectives else "`routing.objectives` has none"
            near = words.did_you_mean(key.objective, objectives)
            yield ("keys", index, "objective"), f"there is no objective `{key.objective}`{near}; {there_are}"


def _check_names(settings: Settings, ids: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(ids):
        if name in ids[:index]:
            yield ("models", index, "id"), f"`{name}` is taken by models[{ids.index(name)}]; ids are unique"
        if name == AUTO:
            yield ("models", index, "id"), "`auto` is the router's own name; choose another"
    for alias, target in settings.aliases.items():
        if alias == AUTO:
            yield ("aliases", alias), "`auto` is the router's own name; choose another"
        if alias in ids:
            yield ("aliases", alias), f"a model has this id (models[{ids.index(alias)}]); choose another name"
        if target not in ids:
            yield ("aliases", alias), _no_model(target, ids)
    for name, objective in settings.routing.objectives.items():
        if name == AUTO or name in ids or name in settings.aliases:
            taken = "the router's own name" if name == AUTO else "taken by a model" if name in ids else "an alias"
            yield ("routing", "objectives", name), f"`{name}` is {taken}; choose another"
        for position, model in enumerate(objective.models):
            if model not in ids:
                yield ("routing", "objectives", name, "models", position), _no_model(model, ids)


def _check_routing(routing: RoutingSettings, ids: list[str], aliases: Mapping[str, str]) -> Iterator[Problem]:
    if routing.default_model is not None and routing.default_model not in ids:
        yield ("routing", "default_model"), _no_model(routing.default_model, ids)
    for label, names in routing.use_cases.items():
        for position, name in enumerate(names):
            if name not in ids and name not in aliases:
                yield ("routing", "use_cases", label, position), _no_model(name, ids)
    for model, names in routing.fallbacks.items():
        if model not in ids:
            yield ("routing", "fallbacks", model), _no_model(model, ids)
        for position, name in enumerate(names):
            if name not in ids:
                yield ("routing", "fallbacks", model, position), _no_model(name, ids)
            elif name == model or name in names[:position]:
                said = "stands in for itself" if name == model else "is named twice"
                yield ("routing", "fallbacks", model, position), f"`{name}` {said}; name each once"


def _check_budget(settings: Settings) -> Iterator[Problem]:
    for index, model in enumerate(settings.models):
        if isinstance(model, ManagedBase) and not model.is_attached:
            for name, said in _beyond(settings.fleet, model):
                yield ("models", index, name), said


def _beyond(fleet: FleetSettings, model: ManagedBase) -> Iterator[tuple[str, str]]:
    """What of the model's memory no budget will ever hold, and why."""
    for name, budget in (("memory_gb", "memory_budget_gb"), ("gpu_memory_gb", "gpu_memory_budget_gb")):
        wanted, given = getattr(model, name), getattr(fleet, budget)
        if wanted and given and wanted > given:
            said = f"{wanted:g} is more than `fleet.{budget}: {given:g}`, so it could never be loaded"
            yield name, f"{said}; correct one of the two"
    share = model.share if isinstance(model, VllmModel) else None
    if share and share > fleet.memory_fraction and fleet.gpu_memory_budget_gb is None and model.gpu_memory_gb is None:
        said = f"{share:g} is more than `fleet.memory_fraction: {fleet.memory_fraction:g}` of a GPU"
        remedy = "leave it out to take just that, or say how much models may take by `fleet.gpu_memory_budget_gb`"
        yield "gpu_memory_utilization", f"{said}, so it could never be loaded; {remedy}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_model(name: str, ids: list[str]) -> str:
    return f"there is no model `{name}`{words.did_you_mean(name, ids)}; models are {', '.join(ids)}"
