"""What would have changed a decision: the same decision again, with one thing different.

Knows: which things may differ. Does not know: how a decision is made. Costs a few decisions, so only an explanation
asks for it.
"""

from collections.abc import Callable, Iterator

import msgspec

from pointsman.types import Limits, Plan, Request, Scored, Signals, Tier, WhatIf, World

LEAST_LIKELY = 0.02  # a label less likely than this is no alternative
QUESTIONS = ("use_case", "intent", "language", "complexity")
OTHER_STRATEGIES = ("quality", "cost", "latency", "balanced")
Decide = Callable[[Request, Signals, World], Plan]


def what_if(decide: Decide, request: Request, signals: Signals, world: World) -> tuple[WhatIf, ...]:
    """Every single change that puts another model first: 1 a label's runner-up, 2 another strategy, 3 all loaded."""
    first = _first(decide(request, signals, world))
    found = []
    for change, asked, seen, present in _changes(request, signals, world):
        model_id = _first(decide(asked, seen, present))
        if model_id != first:
            found.append(WhatIf(change=change, model_id=model_id))
    return tuple(found)


def _changes(request: Request, signals: Signals, world: World) -> Iterator[tuple[str, Request, Signals, World]]:
    for question in QUESTIONS:  # 1
        scored: Scored = getattr(signals, question)
        for label, p in scored.alternatives[:2]:
            if p >= LEAST_LIKELY:
                other = msgspec.structs.replace(signals, **{question: Scored(label=label, p=max(p, 0.9))})
                yield f"were its {question.replace('_', ' ')} {label} ({p:.0%} likely)", request, other, world
    for strategy in OTHER_STRATEGIES:  # 2
        limits: Limits = msgspec.structs.replace(request.limits, strategy=strategy)
        yield f"under the strategy {strategy}", msgspec.structs.replace(request, limits=limits), signals, world
    if any(view.tier is not Tier.HOT for view in world.deployments):  # 3
        hot = tuple(msgspec.structs.replace(view, tier=Tier.HOT, ready_in_s=0.0) for view in world.deployments)
        yield "were every model loaded", request, signals, msgspec.structs.replace(world, deployments=hot)


def _first(plan: Plan) -> str:
    return plan.candidates[0].model_id if plan.candidates else ""
