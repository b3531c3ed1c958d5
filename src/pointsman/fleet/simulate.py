"""The fleet in simulated time: a trace of requests through the very same machine as serves them, as fast as it decides.

Knows: a trace, an event queue, how long loads and calls take by the trace. Does not know: files, the wall clock, any
rule (`machine`).

What is simulated: every row is one want; a grant is taken at once and released `service_s` later; a load takes the
`load_s` of the newest row of its model; a stop takes no time. The machine's timers come when it asked for them.

A *miss* is a request that found its model neither resident, nor loading, nor already waited for, or the first in line
of those for whom a model had to be loaded once more, because it left before it had served them. So a miss is a load, or
a request that was refused before one began, and `evictions` is never above `misses`. Where requests are so far apart
that each is over before the next comes, and nothing is guarded (`min_resident_s` 0), policy `lru` misses exactly where
a plain LRU cache of as many slots does (a test holds the two side by side). Under load the two differ: a busy model
cannot leave, so another one must, many who wait for one load are one miss, and who waits for room may be served in
another order.
"""

from array import array
from collections import defaultdict
from collections.abc import Sequence
from heapq import heappop, heappush

from pointsman.fleet.events import (
    Effect,
    Event,
    Grant,
    Refuse,
    Release,
    Start,
    Started,
    Stop,
    Stopped,
    Taken,
    Tick,
    Unloading,
    WakeAt,
    Want,
)
from pointsman.fleet.machine import initial, step
from pointsman.fleet.values import INFINITY, DeploymentSpec, Phase, Rules, State, Why
from pointsman.types import Value


class Trace(Value, frozen=True):
    """Requests in order of time, a column each. `deadline_s`: from arrival; infinite where there is none."""

    at_s: Sequence[float]
    models: Sequence[str]
    service_s: Sequence[float]
    load_s: Sequence[float]
    size_bytes: Sequence[int] = ()
    deadline_s: Sequence[float] = ()


class Wait(Value, frozen=True):
    """Percentiles of the time from arrival to grant, over the requests that were served, in seconds."""

    p50: float
    p95: float
    p99: float
    max: float


class Played(Value, frozen=True):
    """What came of a trace. `load_s`: spent loading, over all loads; `events`: stepped."""

    requests: int
    misses: int
    miss_ratio: float
    wait_s: Wait
    evictions: int
    refused: int
    loads: int
    load_s: float
    events: int


def play(trace: Trace, budget_bytes: int, rules: Rules, *, slots: int = 1) -> Played:
    """The whole trace, until the last request is answered. `slots`: requests that a model answers at the same time.

    A model's size is that of its largest row; without sizes every model has size 1, and the budget counts models.
    """
    return _Player(trace, budget_bytes, rules, slots).run()


class _Player:
    """One run. Events at the same moment come in the order in which they were caused, a request before all others."""

    def __init__(self, trace: Trace, budget_bytes: int, rules: Rules, slots: int) -> None:
        self._trace = trace
        self._state: State = initial(_specs(trace, slots), rules, budget_bytes)
        self._queue: list[tuple[float, int, Event]] = []
        self._order = 0
        self._wake_at_s = INFINITY
        self._newest_load_s: dict[str, float] = {}
        self._missed: set[str] = set()
        self._waits = array("d")
        self._misses = self._evictions = self._refused = self._loads = self._events = 0
        self._loading_s = 0.0

    def run(self) -> Played:
        trace = self._trace
        deadlines_s = trace.deadline_s or [INFINITY] * len(trace.at_s)
        rows = zip(trace.at_s, trace.models, trace.load_s, deadlines_s, strict=True)
        for ticket, (at_s, model, load_s, deadline_s) in enumerate(rows):
            self._pass_until(at_s)
            d = self._state.deployments[model]
            if d.phase in _ABSENT and not d.queue:
                self._misses += 1
                self._missed.add(model)
            self._newest_load_s[model] = load_s
            self._send(Want(at_s=at_s, deployment_id=model, ticket=ticket, deadline_s=at_s + deadline_s))
        self._pass_until(INFINITY)
        return self._played()

    def _pass_until(self, end_s: float) -> None:
        """Everything that is due before then."""
        queue = self._queue
        while queue and queue[0][0] < end_s:
            at_s, _, event = heappop(queue)
            if isinstance(event, Tick):
                if at_s != self._wake_at_s:
                    continue  # another moment was asked for since
                self._wake_at_s = INFINITY
            self._send(event)

    def _send(self, event: Event) -> None:
        self._events += 1
        self._state, effects = step(self._state, event)
        for effect in effects:
            self._perform(event.at_s, effect)

    def _perform(self, now_s: float, effect: Effect) -> None:
        match effect:
            case Grant():
                self._take(now_s, effect.ticket)
            case Start():
                self._start(now_s, effect)
            case Stop():
                self._later(Stopped(at_s=now_s, deployment_id=effect.deployment_id, life=effect.life))
            case WakeAt():
                self._wake_at_s = effect.at_s
                self._later(Tick(at_s=effect.at_s))
            case Refuse():
                self._refused += 1
            case Unloading():
                self._evictions += effect.why is Why.EVICTED

    def _take(self, now_s: float, ticket: int) -> None:
        model, trace = self._trace.models[ticket], self._trace
        self._waits.append(now_s - trace.at_s[ticket])
        self._send(Taken(at_s=now_s, deployment_id=model, ticket=ticket))
        self._later(Release(at_s=now_s + trace.service_s[ticket], deployment_id=model, ticket=ticket))

    def _start(self, now_s: float, effect: Start) -> None:
        model = effect.deployment_id
        load_s = self._newest_load_s[model]
        self._misses += model not in self._missed
        self._missed.discard(model)
        self._loads += 1
        self._loading_s += load_s
        self._later(Started(at_s=now_s + load_s, deployment_id=model, life=effect.life))

    def _later(self, event: Event) -> None:
        self._order += 1
        heappush(self._queue, (event.at_s, self._order, event))

    def _played(self) -> Played:
        requests = len(self._trace.at_s)
        return Played(
            requests=requests,
            misses=self._misses,
            miss_ratio=self._misses / requests if requests else 0.0,
            wait_s=_percentiles(self._waits),
            evictions=self._evictions,
            refused=self._refused,
            loads=self._loads,
            load_s=self._loading_s,
            events=self._events,
        )


_ABSENT = frozenset({Phase.COLD, Phase.STOPPING, Phase.FAILED})


def _specs(trace: Trace, slots: int) -> tuple[DeploymentSpec, ...]:
    """In order of first appearance."""
    sizes: defaultdict[str, int] = defaultdict(int)
    for model, size_bytes in zip(trace.models, trace.size_bytes or [1] * len(trace.models), strict=True):
        sizes[model] = max(sizes[model], size_bytes)
    return tuple(
        DeploymentSpec(id=model, model_id=model, slots=slots, memory_bytes=size) for model, size in sizes.items()
    )


def _percentiles(waits_s: Sequence[float]) -> Wait:
    """Linear interpolation between the two nearest ranks."""
    ordered = sorted(waits_s) or [0.0]

    def at(share: float) -> float:
        low, rest = divmod(share * (len(ordered) - 1), 1)
        above = ordered[min(int(low) + 1, len(ordered) - 1)]
        return ordered[int(low)] + rest * (above - ordered[int(low)])

    return Wait(p50=at(0.5), p95=at(0.95), p99=at(0.99), max=ordered[-1])
