"""Values for the page: a request as a row of a list, and one request's whole story. Pure.

Invariant: no word of a prompt, an answer or an upstream is in either unless prompts are stored: a row holds names,
labels and numbers, and a story is a `Record`, which keeps to that.
"""

import msgspec

from pointsman.ledger.reading import experiment_of
from pointsman.types import Outcome, Value
from pointsman.types_record import Record

LONGEST_NAME = 128
"""Callers choose `model` and may choose the request id."""


class Row(Value, frozen=True):
    """One request in a list. `number`: as the gateway counted them; times in seconds."""

    number: int
    request_id: str
    at_unix_s: float
    kind: str
    tenant: str
    asked_model: str
    model_id: str
    fallback_from: str
    status: str
    http_status: int
    error: str
    task: str
    language: str
    complexity: str
    cache: str
    experiment: str | None
    attempts: int
    stream: bool
    prompt_tokens: int
    completion_tokens: int
    total_s: float
    first_byte_s: float | None


class Story(Value, frozen=True):
    """A record whose JSON columns are JSON again: `signals`, `plan`, `attempts` (a list), `limits`, `world`."""

    record: Record
    signals: msgspec.Raw
    plan: msgspec.Raw
    attempts: msgspec.Raw
    limits: msgspec.Raw
    world: msgspec.Raw


def row_of(number: int, outcome: Outcome) -> Row:
    """Some microseconds' work."""
    signals = outcome.signals
    return Row(
        number=number,
        request_id=outcome.request_id[:LONGEST_NAME],
        at_unix_s=outcome.received_unix_s,
        kind=outcome.kind.value,
        tenant=outcome.tenant[:LONGEST_NAME],
        asked_model=outcome.asked_model[:LONGEST_NAME],
        model_id=outcome.model_id[:LONGEST_NAME],
        fallback_from=outcome.fallback_from,
        status=outcome.status,
        http_status=outcome.http_status,
        error=outcome.error,
        task=outcome.task if signals else "",
        language=signals.language.label if signals else "",
        complexity=signals.complexity.label if signals else "",
        cache=outcome.cache,
        experiment=experiment_of(outcome.plan),
        attempts=len(outcome.attempts),
        stream=outcome.stream,
        prompt_tokens=outcome.usage.prompt_tokens,
        completion_tokens=outcome.usage.completion_tokens,
        total_s=round(outcome.total_s, 6),
        first_byte_s=outcome.first_byte_s,
    )


def story_of(record: Record) -> Story:
    """The whole story. The record's own JSON columns are emptied: they are told beside it."""
    columns = (record.signals, record.plan, record.attempts_detail, record.limits, record.world)
    signals, plan, attempts, limits, world = (msgspec.Raw((column or "null").encode()) for column in columns)
    short = msgspec.structs.replace(record, signals="", plan="", attempts_detail="", limits="", world="")
    return Story(record=short, signals=signals, plan=plan, attempts=attempts, limits=limits, world=world)
