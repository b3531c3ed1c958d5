"""The single writer: the one place that holds a changing State.

Knows: tickets and who waits for them. Does not know: any rule (`machine`), nor how anything is performed (`Hands`).
`apply` is synchronous on the event loop's thread: an event is stepped and its effects are performed before the next
one is looked at. So there are no locks, and a free slot is granted without a task switch.

Invariant: every ticket is answered once, or cancelled once by whoever waited for it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from pointsman.clock import Clock
from pointsman.errors import PointsmanError, RequestError
from pointsman.fleet.events import Cancel, Effect, Event, Grant, News, Refuse, Want
from pointsman.fleet.machine import step
from pointsman.fleet.timing import passed
from pointsman.fleet.values import Deployment, State

Answer = Grant | Refuse
Patience = Callable[[float], float]
"""Of the seconds waited: for how many more to wait before it is asked again. What it raises ends the wait."""


class Hands(Protocol):
    """Who performs."""

    def perform(self, effect: Effect) -> None: ...


class Writer:
    """`state` is the present; read it freely, change it through `apply`."""

    def __init__(self, state: State, clock: Clock) -> None:
        self.state = state
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._hands: Hands | None = None
        self._pending: deque[Event] = deque()
        self._is_performing = False
        self._ticket = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._answered: dict[int, Answer] = {}
        self._conditions: list[tuple[Callable[[State], bool], asyncio.Future[None]]] = []

    def open(self, hands: Hands) -> None:
        """Effects go there from now on."""
        self._hands = hands

    def apply(self, event: Event) -> None:
        """Step, then perform. What a performance itself brings about waits its turn."""
        if self._is_performing:
            self._pending.append(event)
            return
        self.state, effects = step(self.state, event)
        if effects or self._pending:
            self._perform(effects)
        if self._conditions:
            self._check_conditions()

    def ask(
        self, deployment_id: str, deadline_s: float, *, for_load: bool = False, may_evict: bool = True
    ) -> tuple[int, Answer | None]:
        """Want something: its ticket, and the answer where it came at once. Raises RequestError `model_not_found`."""
        self.known(deployment_id)
        self._ticket = ticket = self._ticket + 1
        self.apply(
            Want(
                at_s=self._clock.now(),
                deployment_id=deployment_id,
                ticket=ticket,
                deadline_s=deadline_s,
                for_load=for_load,
                may_evict=may_evict,
            )
        )
        return ticket, self._answered.pop(ticket, None)

    def answer_of(self, ticket: int) -> asyncio.Future[Answer]:
        """The answer that is still to come. Cancelling it does not cancel the want; `answer` does."""
        future = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        return future

    async def answer(self, ticket: int, deployment_id: str, patience: Patience | None = None) -> Answer:
        """The answer to a queued want. A caller that leaves cancels the want, even one granted this very moment; so
        does one whose `patience` raises. Its place is kept until then."""
        future, asked_s = self.answer_of(ticket), self._clock.now()
        try:
            while patience is not None and not future.done():
                await passed(self._clock, patience(self._clock.now() - asked_s), future)
            return await future
        except (asyncio.CancelledError, PointsmanError):
            self._waiting.pop(ticket, None)
            self.counts["cancelled"] += 1
            self.apply(Cancel(at_s=self._clock.now(), deployment_id=deployment_id, ticket=ticket))
            raise

    async def until(self, condition: Callable[[State], bool]) -> None:
        """Return once it holds."""
        if not condition(self.state):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._conditions.append((condition, future))
            await future

    def known(self, deployment_id: str) -> Deployment:
        """Raises RequestError `model_not_found` for one that is not configured."""
        d = self.state.deployments.get(deployment_id)
        if d is None:
            known = ", ".join(self.state.deployments)
            raise RequestError(f"there is no deployment `{deployment_id}`; there are {known}", code="model_not_found")
        return d

    def _perform(self, effects: tuple[Effect, ...]) -> None:
        """In order; then what follows from events that came meanwhile."""
        self._is_performing = True
        try:
            while True:
                for effect in effects:
                    self._perform_one(effect)
                if not self._pending:
                    break
                self.state, effects = step(self.state, self._pending.popleft())
        finally:
            self._is_performing = False

    def _perform_one(self, effect: Effect) -> None:
        if isinstance(effect, Answer):
            self._deliver(effect)
            return
        if self._hands is None:
            raise RuntimeError("the fleet is not running: enter it with `async with fleet:` first")
        if isinstance(effect, News):
            self.counts[type(effect).__name__] += 1
        self._hands.perform(effect)

    def _deliver(self, answer: Answer) -> None:
        self.counts["granted" if isinstance(answer, Grant) else f"refused {answer.code}"] += 1
        future = self._waiting.pop(answer.ticket, None)
        if future is None:
            self._answered[answer.ticket] = answer
        elif not future.done():  # done: cancelled a moment ago; its owner is about to send Cancel
            future.set_result(answer)

    def _check_conditions(self) -> None:
        met = [entry for entry in self._conditions if entry[1].done() or entry[0](self.state)]
        for entry in met:
            self._conditions.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)
