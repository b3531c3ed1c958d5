"""`/docs`: the OpenAPI document as a page for people: no script, nothing from elsewhere, readable without the internet.

Knows: OpenAPI's words, as far as this document uses them. Does not know: any route.
Like the document it shows, the page says nothing about this very server: everybody may read both. Requests are tried
out in the console's playground.
"""

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any

from fastapi import FastAPI, Response

PAGE, DOCUMENT = "/docs", "/openapi.json"
STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; } h3 { margin: 0; font-size: 1rem; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; padding: .5rem .8rem; }
summary { cursor: pointer; } summary h3 { display: inline; } summary span { opacity: .75; }
code, pre { font: 13px/1.5 ui-monospace, monospace; } pre { overflow-x: auto; } .verb { text-transform: uppercase; }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--line); padding: .3rem .5rem .3rem 0;
vertical-align: top; } td:first-child { width: 25%; white-space: nowrap; } a { color: LinkText; }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
Json = dict[str, Any]


def add_manual(shell: FastAPI) -> None:
    """The page; the document itself is FastAPI's to serve."""

    @cache
    def page() -> bytes:
        return page_of(shell.openapi()).encode()

    @shell.get(PAGE, include_in_schema=False)
    async def manual() -> Response:
        headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
        return Response(page(), headers=headers, media_type="text/html")


def page_of(document: Json) -> str:
    """Every operation under its tag, then every schema, which they link to."""
    info, by_tag = document["info"], dict[str, list[str]]()
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(path, verb, operation))
    groups = "\n".join(f"<h2>{escape(tag)}</h2>\n" + "\n".join(rows) for tag, rows in by_tag.items())
    schemas = "\n".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n"
        f"<h1>{title}</h1>\n<p>{escape(info['description'])}</p>\n"
        f'<p>For programs: <a href="{DOCUMENT}">{DOCUMENT}</a>. To try it: <a href="/console">the console</a>.</p>\n'
        f"{groups}\n<h2>Schemas</h2>\n{schemas}\n</html>\n"
    )


def _operation(path: str, verb: str, operation: Json) -> str:
    rows = [
        _row(one["name"], one["schema"], f"in the {one['in']}", is_required=one["required"])
        for one in operation.get("parameters", ())
    ]
    content: Json = operation.get("requestBody", {}).get("content", {})
    rows += [_row("body", kind["schema"], mime, is_required=True) for mime, kind in content.items()]
    answers = (_answer(status, answer) for status, answer in sorted(operation["responses"].items()))
    return (
        f'<details><summary><h3><code><span class="verb">{verb}</span> {escape(path)}</code></h3> '
        f"<span>{escape(operation['summary'])}</span></summary>\n"
        f"<table>{''.join(rows)}{''.join(answers)}</table></details>"
    )


def _answer(status: str, answer: Json) -> str:
    shapes = ", ".join(f"{escape(mime)}: {_type(kind['schema'])}" for mime, kind in answer.get("content", {}).items())
    return f"<tr><td>{escape(status)}</td><td>{shapes}</td><td>{escape(answer['description'])}</td></tr>"


def _schema(name: str, schema: Json) -> str:
    required = schema.get("required", ())
    rows = "".join(
        _row(member, one, is_required=member in required) for member, one in schema.get("properties", {}).items()
    )
    told = f"<table>{rows}</table>" if rows else f"<p>{_type(schema)}</p>"
    said = escape(schema.get("description", ""))
    return f'<details id="{escape(name)}" open><summary><h3>{escape(name)}</h3></summary><p>{said}</p>{told}</details>'


def _row(name: str, schema: Json, where: str = "", *, is_required: bool = False) -> str:
    notes = [where, "required" if is_required else "", schema.get("description", "")]
    if schema.get("default") not in (None, "", []):
        notes.append(f"by default {schema['default']}")
    said = "; ".join(escape(note) for note in notes if note)
    return f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}</td><td>{said}</td></tr>"


def _type(schema: Json) -> str:
    """Of what kind, with links to other schemas."""
    return " or ".join(dict.fromkeys(_types(schema))) or "anything"


def _types(schema: Json) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield f'<a href="#{escape(name)}">{escape(name)}</a>'
    elif "enum" in schema:
        yield " or ".join(f"<code>{escape(str(word))}</code>" for word in schema["enum"])
    elif branches := schema.get("anyOf") or schema.get("oneOf"):
        for branch in branches:
            yield from _types(branch)
    elif schema.get("type") == "array":
        yield f"list of {_type(schema.get('items', {}))}"
    elif schema.get("properties") and "title" not in schema:
        yield (
            "{ "
            + ", ".join(f"<code>{escape(name)}</code>: {_type(one)}" for name, one in schema["properties"].items())
            + " }"
        )
    else:
        kind = schema.get("type", ())
        yield from map(escape, [kind] if isinstance(kind, str) else kind)
