"""Which instance of one model answers: those that are ready and well are one candidate, and share its score. Pure.

Knows: how busy each instance is and how long it usually takes. Does not know: other models, what the request asks.

Its prompt is read sooner where most of it was read before, so a conversation should stay where it is; and no instance
should have to do much more than the others. In this order, with a bound of half as much again as the mean load
(bounded loads: Mirrokni, Thorup and Zadimoghaddam 2018):
1. the instance that answered the turn before (`World.held_by`), within the bound
2. of the two that the hash of its opening prefers (rendezvous hashing: Thaler and Ravishankar 1998; gateways that do
   not know of each other agree on them), those within the bound: the one with the lower product of usual time to the
   first byte and calls under way (Finagle's peak EWMA; two suffice: Mitzenmacher 2001)
3. the better of two drawn by the world's ticket: where both are crowded, or nothing was said that could be hashed
The others follow as who is asked next, the cheapest first; full ones last.
`bench.balance` compares these rules with round robin and least busy.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from pointsman.types import Breaker, Candidate, DeploymentView, ModelCard, Request, Tier, Value

BOUND = 1.5
UNKNOWN_S = 1.0
HASHED_CHARS = 4096
"""Of each turn: longer ones that begin alike are alike to a prompt cache too, and hashing takes time."""
WELL = (Breaker.CLOSED, Breaker.FORCED_CLOSED)
Open = list[tuple[ModelCard, DeploymentView]]


class Team(Value, frozen=True):
    """The ready instances of one model, best first, and why the first is; empty where it is alone."""

    ids: tuple[str, ...]
    why: str = ""


Teams = Mapping[str, Team]
Costs = Mapping[str, tuple[bool, float]]


def teamed(able: Open, request: Request, held_by: str, ticket: int) -> tuple[Open, Teams]:
    """Instances of one model that are ready and well as one deployment; and by its id the team they are."""
    if len({card.id for card, _ in able}) == len(able):
        return able, {}
    by_model: dict[str, Open] = {}
    for one in able:
        by_model.setdefault(one[0].id, []).append(one)
    together: Open = []
    teams = {}
    for members in by_model.values():
        ready = [view for _, view in members if _is_ready(view)]
        if not ready:
            together += members
            continue
        team = ordered(ready, held_by, request, ticket)
        lead = held_by if held_by in team.ids else team.ids[0]
        teams[lead] = team
        together += [(members[0][0], _as_one(ready, lead)), *(one for one in members if one[1].id not in team.ids)]
    return together, teams


def unfolded(ranked: Iterable[Candidate], teams: Teams) -> tuple[Candidate, ...]:
    """Each team's members in the place of the team."""
    if not teams:
        return tuple(ranked)
    found: list[Candidate] = []
    for one in ranked:
        team = teams.get(one.deployment_id)
        found += [one] if team is None else [replace(one, deployment_id=name) for name in team.ids]
    return tuple(found)


def ordered(team: Sequence[DeploymentView], held_by: str, request: Request, ticket: int) -> Team:
    """Who is asked first, and then whom."""
    team = sorted(team, key=lambda view: view.id)
    if len(team) == 1:
        return Team(ids=(team[0].id,))
    usual_s = min((view.latency_s for view in team if view.latency_s is not None), default=UNKNOWN_S)
    costs = {view.id: cost(view, usual_s) for view in team}
    first, why = _first(team, costs, held_by, request, ticket)
    others = sorted((name for name in costs if name != first), key=costs.__getitem__)
    return Team(ids=(first, *others), why=why)


def cost(view: DeploymentView, usual_s: float) -> tuple[bool, float]:
    """Whether it is full; and seconds to its first byte × calls under way, this one included. Who has answered nothing
    yet is believed to be as fast as the fastest: so it is tried."""
    busy = view.in_flight + view.queued
    latency_s = usual_s if view.latency_s is None else view.latency_s
    return busy >= view.slots, latency_s * (busy + 1)


def _first(
    team: Sequence[DeploymentView], costs: Costs, held_by: str, request: Request, ticket: int
) -> tuple[str, str]:
    """Who, and why."""
    load = {view.id: view.in_flight + view.queued for view in team}
    bound = math.ceil(BOUND * (sum(load.values()) + 1) / len(team))
    free = {view.id for view in team if load[view.id] < min(bound, view.slots)}
    if held_by in free:  # 1
        return held_by, f"{held_by} answered the turn before."
    two = [name for name in _preferred(team, request)[:2] if name in free]
    if two:  # 2
        name = min(two, key=costs.__getitem__)
        return (
            name,
            f"{name} is one of the two where this conversation's opening leads, and expected to answer no later.",
        )
    drawn = _drawn(team, ticket)  # 3
    name = min(drawn, key=costs.__getitem__)
    return name, f"{name} was drawn with {drawn[name == drawn[0]]} and is expected to answer no later."


def _preferred(team: Sequence[DeploymentView], request: Request) -> list[str]:
    """By the hash of what stays the same from turn to turn; an instance that joins or leaves moves no other's."""
    if not any(turn.text for turn in request.turns):
        return []
    opening = hashlib.blake2b(digest_size=8)
    for turn in request.turns:
        opening.update(turn.text[:HASHED_CHARS].encode(errors="replace"))
        if turn.role == "user":
            break

    def drawn(name: str) -> bytes:
        own = opening.copy()
        own.update(b"\0" + name.encode())
        return own.digest()

    return sorted((view.id for view in team), key=drawn, reverse=True)


def _drawn(team: Sequence[DeploymentView], ticket: int) -> tuple[str, str]:
    """Two different ones."""
    count = len(team)
    drawn = int.from_bytes(hashlib.blake2b(ticket.to_bytes(8), digest_size=8).digest())
    one, step = drawn % count, 1 + (drawn // count) % (count - 1)
    return team[one].id, team[(one + step) % count].id


def _is_ready(view: DeploymentView) -> bool:
    return view.tier is Tier.HOT and view.breaker in WELL and not view.ready_in_s


def _as_one(team: Sequence[DeploymentView], name: str) -> DeploymentView:
    """What the team can do together; its health is that of the best."""
    if len(team) == 1:
        return team[0]
    best = min(team, key=lambda view: (bool(view.last_error), view.restarts, view.id))
    return replace(
        best,
        id=name,
        in_flight=sum(view.in_flight for view in team),
        queued=sum(view.queued for view in team),
        slots=sum(view.slots for view in team),
    )
