"""Which deployments there are, while the fleet runs: what an event about that changes (rule 1 of `machine`). Pure.

Knows: how one is added, how its terms change, how it goes. Does not know: why; which process belongs to it.
One that is removed is granted to nobody any more, ends when idle, and is forgotten once nothing of it is left.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from pointsman.fleet import estimates
from pointsman.fleet.draft import Draft
from pointsman.fleet.events import About, Configure, Effect, Event, Forgotten, Govern, Refuse, Remove, Want
from pointsman.fleet.facts import LIVING
from pointsman.fleet.limit import first
from pointsman.fleet.memory import HOST
from pointsman.fleet.values import Deployment, DeploymentSpec, Phase, State, Why, active


def newborn(spec: DeploymentSpec) -> Deployment:
    """Before anything has happened to it."""
    return Deployment(
        spec=spec,
        footprint_bytes=spec.memory_bytes or 0,
        restart_wanted=not spec.is_managed,
        limit=None if spec.min_slots is None else first(spec.min_slots, spec.slots),
    )


def configure(draft: Draft, event: Configure) -> None:
    """A new one, or other terms for one there is; what is reserved for one that runs was granted, and stays so."""
    d = draft.deployments.get(event.spec.id)
    if d is None:
        draft.put(newborn(event.spec))
    elif not d.is_leaving:
        fresh = newborn(event.spec)
        is_other = (d.spec.slots, d.spec.min_slots) != (event.spec.slots, event.spec.min_slots)
        d = draft.put(d, spec=event.spec, limit=fresh.limit if is_other else d.limit)
        if event.spec.memory_bytes is not None and not d.is_resident:
            draft.put(d, footprint_bytes=event.spec.memory_bytes)
    draft.pins = _pins(draft)


def remove(draft: Draft, event: Remove) -> None:
    d = draft[event.deployment_id]
    closing = Why.REMOVED if d.phase in LIVING or d.phase is Phase.STARTING else d.closing
    d = draft.put(
        d,
        spec=replace(d.spec, pin=False, preload=False),
        is_leaving=True,
        restart_wanted=False,
        closing=closing,
        to_sleep=False,
        yields_to="",
    )
    refuse_removed(draft, d)
    draft.pins = _pins(draft)


def refuse_removed(draft: Draft, d: Deployment) -> Deployment:
    why = f"`{d.spec.id}` has been removed from the configuration; name another model"
    return draft.refuse_all(d, "model_not_found", estimates.MIN_RETRY_AFTER_S, why)


def govern(draft: Draft, event: Govern) -> None:
    """Other rules and budgets from now on; who is there beyond a lower budget leaves as soon as it is idle."""
    draft.rules = event.rules
    draft.budgets = {HOST: event.budget_bytes, **dict(event.gpu_budgets)}


def _pins(draft: Draft) -> tuple[str, ...]:
    return tuple(name for name, d in draft.deployments.items() if d.spec.pin)


ROSTER: dict[type[Event], Callable[[Draft, Any], None]] = {Configure: configure, Remove: remove, Govern: govern}


def forget(draft: Draft) -> None:
    """Of whom nothing is left: no child, no lease, nobody who waits."""
    for name in [name for name in draft.touched if draft[name].is_gone]:
        del draft.deployments[name], draft.touched[name]
        draft.active = active(draft.deployments)
        draft.effects.append(Forgotten(deployment_id=name))


def unknown(state: State, event: About) -> tuple[State, tuple[Effect, ...]]:
    """Late word of one that is forgotten changes nothing; a want must still be answered."""
    if not isinstance(event, Want):
        return state, ()
    why = f"there is no deployment `{event.deployment_id}` any more; name another model"
    refusal = Refuse(ticket=event.ticket, code="model_not_found", retry_after_s=estimates.MIN_RETRY_AFTER_S, why=why)
    return state, (refusal,)
