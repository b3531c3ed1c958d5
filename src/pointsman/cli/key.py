"""`pointsman key NAME`: a new API key, once, and the entry that the settings keep of it."""

from typing import Annotated

import typer

from pointsman.cli.common import complain


def key(name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits and . _ : -")]) -> None:
    """Make an API key: the key to standard output, and nowhere else; the entry for the settings to standard error."""
    from pydantic import ValidationError

    from pointsman.admission.keys import hash_of, new_key
    from pointsman.settings import KeySettings

    made = new_key()
    try:
        entry = KeySettings(name=name, sha256=hash_of(made))
    except ValidationError as error:
        complain([f"NAME: {error.errors()[0]['msg']}"])
    typer.echo(made)
    typer.echo("This is shown once. Its hash belongs in the settings:\n", err=True)
    typer.echo(f"keys:\n  - {{name: {entry.name}, sha256: {entry.sha256}}}", err=True)
