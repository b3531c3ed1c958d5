"""Outcomes and verdicts of an experiment's arms, everything unsaid at its most ordinary; and a place
for gateways to meet without a store."""

from collections.abc import Mapping

from pointsman.types import Assignment, Attempt, Kind, Outcome, Plan, Usage
from pointsman.types_feedback import Feedback, Judged

MODELS = {"control": "old", "treatment": "new", "large": "old", "small": "new"}


def outcome(
    experiment: str,
    arm: str,
    *,
    received_unix_s: float,
    status: str = "success",
    total_s: float = 1.0,
    answered_by: str = "",
    tokens: int = 0,
) -> Outcome:
    """A request that was assigned to `arm`; its model answered, or `answered_by` in its stead."""
    model = answered_by or MODELS[arm]
    attempt = Attempt(
        deployment_id=model, model_id=model, started_s=0.0, error="upstream_error" if status == "error" else ""
    )
    return Outcome(
        request_id="r",
        kind=Kind.CHAT,
        asked_model="auto",
        status=status,
        http_status=200,
        signals=None,
        plan=Plan(candidates=(), rejected=(), strategy="balanced", reason="", assignment=_assignment(experiment, arm)),
        attempts=(attempt,),
        usage=Usage(completion_tokens=tokens),
        stream=False,
        total_s=total_s,
        classify_s=0.0,
        decide_s=0.0,
        wait_s=0.0,
        upstream_s=total_s,
        first_byte_s=None,
        received_unix_s=received_unix_s,
    )


def judged(experiment: str, arm: str, value: float, received_unix_s: float, replaces: float | None = None) -> Judged:
    """A thumb on the answer to one."""
    feedback = Feedback(request_id="r", value=value, source="thumbs")
    assignment = _assignment(experiment, arm)
    return Judged(
        feedback=feedback,
        model_id=MODELS[arm],
        assignment=assignment,
        received_unix_s=received_unix_s,
        replaces=replaces,
    )


def _assignment(experiment: str, arm: str) -> Assignment:
    return Assignment(experiment=experiment, arm=arm, propensity=0.5)


class Square:
    """Where gateways of one process meet: what a shared store does, in memory. `is_open` false: it does not answer."""

    def __init__(self) -> None:
        self.said: dict[str, dict[str, bytes]] = {}
        self.is_open = True

    def member(self, me: str) -> "Member":
        return Member(self, me)


class Member:
    """One gateway's way there. Satisfies `Company`."""

    def __init__(self, square: Square, me: str) -> None:
        self.me = me
        self._square = square

    async def meet(self, words: Mapping[str, bytes]) -> dict[str, tuple[bytes, ...]] | None:
        if not self._square.is_open:
            return None
        for name, word in words.items():
            self._square.said.setdefault(name, {})[self.me] = word
        return {name: tuple(word for _, word in sorted(self._square.said[name].items())) for name in words}

    async def close(self) -> None:
        """Nothing is held."""
