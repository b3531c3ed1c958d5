"""`pointsman check`: is this file a configuration, and what does it mean?"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pointsman import settings as settings_module
from pointsman.cli.common import config_path, engines_or_exit, load_or_exit, profile_or_exit


def check(
    file: Annotated[Path | None, typer.Argument(help="The file; default as for `serve`.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema for editors and stop.")] = False,
) -> None:
    """Validate a configuration; exit 2 and name every problem where it is wrong."""
    console = Console(highlight=False, soft_wrap=True)  # a path stays whole, however long
    if schema:
        typer.echo(json.dumps(settings_module.schema(), indent=2, ensure_ascii=False))
        return
    settings = load_or_exit(file)
    profile_or_exit(settings)
    engines_or_exit(settings)
    table = Table("model", "backend", "kinds or source", "preload", box=None, pad_edge=False, header_style="bold")
    for model in settings.models:
        table.add_row(model.id, model.backend, _origin(model), "yes" if getattr(model, "preload", False) else "")
    console.print(table)
    console.print(f"{config_path(file)} is valid: {len(settings.models)} models, strategy {settings.routing.strategy}.")


def _origin(model: settings_module.Model) -> str:
    """Its weights, else its URLs, its name on a hub, its command or its engine."""
    if sources := settings_module.sources_of(model):
        return ", ".join(str(source) for _, source in sources)
    match model:
        case settings_module.OpenAiModel():
            return ", ".join(model.all_urls())
        case settings_module.VllmModel() | settings_module.MaxServeModel():
            return getattr(model, "url", None) or model.model or ""
        case settings_module.CommandModel():
            return model.argv[0]
        case _:
            return getattr(model, "engine", "")
