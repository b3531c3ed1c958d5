"""A context that is entered by waiting and left at once: what a request or a call holds while it is under way.

Written out, without a generator: every request comes through here.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType

from pointsman.admission.counters import Leave


def nothing() -> None:
    """Nothing is to be left."""


class Permit:
    """`enter` waits until it may, and gives what gives it back."""

    __slots__ = ("_enter", "_leave")

    def __init__(self, enter: Callable[[], Awaitable[Leave]]) -> None:
        self._enter = enter
        self._leave: Leave = nothing

    async def __aenter__(self) -> None:
        self._leave = await self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
