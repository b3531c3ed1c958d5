"""The router: a request's needs against every deployment of the world, in five steps.

Knows: the order of the steps, the strategies, how ties are broken. Does not know: what a gate checks, what a term
measures. Keeps: settings, read once; nothing that changes.
"""

import hashlib
from collections.abc import Callable, Collection
from itertools import groupby

from msgspec.structs import replace

from pointsman.policy import bandit
from pointsman.policy.ask import NOT_JUDGED, Ask, is_unsure, labels_of, needs_of
from pointsman.policy.balance import Open, Teams, teamed, unfolded
from pointsman.policy.catalogue import cards_of, default_model_of
from pointsman.policy.filters import Gate, rejection
from pointsman.policy.judged import Judged, incumbent_of, judge
from pointsman.policy.names import Named, clipped, limited, read_name
from pointsman.policy.quality import QualityProfile
from pointsman.policy.reasons import why_chained, why_first, why_none
from pointsman.policy.scores import (
    FIXED,
    LAST_RESORT,
    ROUND_ROBIN,
    TERMS,
    Weights,
    quality,
    score,
    weights_by_strategy,
)
from pointsman.policy.whatif import what_if
from pointsman.settings import AUTO, STRATEGIES, Settings
from pointsman.types import (
    Assignment,
    Candidate,
    DeploymentView,
    Intent,
    ModelCard,
    Plan,
    Rejected,
    Request,
    Signals,
    Term,
    Tier,
    UseCase,
    WhatIf,
    World,
)

READINESS_ROW = [name for name, _ in TERMS].index("readiness")
QUALITY_ROW = [name for name, _ in TERMS].index("quality")
BY_INSTANCE = frozenset({ROUND_ROBIN, LAST_RESORT, "least_busy"})  # strategies that rank each deployment by itself
INDIFFERENT = frozenset({FIXED, ROUND_ROBIN, LAST_RESORT, "least_busy"})  # strategies that do not ask who is good at it


