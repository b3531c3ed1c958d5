"""Settings: the shipped file, strictness, every main message, variables, and totality on any text at all."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from pointsman import settings
from pointsman.errors import ConfigError
from pointsman.policy.scores import TERMS
from pointsman.settings import OpenAiModel, Settings, load, parse, schema, sources_of

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(ROOT.glob("examples/*.yaml"))
MODEL = "models: [{id: a, backend: openai, url: 'http://x/v1'}]\n"


def problems(text: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f", environ)
    return caught.value.problems


def with_model(lines: str) -> str:
    """A file with one llama.cpp model and these further lines in it."""
    return "models:\n  - id: a\n    backend: llama_cpp\n    source: {file: /w.gguf}\n    " + lines


# ---------------------------------------------------------------- what is read


def test_the_shipped_settings_are_the_embedded_default() -> None:
    shipped = load(ROOT / "pointsman.yaml", {})
    assert shipped.server.host == "127.0.0.1"
    assert shipped.server.port == 8001
    assert {model.backend for model in shipped.models} == {"llama_cpp", "stt", "tts", "ocr", "e5"}
    assert shipped.aliases["small"] == "smollm2-135m-instruct"
    assert all(source.packaged for model in shipped.models for _, source in sources_of(model))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    assert load(path, {}).models


def test_a_minimal_file_takes_every_default() -> None:
    read = parse(MODEL)
    assert (read.retry.max_attempts, read.fleet.memory_fraction, read.log.level) == (5, 0.8, "info")
    (model,) = read.models
    assert isinstance(model, OpenAiModel)
    assert model.all_urls() == ("http://x/v1",)


def test_the_tree_is_frozen() -> None:
    read = parse(MODEL)
    with pytest.raises(ValueError, match="frozen"):
        read.server.port = 1  # type: ignore[misc]  # what must not work


def test_sources_of_names_each_weight_and_its_place() -> None:
    text = """models:
  - {id: s, backend: tts, voices: {en: {file: /en.onnx}, hi: {url: 'http://x/hi.onnx'}}}
  - {id: o, backend: ocr, speech: {packaged: whisper}}
  - {id: q, backend: ocr}
  - {id: r, backend: openai, url: 'http://x'}
  - {id: l, backend: llama_cpp, source: {file: /q8.gguf}, variants: [{file: /q4.gguf}, {file: /q2.gguf}]}
"""
    assert [[place for place, _ in sources_of(model)] for model in parse(text).models] == [
        ["voices.en", "voices.hi"],
        ["speech"],
        [],
        [],
        ["source", "variants[0]", "variants[1]"],
    ]


def test_cache_dir_may_name_the_home_folder() -> None:
    assert parse("cache_dir: ~/x\n" + MODEL).cache_path() == Path.home() / "x"


def test_anchors_and_merge_keys_share_what_models_have_in_common() -> None:
    text = """models:
  - &base {id: a, backend: openai, url: "http://x/v1", slots: 3, quality: {code: 0.5}}
  - {<<: *base, id: b, slots: 4}
  - {<<: [{slots: 9, tools: true}, *base], id: c}
