"""What an experiment's evidence says, and under which rules. Pure.

Knows: two arms' tallies, thresholds, how the probability of error is shared out. Does not know: traffic, time.

States: `collecting`: nothing is proved. `passed`: a loss of `pass_below` or more is ruled out. `better`: any loss is
ruled out. `review`: some loss is proved and it looks like `pass_below` or more, or the horizon came first: a person
decides. `rolled_back`: a loss above `proved_above` is proved and it looks like more than `rollback_above`, or a guard
rail is proved broken.

Invariant: whatever the truth, and though one looks after every request, the chance that any of `passed`, `better` and
`rolled_back` ever contradicts it is at most `alpha` over the whole rollout: four fifths of it for quality (a two-sided
confidence sequence), a tenth for each guard rail, all divided by the number of steps (the union bound), since each step
of a rollout gathers evidence of its own. So a drift of the traffic between steps is never taken for an effect.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from functools import partial

import msgspec

from pointsman.experiments.evidence import (
    LEAST_SAMPLES,
    MOST_STEP,
    Interval,
    Moments,
    Tally,
    evidence_above,
    evidence_below,
    excess_interval,
    excess_of,
    loss_interval,
    loss_of,
    ratio_interval,
)
from pointsman.settings_experiments import ExperimentSettings
from pointsman.types import Value


class Status(StrEnum):
    """How an experiment stands."""

    COLLECTING = "collecting"
    REVIEW = "review"
    PASSED = "passed"
    BETTER = "better"
    ROLLED_BACK = "rolled_back"


SETTLED = frozenset({Status.PASSED, Status.BETTER})


class Arm(msgspec.Struct):
    """What one arm's requests came to. `quality`: verdicts of callers; `errors`: 1 for a request that its model failed;
    `latency_s`, `cost`: of the answered."""

    requests: int = 0
    quality: Tally = msgspec.field(default_factory=Tally)
    errors: Tally = msgspec.field(default_factory=Tally)
    latency_s: Moments = msgspec.field(default_factory=Moments)
    cost: Moments = msgspec.field(default_factory=Moments)

    def join(self, other: "Arm") -> None:
        """Count what another gateway has counted, too."""
        self.requests += other.requests
        self.quality.join(other.quality)
        self.errors.join(other.errors)
        self.latency_s.join(other.latency_s)
        self.cost.join(other.cost)


class Rules(Value, frozen=True):
    """Thresholds, as the settings have them. `alpha_quality` is two-sided; each guard has `alpha_guard`."""

    alpha_quality: float
    alpha_guard: float
    pass_below: float
    rollback_above: float
    proved_above: float
    most_errors: float
    most_slowdown: float
    min_samples: int
    horizon: int

    @classmethod
    def of(cls, settings: ExperimentSettings) -> "Rules":
        alpha = settings.alpha / max(1, len(settings.rollout))
        return cls(
            alpha_quality=0.8 * alpha,
            alpha_guard=0.1 * alpha,
            pass_below=settings.pass_below,
            rollback_above=settings.rollback_above,
            proved_above=settings.proved_above,
            most_errors=settings.guards.errors,
            most_slowdown=settings.guards.slowdown,
            min_samples=settings.min_samples,
            horizon=settings.horizon,
        )


class Finding(Value, frozen=True):
    """A status and what it rests on: one of quality, errors, latency, horizon; empty while nothing is proved."""

    status: Status
    why: str = ""


class Patience:
    """Looks at evidence only when it could have become enough. One outcome moves it by a known step at most, so this
    decides exactly as if one looked each time."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}

    def proves(self, question: str, n: int, alpha: float, evidence: Callable[[float], float]) -> bool:
        """Whether the evidence after `n` outcomes is enough at `alpha`; `evidence` is asked with what is enough."""
        if n < self._due.get(question, 0):
            return False
        enough = -math.log(alpha)
        missing = enough - evidence(enough)
        if missing > 0:
            self._due[question] = n + math.ceil(missing / MOST_STEP)
        return missing <= 0

    def forget(self) -> None:
        """Look again: outcomes were changed, not added."""
        self._due.clear()


def judge(rules: Rules, before: Status, control: Arm, treatment: Arm, patience: Patience) -> Finding:
    """What is proved now. 1 guard rails. 2 quality. 3 the horizon. What is settled stays so until it is rolled back."""
    if why := _broken(rules, control, treatment, patience):  # 1
        return Finding(status=Status.ROLLED_BACK, why=why)
    found = _of_quality(rules, before, control.quality, treatment.quality, patience)  # 2
    if found is not Status.COLLECTING:
        return Finding(status=found, why="quality")
    if before not in SETTLED and control.quality.n + treatment.quality.n >= rules.horizon:  # 3
        return Finding(status=Status.REVIEW, why="horizon")
    return Finding(status=before)


