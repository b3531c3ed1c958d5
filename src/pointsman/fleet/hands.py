"""Performs what the machine decided: starts, naps, stops, the timer, the news, forgetting.

Knows: the loader, one timer, who subscribed. Does not know: why anything is done.
"""

import asyncio
from collections.abc import Callable

from pointsman.clock import Clock
from pointsman.fleet.events import (
    Effect,
    Event,
    Forgotten,
    Loaded,
    News,
    Sleep,
    Start,
    Stop,
    Tick,
    Unloading,
    Wake,
    WakeAt,
)
from pointsman.fleet.loader import Loader
from pointsman.fleet.values import Why

Subscriber = Callable[[News], None]


class Hands:
    """`tell` takes the ticks; `forget` hears of who is gone. Before `open` and after `close` no time passes."""

    def __init__(
        self, loader: Loader, clock: Clock, tell: Callable[[Event], None], forget: Callable[[str], None]
    ) -> None:
        self._loader = loader
        self._forget = forget
        self.evictions = 0
        self.loaded: dict[str, Loaded] = {}
        self.subscribers: list[Subscriber] = []
        self._clock = clock
        self._tell = tell
        self._group: asyncio.TaskGroup | None = None
        self._timer: asyncio.Task[None] | None = None

    def open(self, group: asyncio.TaskGroup) -> None:
        """The timer is a task of `group`."""
        self._group = group

    def close(self) -> None:
        """No more ticks."""
        self._group = None
        self._cancel_timer()

    def perform(self, effect: Effect) -> None:
        """Begin it; what comes of it is an event."""
        match effect:
            case Start():
                self._loader.start(effect.deployment_id, effect.life)
            case Stop():
                self._loader.stop(effect.deployment_id, effect.life)
            case Sleep():
                self._loader.sleep(effect.deployment_id, effect.life)
            case Wake():
                self._loader.wake(effect.deployment_id, effect.life)
            case WakeAt():
                self._tick_at(effect.at_s)
            case Forgotten():
                self._loader.forget(effect.deployment_id)
                self.loaded.pop(effect.deployment_id, None)
                self._forget(effect.deployment_id)
            case News():
                self._publish(effect)

    def _tick_at(self, at_s: float) -> None:
        """Instead of the moment asked for before."""
        self._cancel_timer()
        if self._group is not None:
            self._timer = self._group.create_task(self._tick(at_s), name="tick")

    def _publish(self, news: News) -> None:
        """Remember, and tell the subscribers: later, so that a bug of theirs cannot stop the writer half way."""
        if isinstance(news, Unloading) and news.why is Why.EVICTED:
            self.evictions += 1
        if isinstance(news, Loaded):
            self.loaded[news.deployment_id] = news
        for callback in self.subscribers:
            asyncio.get_running_loop().call_soon(callback, news)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _tick(self, at_s: float) -> None:
        await self._clock.sleep(max(0.0, at_s - self._clock.now()))
        self._timer = None
        self._tell(Tick(at_s=max(at_s, self._clock.now())))  # a sleep may end a hair early