class Router:
    """Decides who answers. Total: it returns a plan for every request, signals and world."""

    def __init__(
        self,
        settings: Settings,
        profile: QualityProfile | None = None,
        judge: Callable[[Request, Signals], Judged] | None = None,
    ) -> None:
        """`judge`: what graded answers say of a request; default: what the profile says of its words."""
        self.cards = cards_of(settings)
        self._aliases = settings.aliases
        self._routing = routing = settings.routing
        self._by_id = {card.id: card for card in self.cards}
        self._judge = judge or (None if profile is None else _judge_of(profile, self._by_id))
        self._objectives = tuple(routing.objectives)
        self._own = {key.name: key.objective for key in settings.keys if routing.enabled and key.objective}
        self._default = default_model_of(settings)
        self._all_in_order = self._with_all((self._default,))
        self._weights = weights_by_strategy(routing)
        self._rows = _rows_of(settings)
        # The named model and who stands in for it, in order; empty where nobody does.
        self._chains = {name: (name, *stand_ins) for name, stand_ins in routing.fallbacks.items() if stand_ins}

    def decide(self, request: Request, signals: Signals, world: World) -> Plan:
        """The ranked plan, with a reason for every place in it.

        1. Name: `auto` is every model, chosen as the key's objective says, if it has one; an alias or id pins one; an
           objective is a way to choose; OpenAI's audio names mean `auto` on their endpoints.
        2. Gates: each deployment passes all of `filters.GATES` or is rejected by the first it fails. Where nobody
           passes and an open breaker is all that stops some, those are the last resort, oldest failure first.
        3. Scores: the weighted mean of `scores.TERMS`, under the strategy that the request, else the settings, name.
        4. Order: best score first; a named model and its fallbacks as their chain goes. Ties between models: a stable
           hash of the query decides (same query → same model). Instances of one model that are ready and well are one
           candidate until here; which of them is first, `balance` says; under a strategy of its own, turns or load.
        5. Reason: why the first leads the second, and what would have changed it.
        6. Chance: where `routing.bandit` is on, a model that is nearly the best may be first; `assignment` tells.

        With `routing.enabled: false`, `auto` is the default model, the others its fallbacks in the file's order.
        """
        named = self.named(request)  # 1
        objective = self._routing.objectives.get(named.objective)
        request = request if objective is None else limited(request, objective)
        strategy = request.limits.strategy or self._routing.strategy
        if strategy not in STRATEGIES:
            why = f"`{clipped(strategy)}` is not a strategy; use one of {', '.join(STRATEGIES)}."
            return _refused(world, self._routing.strategy, "invalid_value", why)
        if not named.is_known:
            return _refused(world, strategy, "model_not_found", named.why)
        is_off = not (self._routing.enabled or named.model_id)
        strategy = FIXED if is_off else strategy
        ask = self._ask(request, signals, world, strategy, is_off)
        able, rejected = self._gate(ask, named, world)  # 2
        if not able:
            able, rejected = self._last_resort(rejected, world)
            strategy = LAST_RESORT if able else strategy
        if not able:
            return self._none(named, rejected, strategy, world)
        own = named.objective if objective is not None and strategy == objective.strategy else ""
        teams: Teams = {}
        if strategy not in BY_INSTANCE:
            able, teams = teamed(able, request, world.held_by, world.ticket)
        scored = self._score(ask, able, strategy, world, own)  # 3
        ranked = _order(scored, request, world.ticket, teams)  # 4
        chain = self._chains.get(named.model_id)
        if chain:
            ranked = tuple(sorted(ranked, key=lambda one: chain.index(one.model_id)))
        reason = why_chained(ranked) if chain else why_first(ranked, rejected, READINESS_ROW)  # 5
        reason = f"{self._preamble(named, strategy, is_off)} {reason} {_why_led(ranked, teams)}".strip()
        plan = Plan(candidates=ranked, rejected=rejected, strategy=strategy, reason=reason)
        return plan if named.model_id else self._explored(plan, request, world)  # 6

    def named(self, request: Request) -> Named:
        """What its model means. Whose key has an objective need not name it; a strategy of the request's own wins."""
        named = read_name(request.model, request.kind, self._by_id, self._aliases, self._objectives)
        if not self._own:
            return named
        own = self._own.get(request.tenant)
        if own is None or named.model_id or named.objective or request.limits.strategy or not named.is_known:
            return named
        return Named(objective=own, why=f"Chosen as `{own}` says, the objective of the key `{request.tenant}`.")

    def what_if(self, request: Request, signals: Signals, world: World) -> tuple[WhatIf, ...]:
        """What would have changed the decision. Costs a few decisions: for explanations only."""
        return what_if(self.decide, request, signals, world)

    def _ask(self, request: Request, signals: Signals, world: World, strategy: str, is_off: bool) -> Ask:
        use_case, label = labels_of(request, signals)
        if is_off:
            order = self._all_in_order
        else:
            order = self._rows.get(label) or self._rows.get(use_case, ())
            order = self._with_all(order) if strategy == FIXED else order
        unsure = is_unsure(request, signals, self._routing.abstain_below)
        judged = NOT_JUDGED if is_off or self._judge is None else self._judge(request, signals)
        return needs_of(request, signals, world, order, self._default if unsure else "", judged)

    def _with_all(self, order: tuple[str, ...]) -> tuple[str, ...]:
        """A fixed order leaves nobody without a place."""
        return order + tuple(name for name in self._by_id if name not in order)

    def _gate(self, ask: Ask, named: Named, world: World) -> tuple[Open, tuple[Rejected, ...]]:
        wanted, why_not = self._wanted(named)
        able: Open = []
        rejected = []
        for view in world.deployments:
            model_id = view.model_id
            if model_id in wanted:
                card = self._by_id[model_id]
                found = rejection(ask, card, view)
                if found is None:
                    able.append((card, view))
                    continue
            elif model_id in self._by_id:
                found = _rejected(view, Gate.NOT_NAMED, why_not)
            else:
                found = _rejected(view, Gate.NOT_CONFIGURED, "belongs to a model that is not in the settings")
            rejected.append(found)
        return able, tuple(rejected)

    def _wanted(self, named: Named) -> tuple[Collection[str], str]:
        """The models that the request's name leaves, and why not the others."""
        if named.model_id:
            return self._chains.get(named.model_id) or (named.model_id,), f"is not `{named.model_id}`"
        objective = self._routing.objectives.get(named.objective)
        if objective is None or not objective.models:
            return self._by_id, ""
        return objective.models, f"is none of the models of `{named.objective}`"

    def _last_resort(self, rejected: tuple[Rejected, ...], world: World) -> tuple[Open, tuple[Rejected, ...]]:
        """The breaker is the last gate: who fails it passed every other."""
        stopped = {one.deployment_id for one in rejected if one.code == Gate.BREAKER}
        able = [(self._by_id[view.model_id], view) for view in world.deployments if view.id in stopped]
        return able, tuple(one for one in rejected if one.deployment_id not in stopped)

    def _score(self, ask: Ask, able: Open, strategy: str, world: World, objective: str = "") -> list[Candidate]:
        weights: Weights = self._weights[objective or strategy, ask.complexity]
        if self._routing.bandit.enabled and strategy not in INDIFFERENT:
            return [score(ask, card, view, weights, _learned(ask, card, view, weights, world)) for card, view in able]
        if strategy != ROUND_ROBIN:
            return [score(ask, card, view, weights) for card, view in able]
        in_turn = _rotated([one for one in able if one[1].tier is Tier.HOT], world.ticket)
        in_turn += _rotated([one for one in able if one[1].tier is not Tier.HOT], world.ticket)
        count = len(in_turn)
        return [score(ask, card, view, weights, _turn(place, count)) for place, (card, view) in enumerate(in_turn)]

    def _explored(self, plan: Plan, request: Request, world: World) -> Plan:
        """A conversation under way stays where it is, and an experiment's models are the experiment's."""
        settings = self._routing.bandit
        if not settings.enabled or plan.strategy in INDIFFERENT or world.held_by or len(plan.candidates) < 2:
            return plan
        under_test = {model_id for trial in world.experiments for model_id in (trial.control, trial.treatment)}
        if any(one.model_id in under_test for one in plan.candidates):
            return plan
        ready = bandit.ready_in(world)
        odds = bandit.odds_of(plan.candidates, ready, world.learned, settings)
        if not odds:
            return plan
        ranked, assignment = bandit.drawn(plan.candidates, odds, ready, f"{world.ticket} {request.id}")
        return replace(plan, candidates=ranked, assignment=assignment, reason=f"{plan.reason}{_tried(assignment)}")

    def _none(self, named: Named, rejected: tuple[Rejected, ...], strategy: str, world: World) -> Plan:
        if all(one.code in {Gate.NOT_NAMED, Gate.NOT_CONFIGURED} for one in rejected):
            what = f"`{named.model_id}` has no deployment" if named.model_id else "No configured model has a deployment"
            problem, reason = "loading_failed", f"{what} yet; try again shortly."
        else:
            problem, reason = why_none(rejected, named.model_id)
        words = f"{named.why} {reason}".strip()
        full = {one.model_id for one in rejected if one.code == Gate.RATE}
        retry_in_s = min((time_s for model_id, time_s in world.full if model_id in full), default=0.0)
        return Plan(
            candidates=(), rejected=rejected, strategy=strategy, reason=words, problem=problem, retry_in_s=retry_in_s
        )

    def _preamble(self, named: Named, strategy: str, is_off: bool) -> str:
        if strategy == LAST_RESORT:
            return f"{named.why} Every breaker that matters is open; tried all the same, as a last resort.".strip()
        if is_off:
            return f"Routing is off, `{AUTO}` means {self._default} first."
        return named.why

    def __repr__(self) -> str:
        return f"Router({len(self.cards)} models, {self._routing.strategy})"


