"""The section `fleet.breaker`: when a deployment is left alone, for how long, and how it is tried again.

Knows: names and ranges. Does not know: how a breaker works.
"""

from pydantic import Field

from pointsman.settings_base import Section


class BreakerSettings(Section):
    """When calls to a deployment fail, or take too long, it is left alone for a while."""

    failures_in_a_row: int = Field(5, ge=1, description="So many failed calls in a row open the breaker.")
    window: int = Field(20, ge=2, le=1000, description="The last calls of each deployment that the rates are of.")
    failure_rate: float = Field(0.5, gt=0, lt=1, description="A greater share of failed calls among them opens it.")
    slow_call_s: float | None = Field(
        None,
        gt=0,
        description="A call whose first byte (of a whole answer: the answer) takes longer is slow; default: none is.",
    )
    slow_call_rate: float = Field(0.5, gt=0, lt=1, description="A greater share of slow calls opens it.")
    open_s: float = Field(10, gt=0, description="How long it stays open at first; twice as long each time in a row.")
    open_max_s: float = Field(120, gt=0, description="The longest it stays open.")
    trials: int = Field(3, ge=1, description="Then so many calls are let through at once; as many successes close it.")
    outliers: bool = Field(
        True,
        description="Open it, too, for one of three or more instances of a model that fails or lags far more than the "
        "others.",
    )
    outlier_share: float = Field(
        0.3, gt=0, lt=1, description="At most this share of a model's instances, but one, is left alone for that."
    )
