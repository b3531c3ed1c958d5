"""What libraries log becomes an event of ours: where it came from, and never what was in it."""

import asyncio
import logging

from pointsman.ledger.foreign import MOST_REMEMBERED, heard
from pointsman.ledger.lines import Event

SECRET = "my number is 4929 1234"


def fails() -> None:
    int(SECRET)


def told(*records: logging.LogRecord) -> list[Event]:
    events: list[Event] = []
    with heard(events.append):
        for record in records:
            logging.getLogger().handlers[-1].emit(record)
    return events


def record(message: str, created_s: float, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("library", logging.WARNING, "/somewhere/library.py", 7, message, args, None, "f")
    made.created = created_s
    return made


def test_of_a_record_only_its_template_and_of_an_exception_only_its_place() -> None:
    events: list[Event] = []
    with heard(events.append):
        logging.getLogger("library").info("not even a warning")
        logging.getLogger("library").warning("cannot read %r", SECRET)
        try:
            fails()
        except ValueError:
            logging.getLogger("library").exception(f"while reading\nSecret: {SECRET}")  # noqa: G004  # as others do
    logging.getLogger("library").debug("nobody hears")
    assert [(event.message, event.level) for event in events] == [
        ("cannot read %r", "warning"),
        ("while reading", "error"),
    ]
    assert dict(events[1].details)["type"] == "ValueError"
    assert "test_foreign.py" in str(dict(events[1].details)["where"])
    assert SECRET not in str(events)


def test_a_task_whose_failure_nobody_heard_is_heard_here() -> None:
    events: list[Event] = []

    async def scene() -> None:
        async def lost() -> None:
            fails()

        task = asyncio.create_task(lost())
        await asyncio.sleep(0.01)
        del task

    with heard(events.append):
        asyncio.run(scene())
    (event,) = events
    assert (event.message, event.level) == ("Task exception was never retrieved", "error")
    assert SECRET not in str(event)


def test_the_same_again_is_counted() -> None:
    events = told(*(record("again %s", at * 0.1, at) for at in range(1, 50)), record("again %s", 20.0, "x"))
    assert [dict(event.details)["unsaid"] for event in events] == [0, 48]
    many = told(*(record(f"message {at}", 1.0) for at in range(3 * MOST_REMEMBERED)))
    assert len(many) == 3 * MOST_REMEMBERED
