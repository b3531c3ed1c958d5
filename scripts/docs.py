"""The documents that are made from the code: settings reference, JSON Schema, OpenAPI, endpoints.

`scripts/docs.py` writes them; `scripts/docs.py --check` writes nothing and shows what would change (exit status 1).
A further document is one line of DOCUMENTS.
"""

import difflib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pointsman import settings
from pointsman.app import App
from pointsman.settings_file import ENV_PREFIX

DOCS = Path(__file__).resolve().parent.parent / "docs"

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("server", settings.ServerSettings),
    ("fleet", settings.FleetSettings),
    ("fleet.breaker", settings.BreakerSettings),
    ("retry", settings.RetrySettings),
    ("routing", settings.RoutingSettings),
    ("routing.encoder", settings.EncoderSettings),
    ("routing.bandit", settings.BanditSettings),
    ("routing.rules[]", settings.RuleSettings),
    ("routing.rules[].set", settings.RuleSet),
    ("routing.weights.*", settings.StrategyWeights),
    ("routing.objectives.*", settings.Objective),
    ("keys[]", settings.KeySettings),
    ("admission", settings.AdmissionSettings),
    ("media", settings.MediaSettings),
    ("rag", settings.RagSettings),
    ("cache", settings.CacheSettings),
    ("cache.semantic", settings.SemanticSettings),
    ("experiments[]", settings.ExperimentSettings),
    ("experiments[].guards", settings.GuardSettings),
    ("ledger", settings.LedgerSettings),
    ("log", settings.LogSettings),
    ("telemetry", settings.TelemetrySettings),
    ("alerts[]", settings.AlertSettings),
)
BACKENDS: tuple[type[BaseModel], ...] = (
    settings.LlamaCppModel,
    settings.SttModel,
    settings.TtsModel,
    settings.OcrModel,
    settings.E5Model,
    settings.OpenAiModel,
    settings.VllmModel,
    settings.TransformersModel,
    settings.MaxServeModel,
    settings.CommandModel,
    settings.CustomModel,
)
HEADER = f"""# Configuration reference

One YAML file holds all settings; `pointsman serve --config FILE` reads it, `pointsman check FILE` validates it and
names every problem with its line. Without a file the embedded default, [`pointsman.yaml`](../pointsman.yaml), is used.

- Unknown keys are refused. A key left out keeps its default; a key with nothing after it is a mistake.
- Only `true` and `false` are booleans; text that looks like a number needs quotes.
- `{ENV_PREFIX}SECTION__KEY=value` overrides a plain value, as in `{ENV_PREFIX}SERVER__PORT=9000`. An empty variable
  counts as unset.
- Editors complete and check the file with [`pointsman.schema.json`](pointsman.schema.json): put
  `# yaml-language-server: $schema=…/docs/pointsman.schema.json` on its first line.

This page is made by `make docs` from the descriptions in `src/pointsman/settings.py`.
"""


class Reference:
    """Markdown tables of the settings tree."""

    def __init__(self) -> None:
        self.schema = settings.schema()

    def __str__(self) -> str:
        return "\n".join((HEADER, *self.sections(), *self.models())) + "\n"

    def sections(self) -> Iterator[str]:
        tops = [name for name in settings.Settings.model_fields if name not in {name for name, _ in SECTIONS}]
        yield "## Top level\n"
        yield self.table(self.schema["properties"], self.schema.get("required", ()), tops)
        for name, section in SECTIONS:
            yield f"\n## `{name}`\n\n{section.__doc__}\n"
            yield self.of(section, section.model_fields)

    def models(self) -> Iterator[str]:
        common, managed = settings.ModelBase.model_fields, settings.ManagedBase.model_fields
        yield "\n## `models[]`\n\nKeys of every model:\n"
        yield self.of(settings.OpenAiModel, ("id", "backend", *(name for name in common if name != "id")))
        yield "\nKeys of every model whose process Pointsman runs (not `openai`, nor `vllm` with a `url`):\n"
        yield self.of(settings.OcrModel, (name for name in managed if name not in common))
        for model in BACKENDS:
            tag = self.schema["$defs"][model.__name__]["properties"]["backend"]["const"]
            base = managed if issubclass(model, settings.ManagedBase) else common
            yield f"\n### `backend: {tag}`\n\n{model.__doc__}\n"
            own = [name for name in model.model_fields if name not in base and name != "backend"]
            yield self.of(model, own) if own else "No keys of its own."
        yield f"\n### `limits`\n\n{settings.ModelLimits.__doc__}\n"
        yield self.of(settings.ModelLimits, settings.ModelLimits.model_fields)
        yield f"\n### Source of weights\n\n{settings.Source.__doc__}\n"
        yield self.of(settings.Source, settings.Source.model_fields)

    def of(self, section: type[BaseModel], names: Any) -> str:
        part = self.schema["$defs"][section.__name__]
        return self.table(part["properties"], part.get("required", ()), names)

    def table(self, properties: Mapping[str, Any], required: Any, names: Any) -> str:
        rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
        for name in names:
            field = properties[name]
            default = "required" if name in required else self.default(field)
            meaning = "Which engine runs it." if name == "backend" else field["description"]
            rows.append(f"| `{name}` | {self.kind(field)} | {default} | {meaning} |")
        return "\n".join(rows)

    def default(self, field: Mapping[str, Any]) -> str:
        value = field.get("default")
        return "–" if value in (None, [], {}) or isinstance(value, dict) else f"`{json.dumps(value)}`".replace('"', "")

    def kind(self, field: Mapping[str, Any]) -> str:
        """A JSON Schema node in a few words."""
        if "$ref" in field:
            target = self.schema["$defs"][field["$ref"].rpartition("/")[2]]
            return self.kind(target) if "enum" in target else "section"
        if "anyOf" in field:
            return " or ".join(self.kind(option) for option in field["anyOf"] if option.get("type") != "null")
        if "enum" in field:
            return " \\| ".join(f"`{name}`" for name in field["enum"])
        if "const" in field:
            mapping = self.schema["properties"]["models"]["items"]["discriminator"]["mapping"]
            return " \\| ".join(f"`{name}`" for name in mapping)
        return self.container(field) if field["type"] in {"array", "object"} else self.scalar(field)

    def container(self, field: Mapping[str, Any]) -> str:
        if field["type"] == "array":
            return "list of models" if "oneOf" in field["items"] else f"list of {self.kind(field['items'])}"
        names = field.get("propertyNames", {}).get("enum")
        value = self.kind(field.get("additionalProperties") or next(iter(field["patternProperties"].values())))
        return f"mapping of {', '.join(f'`{name}`' for name in names)} to {value}" if names else f"mapping to {value}"

    def scalar(self, field: Mapping[str, Any]) -> str:
        words = {"integer": "whole number", "number": "number", "boolean": "`true` \\| `false`", "string": "text"}
        signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
        bounds = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
        return " ".join(("URL" if field.get("format") == "uri" else words[field["type"]], ", ".join(bounds))).strip()


