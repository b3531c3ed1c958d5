"""Who may use the server and how much: the sections `keys` and `admission`."""

from pydantic import Field

from pointsman.settings_base import Id, Section, Sha256


class KeySettings(Section):
    """One API key. `pointsman key NAME` makes one and prints this entry."""

    name: Id = Field(description="Whose it is: stands in logs, metrics and statistics.")
    sha256: Sha256 = Field(description="Hash of the key. The key itself is never in this file.")
    models: tuple[Id, ...] = Field((), description="Only these answer its requests; empty: all.")
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
