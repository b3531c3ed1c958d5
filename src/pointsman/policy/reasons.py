"""Why the first is first, and why there is none: a decision in words an operator can act on.

Knows: how to compare two candidates, what to do about each rejection. Does not know: how either was arrived at.
"""

from pointsman.policy.filters import PASSING, UNSUITED, Gate
from pointsman.types import Candidate, Rejected

REMEDIES: dict[Gate, str] = {
    Gate.NOT_NAMED: "ask for `auto`",
    Gate.NOT_CONFIGURED: "add the model to the settings",
    Gate.NOT_ALLOWED: "ask for a model that this key may use, or the operator for a key that may",
    Gate.KIND: "use another endpoint, or add a model that serves this one",
    Gate.INPUT: "leave the attachment out, or add a model that takes it",
    Gate.NOTHING_TO_READ: "attach what the model should read",
    Gate.OUTPUT: "ask for another output, or add a model that gives it",
    Gate.TOOLS: "leave `tools` out, or set `tools: true` on a model that can call them",
    Gate.LANGUAGE: "name another model, or add one for this language",
    Gate.CONTEXT: "use or add a model with a longer context",
    Gate.COST: "raise the cost limit",
    Gate.LATENCY: "raise the latency limit",
    Gate.DRAINING: "try again shortly",
    Gate.FAILED: "try again shortly; the log of the model says why it failed",
    Gate.TOO_BIG: "raise fleet.memory_budget_gb (GPUs: gpu_memory_budget_gb), or choose a smaller variant of the model",
    Gate.RATE: "try again when it has room",
    Gate.FORCED: "name another model, or let its breaker see for itself again",
    Gate.BREAKER: "try again shortly",
}
MOST_SHOWN = 3


def why_first(ranked: tuple[Candidate, ...], rejected: tuple[Rejected, ...], readiness_row: int) -> str:
    """Why the first candidate leads the second, what would have changed that, and who only lacks being ready."""
    first = ranked[0]
    if len(ranked) == 1:
        others = [one for one in rejected if one.code != Gate.NOT_NAMED]
        return f"{_name(first, ranked)} is the only one that can answer{f' ({_told(others)})' if others else ''}."
    second = ranked[1]
    return _lead(first, second, ranked) + _if_ready(ranked, readiness_row)


def why_chained(ranked: tuple[Candidate, ...]) -> str:
    """Who answers for a named model that has fallbacks."""
    models = tuple(dict.fromkeys(one.model_id for one in ranked))
    others = f"; then {', '.join(models[1:])}" if len(models) > 1 else ""
    return f"First {models[0]}{others}, as `routing.fallbacks` says."


def why_none(rejected: tuple[Rejected, ...], pinned: str = "") -> tuple[str, str]:
    """(problem, reason) where every deployment, or every one of the `pinned` model, was rejected.

    1 a state that passes → come back later. 2 only the context was too short. 3 only the language was wrong. 4 the key
    may use none of them. 5 nothing here can do it. Deployments that could never do it do not count in 2 and 3.
    """
    able = [one for one in rejected if one.code not in UNSUITED]
    passing = [one for one in able if one.code in PASSING]
    if passing:  # 1
        return _passing_problem(passing), _refusal(passing, pinned)
    codes = {one.code for one in able}
    if codes == {Gate.CONTEXT}:  # 2
        return "context_length_exceeded", _refusal(able, pinned)
    if codes == {Gate.LANGUAGE}:  # 3
        return "unsupported_language", _refusal(able, pinned)
    asked = [one for one in rejected if one.code not in {Gate.NOT_NAMED, Gate.NOT_CONFIGURED}]
    if asked and all(one.code == Gate.NOT_ALLOWED for one in asked):  # 4
        return "permission_denied", _refusal(asked, pinned)
    asked = [one for one in asked if one.code != Gate.NOT_ALLOWED]  # 5
    nearest = [one for one in asked if one.code != Gate.KIND]
    return "no_capable_model", _refusal(able or nearest or asked, pinned)


def _passing_problem(passing: list[Rejected]) -> str:
    codes = {one.code for one in passing}
    if Gate.DRAINING in codes:
        return "draining"
    if Gate.RATE in codes:
        return "rate_limit_exceeded"
    if Gate.FAILED in codes:
        starts = any(one.why.startswith("failed to start") for one in passing)
        return "loading_failed" if starts else "upstream_unreachable"
    return "out_of_memory_budget" if Gate.TOO_BIG in codes else "upstream_unreachable"


def _refusal(group: list[Rejected], pinned: str) -> str:
    todo = [REMEDIES[Gate(code)] for code in dict.fromkeys(one.code for one in group)]
    who = f"`{pinned}` cannot" if pinned else "No model can"
    elsewhere = ", or ask for `auto`" if pinned else ""
    what = "; ".join(dict.fromkeys(one.why for one in group)) if pinned else _told(group)
    return f"{who} take this request: {what}. {'. '.join(map(_sentence, todo))}{elsewhere}."


def _told(group: list[Rejected]) -> str:
    """`a, b: takes text, not image; c: …`, models with the same reason together."""
    by_why: dict[str, list[str]] = {}
    for one in group:
        by_why.setdefault(one.why, []).append(one.model_id)
    shown = [f"{', '.join(dict.fromkeys(models))}: {why}" for why, models in by_why.items()]
    more = [f"and {len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
    return "; ".join(shown[:MOST_SHOWN] + more)


def _lead(first: Candidate, second: Candidate, ranked: tuple[Candidate, ...]) -> str:
    one, other = _name(first, ranked), _name(second, ranked)
    if first.score == second.score:
        if first.model_id == second.model_id:
            return f"{one} before {other}: instances of one model share their score."
        return f"{one} before {other} because they score the same and the query's hash decides."
    gains = [(a.value - b.value) * a.weight for a, b in zip(first.terms, second.terms, strict=True)]
    largest = max(range(len(gains)), key=gains.__getitem__)
    term, against = first.terms[largest], second.terms[largest]
    flips = gains[largest] > sum(gains)
    changed = f"equal in that, {other} would lead" if flips else f"even equal in that, {other} would follow"
    return (
        f"{one} ({first.score:.2f}) before {other} ({second.score:.2f}) because of {term.name}: {term.why}, against "
        f"{against.why}; {changed}."
    )


def _if_ready(ranked: tuple[Candidate, ...], row: int) -> str:
    """The best of those further down that would have overtaken the second, had it been as ready as the first."""
    first, second = ranked[0], ranked[1]
    ready = first.terms[row]
    late = [one for one in ranked[2:] if one.terms[row].value < ready.value]
    share = ready.weight / (sum(term.weight for term in first.terms) or 1.0) if late else 0.0
    for one in late:
        if_ready = round(one.score + (ready.value - one.terms[row].value) * share, 6)
        if if_ready > second.score:
            place = "first" if if_ready > first.score else "second"
            return f" {_name(one, ranked)} would have come {place}, but is {one.terms[row].why}."
    return ""


def _name(candidate: Candidate, ranked: tuple[Candidate, ...]) -> str:
    """The model, or the deployment where several of that model are candidates."""
    for one in ranked:
        if one.model_id == candidate.model_id and one is not candidate:
            return candidate.deployment_id
    return candidate.model_id


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
