"""What is new, told twice a second to whoever has the console open.

Knows: what was told last. Does not know: who listens, HTTP. Invariants: a listener that reads slowly misses rows (their
numbers show it) and costs no memory; nothing is computed while nobody listens; it ends when the gateway leaves.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from pointsman.clock import Clock
from pointsman.edge.console.story import Row, row_of
from pointsman.fleet.status import FleetStatus
from pointsman.ledger.recent import Recent, Told
from pointsman.types import Value
from pointsman.types_record import Record

TICK_S = 0.5
TICKS_A_FLEET = 4
MOST_ROWS = 100
MOST_EVENTS = 400


class Look(Value, frozen=True):
    """What there is to be seen. `record`: of a request, None where nothing is kept of it; `experiments`: how each
    stands; `books`: the routing statistics, as JSON, with the
    money of that key, of all for None; `is_leaving`: the gateway takes no more requests."""

    recent: Recent
    fleet: Callable[[], FleetStatus]
    record: Callable[[str], Awaitable[Record | None]]
    experiments: Callable[[], object]
    books: Callable[[str | None], bytes]
    is_leaving: Callable[[], bool]


class News(Value, frozen=True, omit_defaults=True):
    """One message. `last`: the number of the newest request; `rows`: the newest of those not told yet."""

    at_unix_s: float
    last: int
    in_flight: int
    rows: tuple[Row, ...] = ()
    events: tuple[Told, ...] = ()
    fleet: FleetStatus | None = None


async def tell(look: Look, clock: Clock, after: int, after_event: int) -> AsyncIterator[bytes]:
    """Server-sent events, one `News` each: what came after those numbers, then all that comes."""
    recent = look.recent
    after = after if after <= recent.outcomes.last else 0  # the gateway was started anew
    after_event = after_event if after_event <= recent.events.last else 0
    ticks = 0
    while not look.is_leaving():
        found = recent.outcomes.after(after, MOST_ROWS)
        told = tuple(event for _, event in recent.events.after(after_event, MOST_EVENTS))
        after, after_event = recent.outcomes.last, recent.events.last
        news = News(
            at_unix_s=clock.unix(),
            last=after,
            in_flight=recent.in_flight(),
            rows=tuple(row_of(number, outcome) for number, outcome in found),
            events=told,
            fleet=look.fleet() if told or ticks % TICKS_A_FLEET == 0 else None,
        )
        if news.rows or news.events or news.fleet:
            yield b"data: " + msgspec.json.encode(news) + b"\n\n"
        ticks += 1
        await clock.sleep(TICK_S)
