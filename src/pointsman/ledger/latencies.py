"""How long deployments take to their first byte: what a hedge waits for.

Knows: the last first bytes of each deployment. Does not know: who hedges. A sink: it hears of every Outcome.
"""

from collections import defaultdict, deque
from collections.abc import Container

from pointsman.types import Outcome

KEPT = 64
FEWEST = 16
"""Before so many are known, nothing is said: a quantile of less is a guess."""
SLOW = 0.95


class Latencies:
    """First-byte times of the last `KEPT` answers of each deployment, the wait for its lease not counted."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._slow: dict[str, float] = {}

    def closed(self, outcome: Outcome) -> None:
        for attempt in outcome.attempts:
            if attempt.error or attempt.first_byte_s is None:
                continue
            self._seen[attempt.deployment_id].append(attempt.first_byte_s - attempt.started_s - attempt.wait_s)
            self._slow.pop(attempt.deployment_id, None)

    def keep(self, deployments: Container[str]) -> None:
        """There are no others any more."""
        for name in [name for name in self._seen if name not in deployments]:
            del self._seen[name]
            self._slow.pop(name, None)

    def slow_s(self, deployment_id: str) -> float | None:
        """The 95th percentile in seconds; None where fewer than `FEWEST` are known."""
        if deployment_id not in self._slow:
            seen = self._seen.get(deployment_id, ())
            if len(seen) < FEWEST:
                return None
            self._slow[deployment_id] = sorted(seen)[int(SLOW * len(seen))]
        return self._slow[deployment_id]

    def __repr__(self) -> str:
        return f"Latencies({len(self._seen)} deployments)"
