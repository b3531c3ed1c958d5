"""`pointsman check`: is this file a configuration, and what does it mean?"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pointsman import settings as settings_module
from pointsman.cli.common import config_path, load_or_exit, profile_or_exit


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
    table = Table("model", "backend", "kinds or source", "preload", box=None, pad_edge=False, header_style="bold")
    for model in settings.models:
        sources = ", ".join(str(source) for _, source in settings_module.sources_of(model))
        where = sources or ", ".join(getattr(model, "all_urls", tuple)())
        table.add_row(model.id, model.backend, where, "yes" if getattr(model, "preload", False) else "")
    console.print(table)
    console.print(f"{config_path(file)} is valid: {len(settings.models)} models, strategy {settings.routing.strategy}.")
