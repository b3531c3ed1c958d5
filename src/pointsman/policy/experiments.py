"""Which arm of an experiment a request belongs to, and what that makes of its plan. Pure.

Knows: the kinds of experiment, how a query is hashed. Does not know: how an experiment is going (its live ratio comes
with the World), nor how models are ranked: it stands around the router and asks that first.

Invariants: the same query gets the same arm on every replica, under every spelling of case and white space; arms are
nested, so a higher ratio moves queries from control to treatment and none back; a request is assigned only where both
models could answer it, or would once a passing trouble is over: what fails then is its arm's failure (intention to
treat), so a broken arm cannot hide by answering less.
"""

import hashlib
import unicodedata
from typing import Protocol

from msgspec.structs import replace

from pointsman.policy.ask import labels_of
from pointsman.policy.filters import PASSING
from pointsman.policy.names import Named
from pointsman.policy.scores import LAST_RESORT
from pointsman.policy.whatif import what_if
from pointsman.settings import AUTO, RoutingSettings
from pointsman.types import Assignment, Candidate, Complexity, Plan, Request, Signals, WhatIf, World
from pointsman.types_trial import Trial

CONTROL, TREATMENT = "control", "treatment"
SMALL, LARGE = "small", "large"
SMALL_LARGE, CANARY, SHADOW, SWITCHBACK = "small_large", "canary", "shadow", "switchback"
_WIDTH = 2**64


def arms_of(kind: str) -> tuple[str, str]:
    """What the control and the treatment are called."""
    return (LARGE, SMALL) if kind == SMALL_LARGE else (CONTROL, TREATMENT)


