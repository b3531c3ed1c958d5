"""The command line: serve, check, explain, models, pull and more. Heavy imports wait until their command runs."""

from typing import Annotated

import typer

from pointsman import __version__
from pointsman.cli.calibrate import calibrate
from pointsman.cli.check import check
from pointsman.cli.classify import classify
from pointsman.cli.experiments import experiments
from pointsman.cli.explain import explain
from pointsman.cli.fleet import add_fleet
from pointsman.cli.key import key
from pointsman.cli.models import models
from pointsman.cli.operate import alias, breaker, load, sleep, unload, wake
from pointsman.cli.outcomes import add_outcomes
from pointsman.cli.pull import pull
from pointsman.cli.quality import add_quality
from pointsman.cli.replay import replay
from pointsman.cli.serve import serve

app = typer.Typer(
    name="pointsman",
    help="A self-hosted, OpenAI-compatible gateway in front of your own models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    serve,
    check,
    explain,
    classify,
    models,
    load,
    unload,
    sleep,
    wake,
    breaker,
    alias,
    key,
    pull,
    replay,
    calibrate,
    experiments,
):
    app.command()(command)
add_quality(app)
add_fleet(app)
add_outcomes(app)


@app.command()
def version(short: Annotated[bool, typer.Option("--short", help="Only the number.")] = False) -> None:
    """Print the version."""
    typer.echo(__version__ if short else f"pointsman {__version__}")


def main() -> None:
    """Entry point of the `pointsman` command."""
    app()
