"""One canonical line for each request, and one for each event in the server's life.

Knows: which lines are wanted, JSON for machines, short lines for a terminal. Does not know: what is in a line
(`lines`), how it reaches the descriptor (`writer`).
Invariant: writing a line never blocks the event loop; lines that had to be dropped are counted in a line of their own.
"""

import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec

from pointsman.clock import Clock
from pointsman.ledger.lines import LEVELS, Event, Level, line_of
from pointsman.ledger.terminal import event_line, request_line
from pointsman.ledger.writer import LineWriter
from pointsman.redact import Redactor
from pointsman.types import Outcome

STDERR = 2
MAX_FRAMES = 6


class Log:
    """A sink. `human` makes short coloured lines instead of JSON; `requests` false leaves only events; `cost` tells
    what a request came to."""

    def __init__(
        self,
        writer: LineWriter,
        clock: Clock,
        level: Level = "info",
        requests: bool = True,
        human: bool = False,
        hide: Redactor | None = None,
        cost: Callable[[Outcome], float] | None = None,
    ) -> None:
        self._writer = writer
        self._hide = hide or Redactor()
        self._clock = clock
        self._cost = cost
        self._level = level
        self._floor = LEVELS[level]
        self._requests = requests
        self._human = human
        self._encode = msgspec.json.Encoder().encode
        self._dropped_reported = 0
        self._listeners: list[Callable[[Event], None]] = []

    @classmethod
    def to_stderr(
        cls,
        clock: Clock,
        level: Level = "info",
        requests: bool = True,
        hide: Redactor | None = None,
        cost: Callable[[Outcome], float] | None = None,
    ) -> Self:
        """Standard error: short lines where a person reads it on a terminal, JSON everywhere else."""
        human = os.isatty(STDERR)
        return cls(LineWriter(STDERR), clock, level=level, requests=requests, human=human, hide=hide, cost=cost)

    def closed(self, outcome: Outcome) -> None:
        """Write the request's line."""
        if not self._requests:
            return
        line = line_of(outcome, self._hide, None if self._cost is None else self._cost(outcome))
        if LEVELS[line.level] >= self._floor:
            self._put(request_line(line) if self._human else self._encode(line) + b"\n")

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Tell it of every event too, whatever the log's level. It must not block, nor raise."""
        self._listeners.append(listener)

    def event(self, event: Event) -> None:
        """Write one event of the server's life."""
        for listener in self._listeners:
            listener(event)
        if LEVELS[event.level] >= self._floor:
            self._put(self._hide(self._event_line(event).decode()).encode())

    def unforeseen(self, request_id: str, error: Exception) -> None:
        """Write where an exception that nobody mapped came from; not its text, which may quote a prompt."""
        details = (("request_id", request_id), ("type", type(error).__name__), ("where", place_of(error)))
        self.event(Event(name="unforeseen_error", message="A defect in this server", level="error", details=details))

    def close(self) -> None:
        """Write what is queued, for a second at most."""
        self._report_dropped()
        self._writer.close()

    def _put(self, line: bytes) -> None:
        if self._writer.dropped != self._dropped_reported:
            self._report_dropped()
        self._writer.put(line)

    def _report_dropped(self) -> None:
        missing = self._writer.dropped - self._dropped_reported
        if missing and self._writer.has_room:
            self._dropped_reported += missing
            details = (("lines", missing),)
            event = Event(name="log_lines_dropped", message="The log was stuck", level="warning", details=details)
            self._writer.put(self._event_line(event))

    def _event_line(self, event: Event) -> bytes:
        now = datetime.fromtimestamp(self._clock.unix(), UTC)
        if self._human:
            return event_line(now, event)
        head = {"ts": now, "level": event.level, "event": event.name, "message": event.message}
        return self._encode(head | dict(event.details)) + b"\n"

    def __repr__(self) -> str:
        return f"Log({self._level}, {'human' if self._human else 'json'}, {self._writer!r})"


def place_of(error: BaseException) -> str:
    """Where it was raised, innermost first."""
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