def place_of(experiment: str, request: Request) -> float:
    """Where in [0, 1) the query stands; below the ratio is the treatment. A conversation goes by its opening."""
    opening = next((turn.text for turn in request.turns if turn.role == "user"), "")
    query = " ".join(unicodedata.normalize("NFKC", opening).casefold().split())
    digest = hashlib.blake2b(f"{experiment}\0{query}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest) / _WIDTH


def window_arm(experiment: str, window: int) -> str:
    """The arm of a switchback's window: in each pair of windows both arms, in an order drawn by hash."""
    digest = hashlib.blake2b(f"{experiment}\0{window // 2}".encode(), digest_size=1).digest()
    return (CONTROL, TREATMENT)[(window + digest[0]) % 2]


class Router(Protocol):
    """Who should answer, were there no experiments? And what the request's model means."""

    def decide(self, request: Request, signals: Signals, world: World) -> Plan: ...
    def named(self, request: Request) -> Named: ...


class Assigner:
    """A router that lets experiments have their say, for as long as routing is on."""

    def __init__(self, router: Router, routing: RoutingSettings) -> None:
        self._router = router
        self._is_on = routing.enabled

    def decide(self, request: Request, signals: Signals, world: World) -> Plan:
        """The router's plan, its first candidate changed where an experiment says so.

        1. The first experiment that concerns the request: a small/large pair takes `auto`, the others also requests
           that name the control model. Who names a strategy or an objective, or whose key has one, has
           chosen already.
        2. Both models must be able to answer.
        3. Arm: a small/large pair sends easy requests to the small, hard ones to the large; the rest goes by hash.
        4. The arm's model first, the other next: each stands in for the other. Once rolled back, all go to the control,
           and who stands in for it is the router's business.
        """
        plan = self._router.decide(request, signals, world)
        if not (world.experiments and self._is_on) or plan.strategy == LAST_RESORT:
            return plan
        if request.limits.strategy or self._router.named(request).objective:
            return plan
        for trial in world.experiments:
            if _concerns(trial, request, signals, plan):  # 1
                return self._assigned(trial, plan, request, signals, world)
        return plan

    def _assigned(self, trial: Trial, plan: Plan, request: Request, signals: Signals, world: World) -> Plan:
        other = plan if request.model == AUTO else self._other(trial, request, signals, world)
        if not (_could(trial.control, plan) and _could(trial.treatment, other)):  # 2
            return plan
        arm, propensity, why = _arm_of(trial, request, signals)  # 3
        first, second = (trial.treatment, trial.control) if arm in {TREATMENT, SMALL} else (trial.control, "")
        if trial.kind == SMALL_LARGE and not second and not trial.is_over:
            second = trial.treatment
        pool = plan.candidates if arm == CONTROL or other is plan else (*other.candidates, *plan.candidates)
        ranked = _led(pool, first, second) if trial.kind != SHADOW else plan.candidates  # 4
        without = "Without it: " if ranked[:1] != plan.candidates[:1] else ""
        return replace(
            plan,
            candidates=ranked,
            assignment=_assignment(trial, arm, propensity, ranked),
            reason=f"Experiment `{trial.name}`: {why}. {without}{plan.reason}",
        )

    def _other(self, trial: Trial, request: Request, signals: Signals, world: World) -> Plan:
        """What the router makes of the request for the treatment by name."""
        return self._router.decide(replace(request, model=trial.treatment), signals, world)

    def what_if(self, request: Request, signals: Signals, world: World) -> tuple[WhatIf, ...]:
        """What would have changed the decision."""
        return what_if(self.decide, request, signals, world)

    def __repr__(self) -> str:
        return f"Assigner({self._router!r})"


def _concerns(trial: Trial, request: Request, signals: Signals, plan: Plan) -> bool:
    if trial.labels and not set(trial.labels) & set(labels_of(request, signals)):
        return False
    if trial.kind == SMALL_LARGE:
        return request.model == AUTO
    return bool(plan.candidates) and plan.candidates[0].model_id == trial.control


def _could(model_id: str, plan: Plan) -> bool:
    """Whether the model is a candidate, or only kept from it by what passes."""
    if any(one.model_id == model_id for one in plan.candidates):
        return True
    codes = [one.code for one in plan.rejected if one.model_id == model_id]
    return bool(codes) and all(code in PASSING for code in codes)


def _arm_of(trial: Trial, request: Request, signals: Signals) -> tuple[str, float, str]:
    """(arm, with what probability it was chosen, why); probability 0: chance had no say."""
    control, treatment = arms_of(trial.kind)
    if trial.is_over:
        return control, 1.0, "it is rolled back"
    if trial.kind == SMALL_LARGE:
        if signals.complexity.label == Complexity.LOW:
            return treatment, 0.0, "easy requests go to the small model"
        if signals.complexity.label == Complexity.HIGH:
            return control, 0.0, "hard requests go to the large model"
    if trial.kind == SWITCHBACK:
        return trial.arm, 0.5, f"it is the {trial.arm}'s turn"
    is_treated = place_of(trial.name, request) < trial.ratio
    if trial.kind == SHADOW:
        return control, float(is_treated), "a copy goes to the other model" if is_treated else "not copied"
    share = trial.ratio if is_treated else 1 - trial.ratio
    arm = treatment if is_treated else control
    return arm, share, f"the query's hash puts it into the {share:.0%} of the {arm} arm"


def _assignment(trial: Trial, arm: str, propensity: float, ranked: tuple[Candidate, ...]) -> Assignment | None:
    """A shadow's copies are left to chance, who answers is not."""
    if not propensity:
        return None
    odds: tuple[tuple[str, float], ...] = ()
    if trial.kind != SHADOW and ranked:
        first = ranked[0].model_id
        other = trial.control if first == trial.treatment else trial.treatment
        odds = ((first, propensity), (other, 1 - propensity))
    return Assignment(experiment=trial.name, arm=arm, propensity=propensity, odds=odds)


def _led(pool: tuple[Candidate, ...], first: str, second: str) -> tuple[Candidate, ...]:
    """`first`'s deployments, then `second`'s, then the rest; each once."""
    order = {first: 0, second: 1}
    once: dict[str, Candidate] = {}
    for one in pool:
        once.setdefault(one.deployment_id, one)
    return tuple(sorted(once.values(), key=lambda one: order.get(one.model_id, 2)))