def _rows_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The use-case matrix, aliases resolved: an intent's row is followed by the one of all that agents are asked."""
    matrix: dict[str, tuple[str, ...]] = {**settings.routing.use_cases}
    whole = matrix | {intent: (*matrix.get(intent, ()), *matrix.get(UseCase.AGENT, ())) for intent in Intent}
    return {
        label: tuple(dict.fromkeys(settings.aliases.get(name, name) for name in names))
        for label, names in whole.items()
    }


def _judge_of(profile: QualityProfile, configured: Collection[str]) -> Callable[[Request, Signals], Judged]:
    incumbent = incumbent_of(profile, configured)
    return lambda request, signals: judge(profile, request, signals, incumbent)


def _learned(ask: Ask, card: ModelCard, view: DeploymentView, weights: Weights, world: World) -> Term:
    """What verdicts say beyond the quality term."""
    held, _ = quality(ask, card, view)
    features = bandit.features_of(ask.label, ask.language, ask.complexity, ask.prompt_tokens, held)
    known = next((one for one in world.learned if one.model_id == card.id), None)
    return bandit.term_of(known, features, weights[QUALITY_ROW])


def _tried(assignment: Assignment) -> str:
    if assignment.arm == assignment.odds[0][0]:
        return ""
    return f" {assignment.arm} is tried all the same, to learn from it ({assignment.propensity:.1%} likely)."


