"""What a store of rows promises.

Knows: the shapes. Does not know: SQL. Calls block; a store belongs to one thread at a time.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pointsman.types import Value
from pointsman.types_feedback import Feedback
from pointsman.types_record import Record


class StoreError(Exception):
    """The store cannot be used just now: away, locked, full, or of a newer version. The same call may do later."""


class RowRefused(Exception):  # noqa: N818  # it is the row that is at fault
    """A row is not such as the store can hold; it never will."""


class Verdict(Value, frozen=True):
    """Feedback as it is kept, with what was said along with it."""

    feedback: Feedback
    comment: str = ""


class Found(Value, frozen=True):
    """What a verdict is about, and the value the same tenant gave before from the same source."""

    record: Record
    before: float | None


class Query(Value, frozen=True):
    """Which rows: `since` included, `until` not; the latest first or the oldest; None: without bound."""

    since_unix_s: float = 0.0
    until_unix_s: float | None = None
    request_id: str | None = None
    limit: int | None = None
    latest_first: bool = False


class Store(Protocol):
    """Every method may raise StoreError; what it had begun is then undone."""

    def write(self, records: Sequence[Record]) -> None:
        """All of them or, with RowRefused, none."""

    def judge(self, verdict: Verdict) -> Found | None:
        """Keep a verdict beside its request's latest row; None where the tenant has no such request. Idempotent."""

    def read(self, query: Query) -> Iterator[Record]:
        """Row by row, in the order they were written; over a connection of its own, so from any thread."""

    def prune(self, before_unix_s: float, keep_rows: int) -> int:
        """Forget what is older, and all but about so many rows; how many went."""

    def close(self) -> None:
        """A later call opens it again."""
