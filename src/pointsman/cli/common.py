"""What commands share: which configuration file, how a wrong one is shown."""

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer
from rich.console import Console

from pointsman import settings as settings_module
from pointsman.errors import ConfigError, UpstreamError
from pointsman.settings import Settings
from pointsman.settings_models import WeightsBase

if TYPE_CHECKING:  # it brings numpy along, which most commands do not need
    from pointsman.policy.quality import QualityProfile

CONFIG_NAME = "pointsman.yaml"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration; default: $POINTSMAN_CONFIG, ./pointsman.yaml, or the embedded default."
    ),
]


def shipped_config() -> Path:
    """The embedded default, inside the package."""
    return Path(settings_module.__file__).with_name(CONFIG_NAME)


def config_path(given: Path | None) -> Path:
    """Which file counts: the option, the environment, the working folder, the embedded default."""
    if given is not None:
        return given
    if named := os.environ.get("POINTSMAN_CONFIG"):
        return Path(named)
    local = Path(CONFIG_NAME)
    return local if local.is_file() else shipped_config()


def environ_of(host: str | None, port: int | None) -> dict[str, str]:
    """The environment with the options laid over it."""
    environ = dict(os.environ)
    if host is not None:
        environ["POINTSMAN_SERVER__HOST"] = host
    if port is not None:
        environ["POINTSMAN_SERVER__PORT"] = str(port)
    return environ


def load_or_exit(given: Path | None, host: str | None = None, port: int | None = None) -> Settings:
    """The settings, or exit 2 with every problem on a line of its own. Options count as environment overrides."""
    try:
        return settings_module.load(config_path(given), environ_of(host, port))
    except ConfigError as error:
        show_problems(error)
        raise typer.Exit(2) from None


def profile_or_exit(settings: Settings) -> "QualityProfile | None":
    """The quality profile that the settings name, or exit 2 saying why it cannot be used."""
    from pointsman.rooms import profile_of

    try:
        return profile_of(settings)
    except ConfigError as error:
        show_problems(error)
        raise typer.Exit(2) from None


def engines_or_exit(settings: Settings) -> None:
    """Exit 2 where an engine of another package is not installed, or is none; or a chat template cannot be read."""
    from pointsman.backends import templates
    from pointsman.backends.custom import custom

    problems: list[str] = []
    for model in settings.models:
        try:
            if isinstance(model, settings_module.CustomModel):
                custom(model)
            if isinstance(model, WeightsBase):
                templates.text_of(model)
        except ConfigError as error:
            problems += error.problems
        except UpstreamError as error:
            problems.append(error.message)
    if problems:
        show_problems(ConfigError(tuple(problems)))
        raise typer.Exit(2)


def show_problems(error: ConfigError) -> None:
    console = Console(stderr=True, highlight=False)
    for problem in error.problems:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    console.print(f"{len(error.problems)} problem{'s' if len(error.problems) > 1 else ''}.", style="bold")


def complain(problems: list[str], shown: int = 20) -> NoReturn:
    """Exit 2 with a problem a line; of very many the first ones and their number."""
    console = Console(stderr=True, highlight=False)
    for problem in problems[:shown]:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    if len(problems) > shown:
        console.print(f"… and {len(problems) - shown} more", style="red", markup=False)
    raise typer.Exit(2)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when everything is in it, and not at all where something went wrong; what is
    no plain file (a pipe, a terminal) is written to directly. Exits 2 where it cannot be written."""
    real = path.resolve()
    is_plain = real.is_file() or not path.exists()
    part = real.with_name(f"{real.name}.part") if is_plain else path
    try:
        with part.open("wb") as file:
            yield file
        if is_plain:
            part.replace(real)
    except OSError as error:
        complain([f"{path}: cannot be written ({error.strerror}); name a file in a folder that you may write to"])
    finally:
        if is_plain:
            part.unlink(missing_ok=True)


def lines_of(path: Path) -> list[bytes]:
    """The lines of a file, without the mark that some editors put before the first. Exits 2 where it cannot be read."""
    try:
        return path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        complain([f"{path}: cannot be read ({error.strerror}); name an existing file"])
