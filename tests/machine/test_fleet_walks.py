"""The fleet's laws on long random walks: fleets that live long enough to sleep, wake, run short and recover.

Hypothesis tries odd orders and finds the shortest; its examples are too short to come into every corner often.
"""

import random
from collections import Counter
from collections.abc import Callable

from tests.machine.books import ALIVE, GRANTED, OPEN, TAKEN
from tests.machine.test_fleet_machine import FleetMachine

from pointsman.fleet.events import Effect, Unloading
from pointsman.types import Breaker

WALKS, MOVES = 60, 300
FAVOURITES = ("napper", "dozer", "parker", "spread", "medium", "large", "small", "pinned")
ODD, RARE = 0.15, 0.2
MUST_HAPPEN = {
    *("Start", "Stop", "Sleep", "Wake", "Grant", "Refuse", "Loaded", "LoadFailed", "Died", "Restarting", "FellAsleep"),
    *("Sleepless", "Woke", "WakeUpFailed", "evicted", "expired", "unloaded", "unhealthy", "wake_failed", "drained"),
    *("removed", "Forgotten"),
}


class Walker(FleetMachine):
    """Moves at random among what can happen, mostly as in a healthy fleet of a few favourites."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.names = self.random.sample(FAVOURITES, self.random.randint(2, 5))
        self.calm = self.random.choice((1, 2, 4))
        self.enter()

    def perform(self, effect: Effect) -> None:
        self.seen[type(effect).__name__] += 1
        if isinstance(effect, Unloading):
            self.seen[effect.why.value] += 1
        super().perform(effect)

    def move(self) -> None:
        moves: list[Callable[[], object]] = [self.somebody_asks, *[self.time_goes_by] * self.calm]
        kinds = {kind for kind, _ in self.children.values()}
        moves += [move for kind, move in self.reactions() if kind in kinds] * 3
        moves += [lambda: self.take(self.pick())] if self.some(GRANTED, 0) else []
        moves += [lambda: self.release(self.pick(), ok=True)] * 3 if self.some(TAKEN, 0) else []
        chosen = self.something_odd if self.random.random() < ODD else self.random.choice(moves)
        chosen()
        self.laws()

    def pick(self) -> int:
        return self.random.randrange(100)

    def reactions(self) -> tuple[tuple[str, Callable[[], object]], ...]:
        """Of children that were told something."""
        choice = self.random.choice
        return (
            ("starting", lambda: self.start_succeeds(self.pick(), choice((0, 0, 0, 0, 0, 25, 60)))),
            ("falling_asleep", lambda: self.falls_asleep(self.pick(), choice((0, 0, 0, 0, 3, 60)))),
            ("falling_asleep", lambda: self.random.random() < RARE and self.sleep_fails(self.pick())),
            ("waking", lambda: self.wakes(self.pick(), choice((0, 0, 0, 0, 0, 70)))),
            ("waking", lambda: self.random.random() < RARE and self.wake_fails(self.pick())),
            ("stopping", lambda: self.stop_succeeds(self.pick())),
        )

    def somebody_asks(self) -> None:
        self.ask(self.random.choice(self.names), self.random.choice((1.0, 10.0, 60.0)))

    def time_goes_by(self) -> None:
        self.time_passes(self.random.choice((0.1, 0.3, 0.7, 3.0, 9.0)))

    def something_odd(self) -> None:
        name, choice = self.random.choice(self.names), self.random.choice
        choice(
            (
                lambda: self.want_load(name, may_evict=choice((True, True, False))),
                lambda: self.cancel(self.pick(), choice((OPEN, GRANTED))),
                lambda: self.start_fails(self.pick(), choice(("loading_failed", "out_of_memory"))),
                lambda: self.crash(self.pick(), choice(ALIVE)),
                lambda: self.unload(name),
                lambda: self.rest(name),
                lambda: self.probe(self.pick(), choice(("sick", "well", "grown")), self.pick()),
                lambda: self.noise(name, self.pick()),
                lambda: self.calls_end(name, choice(([True] * 3, [False] * 5)), is_overload=choice((True, False))),
                lambda: self.force(name, choice((None, None, Breaker.FORCED_CLOSED, Breaker.FORCED_OPEN))),
                lambda: self.remove(name),
                *[lambda: self.configure(name, choice((True, False, False)), choice((None, 0.0, 6.0)))] * 2,
                lambda: self.govern(choice((80, 100, 100)), choice((4.0, 8.0))),
                self.time_goes_by,
            )
        )()

    def laws(self) -> None:
        self.count()
        self.the_state_agrees_with_the_world()
        self.nothing_is_left_undone()
        self.nobody_waits_for_what_is_there()
        self.nobody_closes_for_one_who_does_not_wait()
        self.what_can_never_fit_never_lives()


def test_the_laws_hold_on_long_walks_and_everything_happens() -> None:
    seen: Counter[str] = Counter()
    for seed in range(WALKS):
        walker = Walker(seed)
        for _ in range(MOVES):
            walker.move()
        walker.teardown()
        seen += walker.seen
    assert not MUST_HAPPEN - seen.keys()
