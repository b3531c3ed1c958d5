"""Who may use the server, how much, and what it fetches for them: the sections `keys`, `admission` and `media`."""

from pydantic import Field

from pointsman.settings_base import Id, Section, Sha256, Variable, Words
from pointsman.settings_cache import StoreUrl


class KeySettings(Section):
    """One API key. `pointsman key NAME` makes one and prints this entry."""

    name: Id = Field(description="Whose it is: stands in logs, metrics and statistics.")
    sha256: Sha256 = Field(description="Hash of the key. The key itself is never in this file.")
    models: tuple[Id, ...] = Field((), description="Only these answer its requests; empty: all.")
    objective: Id | None = Field(
        None,
        description="One of `routing.objectives`, for requests of its that name `auto` and ask for no strategy.",
    )
    requests_per_minute: float | None = Field(None, gt=0, description="More are refused with 429.")
    tokens_per_minute: float | None = Field(
        None, gt=0, description="Prompt and answer, counted when they are known; who has overdrawn waits."
    )
    tokens_per_day: float | None = Field(None, gt=0, description="A budget for each day, UTC.")
    max_concurrent: int | None = Field(None, ge=1, description="Requests under way at once.")
    priority: int = Field(5, ge=0, le=9, description="Who goes first where requests wait: 9 before 0.")


class AdmissionSettings(Section):
    """How many requests are taken at once."""

    max_concurrent: int = Field(1000, ge=1, description="Requests under way at once, of all callers.")
    max_waiting: int = Field(
        1000, ge=0, description="Requests that may wait for that, by priority; the least of them give way, with 503."
    )
    default_priority: int = Field(5, ge=0, le=9, description="Of requests without a key.")
    url: StoreUrl | None = Field(
        None,
        description="A Valkey or Redis in which several gateways count together, and by which their experiments stay "
        "together; default: each counts by itself.",
    )
    password_env: Variable | None = Field(None, description="The variable that holds its password.")
    timeout_ms: float = Field(50, gt=0, description="It is given this long; then this gateway counts by itself.")


class MediaSettings(Section):
    """What requests link to: images, audio and video at an http address."""

    fetch: bool = Field(
        False,
        description="true: links are fetched here, under guard, and the model gets the data; false: they are "
        "passed on to remote models as they are, and refused by the embedded ones.",
    )
    allowed_hosts: tuple[Words, ...] = Field(
        (), description="Only these are asked, on whatever network they are; default: any on the public network."
    )
    max_mb: float = Field(20, gt=0, description="A larger one is refused.")
    max_links: int = Field(16, ge=1, description="Links in one request.")
    timeout_s: float = Field(20, gt=0, description="For each link, redirects included.")
