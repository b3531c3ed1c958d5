"""The section `cache`: which answers are kept, for how long and where.

Knows: names and ranges. Does not know: keys, stores, what an answer is.
"""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from pointsman import settings_words as words
from pointsman.settings_base import Section, Variable

SCHEMES = {"redis": 6379, "rediss": 6379, "valkey": 6379, "valkeys": 6379}


def _store(value: str) -> str:
    """Scheme and host; a number for the database; neither a name nor a password. In the client library's own scheme."""
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment or not (parts.path.strip("/") or "0").isdecimal():
        shown = words.quoted(value.rpartition("@")[2])
        raise words.said(f"must be a URL such as valkey://127.0.0.1:6379/0, not {shown}")
    if parts.username is not None or parts.password is not None:
        raise words.said("must not hold a password; name the variable that holds it in `password_env`")
    return "valkey" + value.removeprefix("redis") if value.startswith("redis") else value


StoreUrl = Annotated[str, AfterValidator(_store), Field(json_schema_extra={"pattern": "^(redis|valkey)s?://"})]


class SemanticSettings(Section):
    """Answers to what means the same. Only for short questions that are asked alone: see docs/caching.md."""

    enabled: bool = Field(False, description="true: a kept answer may serve a question in other words.")
    entries: int = Field(2000, ge=1, description="Questions that are remembered for it, 2 kB each, in this process.")


class CacheSettings(Section):
    """Which answers are kept and given again. A caller's own wish wins: `x-routing.cache`, `Cache-Control`."""

    exact: Literal["off", "deterministic", "all"] = Field(
        "off",
        description="Which requests an equal one's answer may serve: none, those that ask for `temperature` 0 (and "
        "embeddings and speech), or all.",
    )
    tools: bool = Field(False, description="Keep the answers to requests that offer tools, too.")
    ttl_s: float = Field(3600, gt=0, description="An answer is given again for this long.")
    max_entry_mb: float = Field(1, gt=0, description="A larger answer is not kept.")
    memory_mb: float = Field(64, gt=0, description="What the answers kept in this process may take; oldest use leaves.")
    wait_s: float = Field(
        30, ge=0, description="A request equal to one under way waits this long for its answer, then asks for itself."
    )
    url: StoreUrl | None = Field(
        None, description="A Valkey or Redis that several gateways share; default: this process's memory."
    )
    password_env: Variable | None = Field(None, description="The variable that holds its password.")
    timeout_ms: float = Field(50, gt=0, description="It is given this long, then the request goes on without it.")
    semantic: SemanticSettings = Field(
        SemanticSettings.model_construct(), description="Answers to what means the same."
    )

    @model_validator(mode="after")
    def _holds_an_entry(self) -> Self:
        if self.url is None and self.max_entry_mb > self.memory_mb:
            raise words.said("`max_entry_mb` is more than `memory_mb`; lower the one or raise the other")
        if self.semantic.enabled and self.exact == "off":
            raise words.said("`semantic` needs kept answers; set `exact` to `deterministic` or `all`")
        return self
