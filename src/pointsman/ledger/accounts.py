"""A sink for all that is told in money: the price of a request is reckoned once, and tallied and shown from there.

Knows: who wants to hear it. Does not know: prices (`cost`), sums (`tally`), names of series (`cost_metrics`).
"""

from collections.abc import Callable, Iterable

from pointsman.ledger.cost import Prices
from pointsman.ledger.cost_metrics import CostMetrics
from pointsman.ledger.tally import Tally
from pointsman.types import Outcome
from pointsman.types_feedback import Judged


class Accounts:
    """A sink of Outcomes and of verdicts. `prices` is asked anew for every request."""

    def __init__(self, prices: Callable[[], Prices], tally: Tally, metrics: CostMetrics) -> None:
        self._prices = prices
        self.tally = tally
        self._metrics = metrics

    def know(self, models: Iterable[str], keys: Iterable[str]) -> None:
        """These are configured, too: what is counted of them is theirs from now on."""
        models = tuple(models)
        self.tally.know(models)
        self._metrics.know(models, keys)

    def closed(self, outcome: Outcome) -> None:
        spent = self._prices().spent(outcome)
        self.tally.closed(outcome, spent)
        self._metrics.closed(outcome, spent)

    def judged(self, judged: Judged) -> None:
        self.tally.judged(judged)
        self._metrics.judged(judged)

    def __repr__(self) -> str:
        return f"Accounts({self.tally!r})"
