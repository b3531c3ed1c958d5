"""`pointsman load | unload | sleep | wake MODEL`, `breaker MODEL STATE`, `alias NAME MODEL`: a server by hand."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from pointsman.cli.common import ConfigOption, load_or_exit
from pointsman.cli.remote import ANSWER_S, NoServer, Remote, UrlOption
from pointsman.errors import PointsmanError

WAIT_S = 300.0
FAILED = 1

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A model's id, an alias, or a deployment's id.")]
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, max=3600, help="Seconds to wait for it; it goes on in any case.")
]


def load(model: ModelArgument, config: ConfigOption = None, url: UrlOption = None, wait: WaitOption = WAIT_S) -> None:
    """Load a model now; idle ones may have to leave memory for it."""
    _change(config, url, wait, "POST", "models", model, "load")


def unload(model: ModelArgument, config: ConfigOption = None, url: UrlOption = None, wait: WaitOption = WAIT_S) -> None:
    """Stop a model once it has answered what it is answering; a later request loads it again."""
    _change(config, url, wait, "POST", "models", model, "unload")


def sleep(model: ModelArgument, config: ConfigOption = None, url: UrlOption = None, wait: WaitOption = WAIT_S) -> None:
    """Put a model to sleep, where its engine can."""
    _change(config, url, wait, "POST", "models", model, "sleep")


def wake(model: ModelArgument, config: ConfigOption = None, url: UrlOption = None, wait: WaitOption = WAIT_S) -> None:
    """Wake a model, or load it where it is cold."""
    _change(config, url, wait, "POST", "models", model, "wake")


def breaker(
    model: ModelArgument,
    state: Annotated[str, typer.Argument(metavar="STATE", help="forced_open, forced_closed or auto.")],
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Force a model's breaker open (nobody calls it) or closed (however it fails); `auto` ends that."""
    _change(config, url, WAIT_S, "POST", "models", model, "breaker", body={"state": state})


def alias(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The alias, new or old.")],
    model: ModelArgument,
    config: ConfigOption = None,
    url: UrlOption = None,
    wait: WaitOption = WAIT_S,
) -> None:
    """Load a model, then let the alias mean it; until it is ready, and where it fails, all stays as it is."""
    _change(config, url, wait, "PUT", "aliases", name, body={"model": model})


def _change(config: Path | None, url: str | None, wait_s: float, method: str, *path: str, body: object = None) -> None:
    console, remote = Console(highlight=False), Remote.of(load_or_exit(config), url)
    query = f"wait_s={wait_s:g}"
    try:
        answer = remote.ask(method, *path, body=body, query=query, answer_s=wait_s + ANSWER_S)
    except (NoServer, PointsmanError) as error:
        said = error.message if isinstance(error, PointsmanError) else str(error)
        Console(stderr=True, highlight=False).print(Text(said, style="red"), soft_wrap=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        console.print("It goes on; `pointsman models` shows how far it is.")
        raise typer.Exit(130) from None
    console.print(Text(_said(answer)), soft_wrap=True)


def _said(answer: Any) -> str:
    states = ", ".join(f"{one['id']}: {one['state']}{_breaker(one)}" for one in answer["deployments"])
    if not answer["done"]:
        return f"{states}. It goes on; `pointsman models` shows how far it is."
    return f"{answer['alias']} → {answer['model']} ({states})" if answer.get("alias") else states


def _breaker(deployment: Any) -> str:
    """A closed one goes without saying."""
    state = deployment.get("breaker", "closed")
    return "" if state == "closed" else f", breaker {state.replace('_', ' ')}"