def openapi() -> Any:
    """Of a whole app, so that no route can be forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        tree = {"cache_dir": folder, "models": [{"id": "none", "backend": "openai", "url": "http://127.0.0.1"}]}
        return App(settings.parse(json.dumps(tree))).shell.openapi()


API_HEADER = """# HTTP API

Every endpoint, as the [OpenAPI document](openapi.json) has it; a running server shows it at `/docs`. The official
OpenAI and Anthropic clients work as they are: give them the base URL `http://127.0.0.1:8001/v1` (OpenAI) or
`http://127.0.0.1:8001` (Anthropic). Errors are OpenAI's error object, on Anthropic's paths Anthropic's: a code, the
field at fault, and what to do ([troubleshooting](troubleshooting.md) has every code).

- `model` is a model's id, an alias, an objective, or `auto`; for a key with an `objective`, `auto` means that.
- What is known of a request goes with it in the body member `x-routing` (of a form: as JSON in a field of that name, or
  in one field `x-routing[NAME]` each, as OpenAI's clients send it): hints (`use_case`, `intent`, `language`,
  `complexity`, `query_type`, `entities`, `context_docs`) and limits (`deadline_s`, `max_latency_s`,
  `max_cost_per_mtok`, `strategy`, `continuation`, `cache`, `context_tokens`).
- How soon an answer is expected (`max_latency_s`, the strategy `latency`): by what was measured of the deployment of
  late, its time to the first token and its tokens a second after it, else by the model's `tokens_per_s`. The reasons of
  the plan say which it was; of whom neither is known is let through.
- Every answer tells how it was routed: `x-routing-metadata`, in the body where that is JSON, in a stream's first event,
  and as a header. The body lists what was cut of `context_docs`; the header, which clients bound, only counts it.
- On `/v1/messages` the pictures of a tool's result go on in the user's message after it, and that it failed is said in
  its text. What cannot be sent on is refused by its place in the body.
- `x-request-id` is taken over where it is sent, and always returned. A `traceparent` is joined and handed on to the
  model's server; it is not returned.
- A key goes into `Authorization: Bearer …` or `x-api-key`. Operators' paths have a key of their own
  (`server.admin_key_env`); without one they answer on the loopback address only.

This page is made by `make docs`.
"""
OPERATORS = ("/models", "/aliases", "/admin", "/console", "/v1/experiments")


def api() -> str:
    """Endpoints in two tables: what callers ask, what operators ask."""
    tables: dict[str, list[str]] = {"For callers": [], "For operators": []}
    for path, operations in openapi()["paths"].items():
        heading = "For operators" if path.startswith(OPERATORS) else "For callers"
        for method, operation in operations.items():
            tables[heading].append(f"| `{method.upper()} {path}` | {operation['summary']} |")
    parts = [API_HEADER]
    for heading, rows in tables.items():
        parts.append("\n".join((f"## {heading}\n", "| endpoint | |", "|---|---|", *rows, "")))
    return "\n".join(parts)


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


DOCUMENTS: dict[str, Callable[[], str]] = {
    "api.md": api,
    "configuration.md": lambda: str(Reference()),
    "openapi.json": lambda: as_json(openapi()),
    "pointsman.schema.json": lambda: as_json(settings.schema()),
}


def main(arguments: list[str]) -> int:
    is_check = arguments == ["--check"]
    stale = 0
    for name, make in DOCUMENTS.items():
        path, text = DOCS / name, make()
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old == text:
            continue
        stale += 1
        if is_check:
            print(
                *difflib.unified_diff(old.splitlines(), text.splitlines(), f"docs/{name}", "code", lineterm=""),
                sep="\n",
            )
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    if is_check and stale:
        print("\nThe documents lag behind the code: run `make docs` and commit.")
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
