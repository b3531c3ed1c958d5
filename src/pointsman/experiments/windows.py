"""A switchback's turns: each turn of an arm is one observation, so that load which builds up within it counts once.

Knows: time in windows. Does not know: arms' evidence beyond handing means over. After Bojinov, Simchi-Levi, Zhao 2023,
"Design and analysis of switchback experiments", Management Science 69(7).
Invariants: memory is bounded by the windows still open; a window is closed once, GRACE windows after its end, and what
comes later is late.
"""

from collections.abc import Iterator

from pointsman.experiments.evidence import Moments, Tally
from pointsman.experiments.verdict import Arm

GRACE = 2


class Window:
    """One turn's requests, while verdicts on them still come in."""

    def __init__(self) -> None:
        self.requests = 0
        self.quality = Tally()
        self.errors = Tally()
        self.latency_s = Moments()
        self.cost = Moments()

    def into(self, arm: Arm) -> None:
        """Its means, each as one observation."""
        arm.requests += self.requests
        for mean, tally in ((self.quality, arm.quality), (self.errors, arm.errors)):
            if mean.n:
                tally.add(mean.mean)
        arm.latency_s.add(self.latency_s.typical)
        arm.cost.add(self.cost.typical)


class Windows:
    """Those still open, by number."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._open: dict[int, tuple[str, Window]] = {}
        self._closed_before = 0

    def is_open(self, at_unix_s: float) -> bool:
        return int(at_unix_s // self._window_s) >= self._closed_before

    def at(self, at_unix_s: float, arm: str) -> Window:
        return self._open.setdefault(int(at_unix_s // self._window_s), (arm, Window()))[1]

    def settled(self, now_unix_s: float) -> Iterator[tuple[str, Window]]:
        """Those that nothing more is waited for, each once."""
        self._closed_before = max(self._closed_before, int(now_unix_s // self._window_s) - GRACE)
        for number in sorted(number for number in self._open if number < self._closed_before):
            yield self._open.pop(number)

    def clear(self) -> None:
        self._open.clear()

    def __repr__(self) -> str:
        return f"Windows({len(self._open)} open)"