"""
    first, second, third = parse(text).models
    assert isinstance(second, OpenAiModel)
    assert isinstance(third, OpenAiModel)
    assert (second.id, second.url, second.slots, second.quality) == ("b", "http://x/v1", 4, first.quality)
    assert (third.slots, third.tools) == (9, True)


def test_norwegian_is_a_language() -> None:
    assert parse(with_model("languages: [no, on]\n")).models[0].languages == ("no", "on")


# ---------------------------------------------------------------- what is refused, in which words

BACKENDS = ", ".join(
    get_args(model.model_fields["backend"].annotation)[0] for model in get_args(get_args(settings.Model)[0])
)
LABELS = "avatar, stt, tts, agent, multimodal, video, code, reasoning, general"
PORT = "server.port: must be a whole number"
REFUSED = [
    ("server: {port: '8001'}\n", 1, f"{PORT}, not the text `8001`; remove the quotes"),
    ("server: {port: 0777}\n", 1, f"{PORT}, not the text `0777`"),
    ("server: {port: 80.5}\n", 1, f"{PORT}, not `80.5`"),
    ("server: {port: true}\n", 1, f"{PORT}, not `true`"),
    ("server: {port: 70000}\n", 1, "server.port: must be at most 65535, not `70000`"),
    ("server:\n  port:\n", 2, "server.port: is empty; give it a value or remove the key"),
    ("server:\n", 1, "server: is empty; give it a value or remove the key"),
    ("server: [1]\n", 1, "server: must be a mapping of `key: value` lines, not a list"),
    ("server: {max_body_mb: true}\n", 1, "server.max_body_mb: must be a number, not `true`"),
    ("server: {max_body_mb: 0}\n", 1, "server.max_body_mb: must be greater than 0, not `0`"),
    ("server: {max_body_mb: .inf}\n", 1, "server.max_body_mb: must be a number, not the text `.inf`"),
    ("server: {host: 127}\n", 1, "server.host: must be text, not `127`; put it in quotes"),
    ("server: {prot: 1}\n", 1, "server.prot: unknown key (did you mean `port`?); remove it or correct its name"),
    ("sever: {}\n", 1, "sever: unknown key (did you mean `server`?); remove it or correct its name"),
    ("routing: {enabled: yes}\n", 1, "routing.enabled: must be true or false, not the text `yes`"),
    (
        "routing: {enabled: 'true'}\n",
        1,
        "routing.enabled: must be true or false, not the text `true`; remove the quotes",
    ),
    (
        "routing: {strategy: latncy}\n",
        1,
        (
            "routing.strategy: must be one of balanced, quality, cost, latency, round_robin, least_busy, fixed, "
            "not the text `latncy` (did you mean `latency`?)"
        ),
    ),
    (
        "routing:\n  weights:\n    balanced: {qualty: 1}\n",
        3,
        "routing.weights.balanced.qualty: unknown key (did you mean `quality`?); remove it or correct its name",
    ),
    (
        "routing: {use_cases: {cod: [a]}}\n",
        1,
        (f"routing.use_cases.cod: must be one of {LABELS}, not `cod` (did you mean `code`?)"),
    ),
    (
        "routing: {use_cases: {code: a}}\n",
        1,
        "routing.use_cases.code: must be a list, such as [a, b], not the text `a`",
    ),
    (
        "routing:\n  rules:\n    - {name: r, any: [x], set: {}}\n",
        3,
        "routing.rules[0].set: proposes nothing; set `use_case`, `intent` or `complexity`",
    ),
    (
        "routing:\n  rules:\n    - {name: r, none: [x], set: {intent: code}}\n",
        3,
        "routing.rules[0]: would match every request; give `any` or `all`",
    ),
    ("aliases: {b: c}\n", 1, "aliases.b: there is no model `c`; models are a"),
    ("aliases: {a: a}\n", 1, "aliases.a: a model has this id (models[0]); choose another name"),
    ("aliases: {auto: a}\n", 1, "aliases.auto: `auto` is the router's own name; choose another"),
    ("aliases: {'a b': a}\n", 1, "aliases.a b: must be letters, digits and any of . _ : - /, not `a b`"),
    (
        "routing: {default_model: aa}\n",
        1,
        "routing.default_model: there is no model `aa` (did you mean `a`?); models are a",
    ),
    (
        "server: {host: 0.0.0.0}\n",
        1,
        (
            "server.host: `0.0.0.0` is open to the network and there are no API keys; "
            "make one with `pointsman key NAME` and put it under `keys`, or listen on 127.0.0.1"
        ),
    ),
    ("server: {port: 1, port: 2}\n", 1, "server.port: stands twice (first at f:1); keep one"),
    (
        "server: !!python/name:os.system {}\n",
        1,
        "server: has the tag `tag:yaml.org,2002:python/name:os.system`; remove it",
    ),
    ("server: {[1]: 2}\n", 1, "server: has a list or a mapping for a key; write `key: value`"),
    ("server: {<<: 3}\n", 1, "server: `<<` takes mappings only; point it at the `&name` of a mapping"),
]


@pytest.mark.parametrize(("text", "line", "said"), REFUSED, ids=[said[:60] for _, _, said in REFUSED])
def test_a_problem_names_its_line_its_key_and_the_remedy(text: str, line: int, said: str) -> None:
    assert problems(text + MODEL) == (f"f:{line}: {said}",)


SAMPLING = "temperature, top_p, top_k, min_p, seed, frequency_penalty, presence_penalty, repeat_penalty, typical_p"
MODELS_REFUSED = [
    ("memory_gb: -1\n", 5, "models[0].memory_gb: must be greater than 0, not `-1`"),
    ("quality: {code: 2}\n", 5, "models[0].quality.code: must be at most 1, not `2`"),
    (
        "quality: {coding: 1}\n",
        5,
        f"models[0].quality.coding: must be one of {LABELS}, not `coding` (did you mean `code`?)",
    ),
    (
        "inputs: [txt]\n",
        5,
        "models[0].inputs[0]: must be one of text, image, audio, video, not the text `txt` (did you mean `text`?)",
    ),
    ("languages: [English]\n", 5, "models[0].languages[0]: must be a language code such as en or hi, not `English`"),
    ("beam_size: 3\n", 5, "models[0].beam_size: is a key of backend stt, not of this one; remove it"),
    (
        "sampling: {top: 1}\n",
        5,
        f"models[0].sampling.top: must be one of {SAMPLING}, not `top` (did you mean `top_p`?)",
    ),
]


@pytest.mark.parametrize(("lines", "line", "said"), MODELS_REFUSED, ids=[said[:60] for _, _, said in MODELS_REFUSED])
def test_a_model_s_problems(lines: str, line: int, said: str) -> None:
    assert problems(with_model(lines)) == (f"f:{line}: {said}",)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("3", "models[0]: must be a mapping of `key: value` lines, not `3`"),
        (
            "{id: a}",
            f"models[0].backend: is missing; say which engine runs this model: {BACKENDS}",
        ),
        (
            "{id: a, backend: lama_cpp}",
            f"models[0].backend: must be one of {BACKENDS}, not `lama_cpp` (did you mean `llama_cpp`?)",
        ),
        ("{backend: ocr}", "models[0].id: is missing; add it"),
        ("{id: 3, backend: ocr}", "models[0].id: must be text, not `3`; put it in quotes"),
        ("{id: auto, backend: ocr}", "models[0].id: `auto` is the router's own name; choose another"),
        ("{id: a, backend: stt}", "models[0].source: is missing; add it"),
        (
            "{id: a, backend: stt, source: {}}",
            "models[0].source: must name exactly one of `packaged`, `file`, `url`, `hub`",
        ),
        (
            "{id: a, backend: stt, source: {file: x, url: 'http://x'}}",
            "models[0].source: must name exactly one of `packaged`, `file`, `url`, `hub`",
        ),
        (
            f"{{id: a, backend: stt, source: {{packaged: x, sha256: {'0a' * 32}}}}}",
            "models[0].source: has a `sha256`, but packaged weights carry their own; remove it",
        ),
        (
            "{id: a, backend: stt, source: {file: x, sha256: beef}}",
            "models[0].source.sha256: must be 64 hexadecimal digits, lower case, not `beef`",
        ),
        (
            "{id: a, backend: tts, voices: {english: {file: x}}}",
            "models[0].voices.english: must be a language code such as en or hi, not `english`",
        ),
        ("{id: a, backend: openai}", "models[0]: has no URL; give `url` or `urls`"),
        (
            "{id: a, backend: openai, urls: ['http://x', 'http://x']}",
            "models[0]: names one URL twice; each instance has its own",
        ),
    ],
)
def test_a_model_that_is_none(model: str, said: str) -> None:
    assert problems(f"models:\n  - {model}\n") == (f"f:2: {said}",)


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "http://", "x:80", "http://x:0", "http://x:99999", "http://x?q=1", "http://[", "http://x y", "http:x"],
)
def test_a_url_that_leads_nowhere(url: str) -> None:
    said = f"models[0].url: must be a URL such as http://127.0.0.1:8000/v1, not `{url}`"
    assert problems(f"models: [{{id: a, backend: openai, url: '{url}'}}]") == (f"f:1: {said}",)


def test_no_key_or_password_is_ever_repeated() -> None:
    (said,) = problems("models: [{id: a, backend: openai, url: 'http://u:hunter2@x'}]")
    assert said.endswith("must not hold a password; name the variable that holds the key in `api_key_env`")
    (other,) = problems("models: [{id: a, backend: openai, url: 'http://u:hunter2@x?y'}]")
    (key,) = problems("models: [{id: a, backend: openai, url: 'http://x', api_key_env: sk-hunter2}]")
    assert key.endswith("must be the name of an environment variable, never the key itself")
    assert "hunter2" not in said + other + key


def test_ids_are_unique() -> None:
    assert problems("models: [{id: a, backend: ocr}, {id: a, backend: ocr}]") == (
        "f:1: models[1].id: `a` is taken by models[0]; ids are unique",
    )


def test_a_model_larger_than_the_budget() -> None:
    text = "fleet: {memory_budget_gb: 2}\n" + with_model("memory_gb: 3\n")
    said = "models[0].memory_gb: 3 is more than `fleet.memory_budget_gb: 2`, so it could never be loaded"
    assert problems(text) == (f"f:6: {said}; correct one of the two",)


GPU_SHARE = "fleet: {}\nmodels:\n  - id: big\n    backend: vllm\n    model: a/b\n    gpu_memory_utilization: 0.9\n"


def test_a_share_of_a_gpu_that_the_fleet_never_gives() -> None:
    said = "models[0].gpu_memory_utilization: 0.9 is more than `fleet.memory_fraction: 0.8` of a GPU"
    remedy = "leave it out to take just that, or say how much models may take by `fleet.gpu_memory_budget_gb`"
    assert problems(GPU_SHARE) == (f"f:6: {said}, so it could never be loaded; {remedy}",)
    for more in ("kv_cache_gb: 4", "gpu_memory_gb: 20", "gpu_memory_utilization: 0.8"):
        name = more.partition(":")[0]
        kept = "".join(line for line in GPU_SHARE.splitlines(keepends=True) if f" {name}:" not in line)
        assert parse(f"{kept}    {more}\n")
    assert parse(GPU_SHARE.replace("{}", "{gpu_memory_budget_gb: 75}"))
    assert parse(GPU_SHARE.replace("model: a/b", "url: 'http://h/v1'"))


def test_a_model_larger_than_the_budget_of_a_gpu() -> None:
    text = "fleet: {gpu_memory_budget_gb: 8}\nmodels: [{id: m, backend: max_serve, model: a/b, gpu_memory_gb: 9}]"
    assert "gpu_memory_gb: 9 is more than `fleet.gpu_memory_budget_gb: 8`" in problems(text)[0]


def test_no_models() -> None:
    assert problems("models: []") == ("f:1: models: is empty; list at least one model",)
    assert problems("server: {}") == ("f: models: is missing; add it",)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_leave(host: str) -> None:
    assert parse(f"server: {{host: '{host}'}}\n" + MODEL).server.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "127.example.com"])
def test_an_open_address_needs_keys(host: str) -> None:
    assert "is open to the network" in problems(f"server: {{host: '{host}'}}\n" + MODEL)[0]
    keys = f"keys: [{{name: me, sha256: {'b' * 64}}}]\n"
    assert parse(f"server: {{host: '{host}'}}\n{keys}" + MODEL).server.host == host


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{name: me, sha256: pm-secret}", "keys[0].sha256: must be 64 hexadecimal digits"),
        (f"{{name: me, sha256: {'b' * 64}, models: [z]}}", "keys[0].models[0]: there is no model `z`"),
        (f"{{name: me, sha256: {'b' * 64}}}, {{name: me, sha256: {'a' * 64}}}", "keys[1].name: stands in another"),
        (f"{{name: me, sha256: {'b' * 64}}}, {{name: you, sha256: {'b' * 64}}}", "keys[1].sha256: stands in another"),
        (f"{{name: me, sha256: {'b' * 64}, priority: 10}}", "keys[0].priority: must be at most 9"),
    ],
)
def test_keys_that_could_not_work_are_refused(entry: str, told: str) -> None:
    assert told in problems(f"keys: [{entry}]\n" + MODEL)[0]


def test_all_problems_are_told_at_once() -> None:
    text = """server: {port: x, prot: 1}
