"""What of a dashboard Grafana's own schema library does not know: it reads the page, writes it again, and what is gone
was not understood. Needs the package `grafana-foundation-sdk`."""

import json
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

EMPTY: tuple[Any, ...] = (None, "", [], {}, False)


def unknown_to_grafana(page: dict[str, Any]) -> list[str]:
    """Paths of what is lost or read as something else."""
    plugins.register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(page), cls=JSONEncoder))
    return sorted(set(_lost(page, again, "")))


def _lost(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key, value in one.items():
            if key in other:
                yield from _lost(value, other[key], f"{path}.{key}")
            elif value not in EMPTY:
                yield f"{path}.{key}"
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (value, again) in enumerate(zip(one, other, strict=True)):
            yield from _lost(value, again, f"{path}[{index}]")
    elif one != other:
        yield path
