"""What libraries log, as events of ours: uvicorn, asyncio and others write nowhere else.

Knows: the standard library's logging. Does not know: what an event looks like when it is written (`log`).
Invariants: of a foreign record only its level, its place and its unfilled template are told: what fills it, and what
an exception says, may quote a prompt. The same again within `PAUSE_S` is counted, and told with the next: who sends
damaged requests cannot fill a disk.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pointsman.ledger.lines import Event, Level
from pointsman.ledger.log import place_of

MAX_CHARS = 200
PAUSE_S = 10.0
MOST_REMEMBERED = 100


class Foreign(logging.Handler):
    """Hands each record to `told` as an event."""

    def __init__(self, told: Callable[[Event], None]) -> None:
        super().__init__(logging.WARNING)
        self._told = told
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        said = (str(record.msg).splitlines() or [""])[0][:MAX_CHARS]
        told_s, unsaid = self._seen.get((record.name, said), (-PAUSE_S, 0))
        if record.created - told_s < PAUSE_S:
            self._seen[record.name, said] = told_s, unsaid + 1
            return
        if len(self._seen) >= MOST_REMEMBERED:
            self._seen.clear()
        self._seen[record.name, said] = record.created, 0
        error = record.exc_info[1] if record.exc_info else None
        where = place_of(error) if error else f"{record.filename}:{record.lineno} {record.funcName}"
        kind = type(error).__name__ if error else ""
        details = (("source", record.name), ("type", kind), ("where", where), ("unsaid", unsaid))
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        self._told(Event(name="library_message", message=said, level=level, details=details))


@contextmanager
def heard(told: Callable[[Event], None]) -> Iterator[None]:
    """While this is open, `told` hears what libraries warn of, and nothing of it reaches standard error by itself."""
    handler, root = Foreign(told), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
