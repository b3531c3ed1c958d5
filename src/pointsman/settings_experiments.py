"""The section `experiments`: two models, how the traffic is split between them, and when that ends.

Knows: names and ranges. Does not know: how arms are drawn, how evidence is weighed.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from pointsman import settings_words as words
from pointsman.settings_base import Id, Label, Section, Share


class GuardSettings(Section):
    """What a treatment may not do, however good its answers: proved to be worse than this, it is rolled back."""

    errors: Share = Field(0.02, description="So much more of its requests may fail than of the control's; 1: any.")
    slowdown: float = Field(
        0.5, ge=0, description="By this share its answers may typically take longer: 0.5 is half as long again."
    )


class ExperimentSettings(Section):
    """One experiment. Quality is judged by feedback (`/v1/feedback`), as the treatment's relative loss."""

    name: Id = Field(description="Shown in routing metadata; part of the hash that draws the arms.")
    kind: Literal["small_large", "canary", "shadow", "switchback"] = Field(
        description="small_large: of `auto`, easy requests go to the small one, hard ones to the large, the rest by "
        "hash. canary: a share of what would go to the control. shadow: a copy, once it is answered. switchback: by "
        "turns, in time."
    )
    control: Id = Field(description="The model that answers today; of a small/large pair, the large one.")
    treatment: Id = Field(description="The model on trial; of a small/large pair, the small one.")
    ratio: Share = Field(0.5, description="The treatment's share; with a rollout, its first step counts instead.")
    rollout: tuple[Share, ...] = Field(
        (), description="Shares to go through, as `[0.1, 0.3, 0.5, 0.8]`: each step begins when the last has passed."
    )
    labels: tuple[Label, ...] = Field((), description="Only requests with one of these; empty: all.")
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Most probable share of experiments without a difference that find one."
    )
    pass_below: Share = Field(0.05, description="A loss of quality proved to be less than this passes.")
    rollback_above: Share = Field(0.10, description="A loss estimated above this, and proved, is rolled back.")
    proved_above: Share = Field(
        0.05, description="What must be proved of that loss; 0 rolls back sooner, and losses under review too."
    )
    guards: GuardSettings = Field(GuardSettings.model_construct(), description="Errors and latency.")
    min_samples: int = Field(50, ge=1, description="Verdicts on each arm before quality counts.")
    horizon: int = Field(50_000, ge=1, description="Verdicts after which an open question is a person's.")
    window_s: float = Field(600, gt=0, description="Of a switchback: how long a turn lasts.")
    max_copies: int = Field(1, ge=1, description="Of a shadow: copies under way at once; more are left out.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.control == self.treatment:
            raise words.said(f"compares `{self.control}` with itself; name two models")
        if list(self.rollout) != sorted(set(self.rollout)):
            raise words.said("has a `rollout` that does not rise; give each share once, in order")
        if not self.proved_above <= self.rollback_above:
            raise words.said("asks for proof of more than `rollback_above`; lower `proved_above`")
        return self


def misplaced(
    experiments: Sequence[ExperimentSettings], ids: Sequence[str]
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """(key, name, what is wrong) of names that are taken, and of models that are none: nothing is said of these."""
    for index, one in enumerate(experiments):
        if one.name in [other.name for other in experiments[:index]]:
            yield ("experiments", index, "name"), one.name, f"`{one.name}` is taken; names are unique"
        for role, model in (("control", one.control), ("treatment", one.treatment)):
            if model not in ids:
                yield ("experiments", index, role), model, ""
