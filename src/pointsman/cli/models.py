"""`pointsman models`: what is configured, what is on disk, what the catalogue offers."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pointsman.cli.common import ConfigOption, load_or_exit
from pointsman.clock import SystemClock
from pointsman.settings import Settings, sources_of
from pointsman.sources.store import WeightStore


def models(
    config: ConfigOption = None,
    catalogue: Annotated[bool, typer.Option("--catalogue", help="List the packaged weights instead.")] = False,
) -> None:
    """List the configured models, or the catalogue of packaged weights."""
    settings = load_or_exit(config)
    store = WeightStore.of(settings, SystemClock())
    Console(highlight=False).print(_catalogue(store) if catalogue else _configured(settings, store))


def _configured(settings: Settings, store: WeightStore) -> Table:
    table = Table("model", "backend", "weights", "preload", "name", box=None, pad_edge=False, header_style="bold")
    for model in settings.models:
        sources = [source for _, source in sources_of(model)]
        present = sum(store.present(source) is not None for source in sources)
        size = sum(store.size_bytes(source) for source in sources)
        if not sources:
            weights = "none needed"
        else:
            weights = f"{size / 1e6:.0f} MB, {'on disk' if present == len(sources) else 'to be fetched'}"
        preload = "yes" if getattr(model, "preload", False) else ""
        table.add_row(model.id, model.backend, weights, preload, model.name or "")
    return table


def _catalogue(store: WeightStore) -> Table:
    table = Table(
        "packaged name", "download", "licence", "on disk", "what", box=None, pad_edge=False, header_style="bold"
    )
    for entry in store.catalogue():
        on_disk = "yes" if entry.path else ""
        table.add_row(entry.name, f"{entry.download_bytes / 1e6:.0f} MB", entry.licence, on_disk, entry.description)
    return table
