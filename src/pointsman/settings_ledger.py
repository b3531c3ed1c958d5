"""The section `ledger`: what is kept of every request, where and how long.

Knows: names and ranges. Does not know: tables, money.
"""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from pointsman import settings_words as words
from pointsman.settings_base import Id, Section, Variable

SCHEMES = ("sqlite", "postgresql")


def _store(value: str) -> str:
    """`sqlite:PATH`, or `postgresql://USER@HOST:PORT/DATABASE` without a password."""
    shown = words.quoted(value.rpartition("@")[2])
    try:
        parts = urlsplit(value)
        is_good = bool(parts.path) if parts.scheme == "sqlite" else bool(parts.scheme == SCHEMES[1] and parts.hostname)
        is_good = is_good and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or parts.fragment:
        raise words.said(f"must be sqlite:/a/file or postgresql://user@host/database, not {shown}")
    if parts.password is not None:
        raise words.said("must not hold a password; name the variable that holds it in `password_env`")
    return value


StoreUrl = Annotated[str, AfterValidator(_store), Field(json_schema_extra={"pattern": "^(sqlite:|postgresql://)"})]


class LedgerSettings(Section):
    """A row for every request: what was decided and why, how it went, what it cost. No prompt, unless you ask."""

    enabled: bool = Field(True, description="false: statistics and metrics only, nothing on disk.")
    url: StoreUrl | None = Field(
        None,
        description="`sqlite:FILE`, or a PostgreSQL that several gateways share; default: the file ledger.sqlite in "
        "`cache_dir`.",
    )
    password_env: Variable | None = Field(None, description="The variable that holds PostgreSQL's password.")
    keep_days: float = Field(30, gt=0, description="Older rows are forgotten.")
    keep_rows: int = Field(100_000, ge=1, description="So are the oldest beyond so many; one takes a few kilobytes.")
    store_prompts: bool = Field(
        False, description="true: the words of every request are kept, in the clear. false: a keyed digest of them."
    )
    digest_key_env: Variable | None = Field(
        None,
        description="The variable that holds the digests' key, so that several gateways agree on them; default: a "
        "random one in `cache_dir`.",
    )
    baseline_model: Id | None = Field(
        None,
        description='What costs and latencies are compared with, "always this one"; default: the dearest chat model, '
        "where none has a price the large one of a small/large pair.",
    )
