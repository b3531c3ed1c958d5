"""What callers say of an answer afterwards, as it crosses doors."""

from typing import Protocol

from pointsman.types import Assignment, Value


class Feedback(Value, frozen=True):
    """One verdict on the answer to `request_id`. `value` in [0, 1]; `source` is one of thumbs, score, correctness."""

    request_id: str
    value: float
    source: str
    tenant: str = ""
    given_unix_s: float = 0.0


class Judged(Value, frozen=True):
    """A verdict joined to the request it is about, however late it came.

    `replaces`: the value the same caller gave before from the same source, None where it is the first.
    """

    feedback: Feedback
    model_id: str
    use_case: str = ""
    intent: str = ""
    language: str = ""
    complexity: str = ""
    assignment: Assignment | None = None
    received_unix_s: float = 0.0
    replaces: float | None = None


class FeedbackSink(Protocol):
    """Hears of every verdict once it is joined. May not block."""

    def judged(self, judged: Judged) -> None: ...
