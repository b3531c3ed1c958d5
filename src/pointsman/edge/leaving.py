"""A server on its way out: who is told so, who still comes in, who is cut short.

Knows: the requests under way, as tasks. Does not know: signals, how long anything may take (`cli.serve`).
1. begun: `/ready` says so, everybody is still served. 2. closed: a new request is refused with `draining`; those under
way go on. 3. cut: those still under way end now, each with the one error, as a body or as a stream's last event.
"""

import asyncio
from types import TracebackType
from typing import Any

from pointsman.errors import DRAINING, Refused

RETRY_AFTER_S = 5.0


class Leaving:
    """`with leaving:` around each request. One for the process; none of its steps is ever taken back."""

    def __init__(self) -> None:
        self.is_begun = False
        self.is_closed = False
        self.is_cut = False
        self._under_way: set[asyncio.Task[Any]] = set()

    def begin(self) -> None:
        self.is_begun = True

    def close(self) -> None:
        self.is_begun = self.is_closed = True

    def cut(self) -> None:
        """Each is cancelled once."""
        self.is_begun = self.is_closed = self.is_cut = True
        for task in tuple(self._under_way):
            task.cancel(DRAINING)

    def __enter__(self) -> None:
        if task := asyncio.current_task():
            self._under_way.add(task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if task := asyncio.current_task():
            self._under_way.discard(task)

    def check(self) -> None:
        """Nothing while new requests are taken. Raises Refused."""
        if self.is_closed:
            raise self.refusal()

    def refusal(self) -> Refused:
        """What who comes, or is cut, hears."""
        said = "This server is shutting down; try again shortly, at another instance where there is one"
        return Refused(said, code=DRAINING, retry_after_s=RETRY_AFTER_S)

    def caught(self) -> bool:
        """Whether the cancellation that arrived just now was ours; it is spent then, and the task goes on."""
        task = asyncio.current_task()
        if not self.is_cut or task is None or task not in self._under_way:
            return False
        task.uncancel()
        return True

    def __repr__(self) -> str:
        state = "cut" if self.is_cut else "closed" if self.is_closed else "begun" if self.is_begun else "open"
        return f"Leaving({state}, {len(self._under_way)} under way)"