def _order(scored: list[Candidate], request: Request, ticket: int, teams: Teams) -> tuple[Candidate, ...]:
    """Best first; runs of equal score are shared out by `_share`, and each team's members stand in its place."""
    if len(scored) == 1:
        return unfolded(scored, teams)
    ranked: list[Candidate] = []
    for _, run in groupby(sorted(scored, key=lambda one: -one.score), key=lambda one: one.score):
        equals = list(run)
        ranked += equals if len(equals) == 1 else _share(equals, request, ticket, teams)
    return unfolded(ranked, teams)


def _why_led(ranked: tuple[Candidate, ...], teams: Teams) -> str:
    """Why of a model's instances the first is first; empty where nothing was to be chosen."""
    for team in teams.values():
        if team.ids[0] == ranked[0].deployment_id:
            return team.why
    return ""


def _share(equals: list[Candidate], request: Request, ticket: int, teams: Teams) -> list[Candidate]:
    """Models by the hash of the conversation's opening, so that a conversation keeps its model; of a model those that
    are ready, then the others by turns."""
    if len({one.model_id for one in equals}) == len(equals):
        draw = _draw(request)
        return sorted(equals, key=lambda one: draw(one.model_id))
    by_model: dict[str, list[Candidate]] = {}
    for one in sorted(equals, key=lambda one: one.deployment_id):
        by_model.setdefault(one.model_id, []).append(one)
    ranked = []
    for model_id in by_model if len(by_model) == 1 else sorted(by_model, key=_draw(request)):
        instances = by_model[model_id]
        if len(instances) > 1:
            others = [one for one in instances if one.deployment_id not in teams]
            turn = ticket % len(others) if others else 0
            instances = [one for one in instances if one.deployment_id in teams] + others[turn:] + others[:turn]
        ranked += instances
    return ranked


def _draw(request: Request) -> Callable[[str], tuple[bytes, str]]:
    """Each model draws its own hash of the query, so that a model that joins or leaves moves no other."""
    opening = next((turn.text for turn in request.turns if turn.role == "user"), "")
    drawn = hashlib.blake2b(opening.encode(errors="replace"), digest_size=16)

    def hashed(model_id: str) -> tuple[bytes, str]:
        own = drawn.copy()
        own.update(b"\0" + model_id.encode())
        return own.digest(), model_id

    return hashed


def _rotated(able: Open, ticket: int) -> Open:
    ordered = sorted(able, key=lambda one: one[1].id)
    turn = ticket % len(ordered) if ordered else 0
    return ordered[turn:] + ordered[:turn]


def _turn(place: int, count: int) -> Term:
    why = "its turn" if place == 0 else f"{place} before it"
    return Term(name="turn", value=1 - place / count, weight=1.0, why=why)


def _rejected(view: DeploymentView, code: Gate, why: str) -> Rejected:
    return Rejected(deployment_id=view.id, model_id=view.model_id, code=code, why=why)


def _refused(world: World, strategy: str, problem: str, why: str) -> Plan:
    """No deployment was looked at: the request itself names something that does not exist."""
    rejected = tuple(_rejected(view, Gate.NOT_NAMED, "is not what the request names") for view in world.deployments)
    return Plan(candidates=(), rejected=rejected, strategy=strategy, reason=why, problem=problem)
