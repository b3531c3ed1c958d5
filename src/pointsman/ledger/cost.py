"""What a request cost, and what it would have cost at the baseline: "always the large one". Pure.

Knows: prices, who serves what, GPUs and slots of a deployment. Does not know: who asks.

Money is `cost_per_mtok` times all tokens that the answer reports, prompt and completion alike: the settings know one
price a model. Tokens of an attempt that failed are known to nobody, so they cost nothing here. The baseline is the
same tokens at the baseline model's price; where that model does not serve the kind of request there was no choice, and
the baseline is the cost itself. A kept answer costs nothing; its baseline is what it would have taken to give it.
"""

from collections.abc import Iterable

from pointsman.types import Kind, ModelCard, Outcome, Usage, Value, World

MTOK = 1_000_000


class Spent(Value, frozen=True):
    """Of one request. `gpu_s`: the upstream's time times the GPUs of the deployment that answered, by its slots.

    `saved_cost`: of a kept answer, what its own model would have taken to give it again.
    """

    cost: float
    baseline_cost: float
    gpu_s: float
    saved_cost: float = 0.0


class Prices:
    """Prices of the configured models; any other is free. `baseline`: the model all is compared with; default: the
    dearest for chat, where none has a price the `large` one, if there is one."""

    def __init__(self, cards: Iterable[ModelCard], baseline: str | None = None, large: str = "") -> None:
        by_id = {card.id: card for card in cards}
        self.baseline = baseline or _dearest(by_id.values()) or large
        self._per_mtok = {name: card.cost_per_mtok for name, card in by_id.items()}
        self._compared = by_id[self.baseline].kinds if self.baseline in by_id else ()

    def cost(self, outcome: Outcome) -> float:
        """What the Outcome's tokens come to."""
        return self._money(outcome.usage, outcome.attempts[-1].model_id) if outcome.attempts else 0.0

    def spent(self, outcome: Outcome) -> Spent:
        """What the Outcome's tokens and time come to."""
        cached, cost = outcome.cached_model, self.cost(outcome)
        saved = self._money(outcome.saved, cached) if cached else 0.0
        baseline = cost + saved
        if outcome.kind in self._compared:
            baseline = self._money(outcome.saved if cached else outcome.usage, self.baseline)
        return Spent(cost=cost, baseline_cost=baseline, gpu_s=_gpu_s(outcome), saved_cost=saved)

    def _money(self, usage: Usage, model_id: str) -> float:
        return usage.total_tokens * self._per_mtok.get(model_id, 0.0) / MTOK

    def __repr__(self) -> str:
        return f"Prices({len(self._per_mtok)} models, against {self.baseline or 'nothing'})"


def _dearest(cards: Iterable[ModelCard]) -> str:
    """For chat; of equals the first. Empty where all are free."""
    priced = [card for card in cards if Kind.CHAT in card.kinds and card.cost_per_mtok]
    return max(priced, key=lambda card: card.cost_per_mtok).id if priced else ""


def _gpu_s(outcome: Outcome) -> float:
    if not outcome.attempts or not outcome.upstream_s:
        return 0.0
    return outcome.upstream_s * gpus_a_slot(outcome.world, outcome.attempts[-1].deployment_id)


def gpus_a_slot(world: World | None, deployment_id: str) -> float:
    """How many GPUs one of its slots has to itself, on an even share; 0 where it uses none or is not known."""
    for view in world.deployments if world else ():
        if view.id == deployment_id:
            return sum(1 for _, size_bytes in view.gpu_bytes if size_bytes) / max(view.slots, 1)
    return 0.0
