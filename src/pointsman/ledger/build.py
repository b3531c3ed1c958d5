"""The ledger's store and key, by the settings.

Knows: which setting means what. Does not know: what is written, when. Building touches neither disk nor network.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pointsman.errors import ConfigError
from pointsman.ledger.prompts import Prompts
from pointsman.ledger.store.base import Store
from pointsman.ledger.store.sql import SqlStore
from pointsman.ledger.store.sqlite import Sqlite
from pointsman.settings_ledger import LedgerSettings

FILE, KEY_FILE = "ledger.sqlite", "ledger.key"
KEY_BYTES = 32


def store_of(settings: LedgerSettings, folder: Path, environ: Mapping[str, str]) -> Store:
    """The store that the settings name. Raises ConfigError where its driver or its password is missing."""
    url = settings.url or f"sqlite:{folder / FILE}"
    if url.startswith("sqlite:"):
        return SqlStore(Sqlite(Path(url.removeprefix("sqlite:").removeprefix("//")).expanduser()))
    try:
        from pointsman.ledger.store.postgres import Postgres
    except ImportError:
        remedy = "pip install 'pointsman[postgres]'"
        raise ConfigError((f"ledger.url: PostgreSQL needs the package psycopg: {remedy}",)) from None
    return SqlStore(Postgres(url, _variable(settings.password_env, "password_env", environ)))


def prompts_of(settings: LedgerSettings, folder: Path, environ: Mapping[str, str]) -> Prompts:
    """What is kept of prompts: nothing where there is no ledger."""
    if not settings.enabled:
        return Prompts()
    shared = _variable(settings.digest_key_env, "digest_key_env", environ).encode()
    return Prompts((lambda: shared) if shared else lambda: _own_key(folder / KEY_FILE), settings.store_prompts)


def _variable(name: str | None, setting: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip() if name else ""
    if name and not value:
        raise ConfigError((f"ledger.{setting}: the variable {name} is not set",))
    return value


def _own_key(path: Path) -> bytes:
    """The key in that file, made where there is none. One for this process alone where it can be neither read nor
    written: digests then agree until it ends."""
    made = secrets.token_bytes(KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123  # by descriptor
            file.write(made)
        return made
    except FileExistsError:
        return _read(path) or made
    except OSError:
        return made


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
