"""The section `routing.bandit`: learning from verdicts, and how much may be tried for it.

Knows: names and ranges. Does not know: what a verdict is, how chances are made.
"""

from pydantic import Field

from pointsman.settings_base import Section, Share


class BanditSettings(Section):
    """Learning while serving: verdicts (`/v1/feedback`) correct what each model is held to be good at, and a small
    share of requests tries a model that is nearly the best. What the request names or limits is never tried against."""

    enabled: bool = Field(False, description="true: verdicts count in the choice, and the nearly best are tried.")
    epsilon_max: Share = Field(
        0.05, description="At most this share of the requests goes to another than the best; 0: nothing is tried."
    )
    margin: float = Field(
        0.03, ge=0, le=1, description="Only models whose score is at most this far below the best are tried."
    )
    half_life: float = Field(
        2000, gt=0, description="After so many further verdicts on a model an old one counts half."
    )