def _broken(rules: Rules, control: Arm, treatment: Arm, patience: Patience) -> str:
    """The guard rail that is proved broken; empty for none."""
    errors, n = excess_of(rules.most_errors), control.errors.n + treatment.errors.n
    if treatment.errors.mean - control.errors.mean > rules.most_errors and patience.proves(
        "errors", n, rules.alpha_guard, partial(evidence_above, control.errors, treatment.errors, errors)
    ):
        return "errors"
    most = 1 + rules.most_slowdown
    if treatment.latency_s.mean - control.latency_s.mean > math.log(most):
        # Twice: of the two-sided interval only the lower end counts.
        interval = ratio_interval(control.latency_s, treatment.latency_s, 2 * rules.alpha_guard)
        return "latency" if interval.low > most else ""
    return ""


def _of_quality(rules: Rules, before: Status, control: Tally, treatment: Tally, patience: Patience) -> Status:
    """Each question only where the estimate lets it be answered yes; COLLECTING where there is nothing new."""
    if min(control.n, treatment.n) < rules.min_samples or not control.total:
        return Status.COLLECTING
    loss = 1 - treatment.mean / control.mean

    def below(name: str, tried: float) -> bool:
        return patience.proves(name, n, alpha, partial(evidence_below, control, treatment, loss_of(tried)))

    def above(name: str, tried: float) -> bool:
        return patience.proves(name, n, alpha, partial(evidence_above, control, treatment, loss_of(tried)))

    n, alpha = control.n + treatment.n, rules.alpha_quality / 2
    if loss > rules.rollback_above and below("rollback", rules.proved_above):
        return Status.ROLLED_BACK
    if loss < 0 and before is not Status.BETTER and above("better", 0.0):
        return Status.BETTER
    if loss < rules.pass_below and before not in SETTLED and above("passed", rules.pass_below):
        return Status.PASSED
    if loss >= rules.pass_below and before is Status.COLLECTING and below("review", 0.0):
        return Status.REVIEW
    return Status.COLLECTING


# ---------------------------------------------------------------- in words and figures


class Estimate(Value, frozen=True):
    """A figure with both ends of its confidence sequence."""

    value: float
    low: float
    high: float


class Evidence(Value, frozen=True):
    """What is known of two arms. `loss`: the treatment's quality, relatively, below the control's; `errors`: the share
    of failures above the control's; `latency`, `cost`: typical ratio to the control's. None: too few outcomes."""

    control_requests: int
    treatment_requests: int
    control_verdicts: int
    treatment_verdicts: int
    control_quality: float
    treatment_quality: float
    loss: Estimate | None
    errors: Estimate | None
    latency: Estimate | None
    cost: Estimate | None


def evidence_of(rules: Rules, control: Arm, treatment: Arm) -> Evidence:
    """Everything in figures. Takes milliseconds: for changes and for readers, not for each request."""
    return Evidence(
        control_requests=control.requests,
        treatment_requests=treatment.requests,
        control_verdicts=control.quality.n,
        treatment_verdicts=treatment.quality.n,
        control_quality=round(control.quality.mean, 6),
        treatment_quality=round(treatment.quality.mean, 6),
        loss=_loss(rules, control.quality, treatment.quality),
        errors=_excess(rules, control.errors, treatment.errors),
        latency=_ratio(rules, control.latency_s, treatment.latency_s),
        cost=_ratio(rules, control.cost, treatment.cost),
    )


def _loss(rules: Rules, control: Tally, treatment: Tally) -> Estimate | None:
    if not control.total or not treatment.n:
        return None
    return _estimate(1 - treatment.mean / control.mean, loss_interval(control, treatment, rules.alpha_quality))


def _excess(rules: Rules, control: Tally, treatment: Tally) -> Estimate | None:
    if not control.n or not treatment.n:
        return None
    return _estimate(treatment.mean - control.mean, excess_interval(control, treatment, 2 * rules.alpha_guard))


def _ratio(rules: Rules, control: Moments, treatment: Moments) -> Estimate | None:
    if min(control.n, treatment.n) < LEAST_SAMPLES:
        return None
    value = math.exp(treatment.mean - control.mean)
    return _estimate(value, ratio_interval(control, treatment, 2 * rules.alpha_guard))


def _estimate(value: float, interval: Interval) -> Estimate:
    return Estimate(value=round(value, 6), low=round(interval.low, 6), high=round(interval.high, 6))