aliases: {b: nowhere}
routing: {use_cases: {code: [a, nobody]}}
models:
  - {id: a, backend: ocr, max_frames: 0}
  - {id: a, backend: ocr}
"""
    said = problems(text, {"POINTSMAN_LOG__LEVEL": "loud"})
    assert {line.split(": ")[0] + " " + line.split(": ")[1] for line in said} == {
        "f:1 server.port",
        "f:1 server.prot",
        "f:2 aliases.b",
        "f:3 routing.use_cases.code[1]",
        "f:5 models[0].max_frames",
        "f:6 models[1].id",
        "environment POINTSMAN_LOG__LEVEL log.level",
    }
    assert len(said) == 7


def test_one_mistake_is_told_once() -> None:
    """A wrong URL is not also a missing one, a wrong source not also an empty one."""
    assert len(problems("models: [{id: a, backend: openai, url: 3}]")) == 1
    assert len(problems("models: [{id: a, backend: stt, source: {fil: x}}]")) == 1
    assert len(problems("models: 3")) == 1


# ---------------------------------------------------------------- schema and descriptions


def sections(section: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    yield section
    yield from (inner for sub in section.__subclasses__() for inner in sections(sub))


def all_sections() -> list[type[BaseModel]]:
    return [section for section in sections(settings.Section) if section.model_fields]


def test_every_key_is_described() -> None:
    bare = [
        f"{s.__name__}.{name}"
        for s in all_sections()
        for name, field in s.model_fields.items()
        if not field.description
    ]
    assert not bare


def test_every_key_is_read_somewhere() -> None:
    """A setting that nothing reads would be a promise without a keeper."""
    sources = (ROOT / "src/pointsman").rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    unread = {
        f"{section.__name__}.{name}"
        for section in all_sections()
        for name in section.model_fields
        if section is not settings.StrategyWeights and not re.search(rf"\.{name}\b", text)
    }
    assert not unread
    assert set(settings.StrategyWeights.model_fields) == {name for name, _ in TERMS}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["required"] == ["models"]


@pytest.mark.parametrize("path", [ROOT / "pointsman.yaml", *EXAMPLES], ids=lambda path: path.name)
def test_the_schema_takes_what_parse_takes(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema())


@pytest.mark.parametrize(
    "text",
    [
        "server: {prot: 1}\n" + MODEL,
        "server: {port: '1'}\n" + MODEL,
        "routing: {strategy: best}\n" + MODEL,
        "models: [{id: a, backend: openai, url: x}]",
        "models: [{id: a b, backend: openai, url: 'http://x'}]",
        "models: [{id: a, backend: stt, source: {}}]",
        with_model("quality: {coding: 1}\n"),
    ],
)
def test_the_schema_refuses_what_parse_refuses(text: str) -> None:
    assert problems(text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema())
