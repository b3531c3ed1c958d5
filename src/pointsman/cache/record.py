"""What is kept of an answer, as bytes. Pure.

Invariants: a record is believed only under the key it carries, so that a store which mixes up its answers can do no
more than miss; the caller's words are not in it.
"""

import msgspec

from pointsman.cache import shapes
from pointsman.cache.streams import EVENTS
from pointsman.types import Kind, Request, Scored, Signals, Value

JSON = "application/json"


class Label(Value, frozen=True):
    """What the request was taken for, and how surely."""

    label: str
    p: float


class Record(Value, frozen=True, array_like=True):
    """One whole answer: a `body`, or the `chunks` of a stream as they came."""

    key: bytes
    content_type: str
    body: bytes
    chunks: tuple[bytes, ...]
    model_id: str
    use_case: Label
    intent: Label
    language: Label
    complexity: Label
    has_usage: bool
    kept_unix_s: float

    def signals(self) -> Signals:
        """As much as is remembered of what the request was taken for."""
        found = (Scored(label=one.label, p=one.p) for one in self.labels)
        use_case, intent, language, complexity = found
        return Signals(use_case=use_case, intent=intent, language=language, complexity=complexity)

    @property
    def labels(self) -> tuple[Label, Label, Label, Label]:
        return self.use_case, self.intent, self.language, self.complexity


_decode = msgspec.msgpack.Decoder(Record).decode
_encode = msgspec.msgpack.Encoder().encode


def encode(record: Record) -> bytes:
    return _encode(record)


def decode(key: bytes, raw: bytes) -> Record | None:
    """The record that lies under a key; None where it is none of ours, damaged, or another key's."""
    try:
        record = _decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return record if record.key == key else None


def label_of(scored: Scored) -> Label:
    return Label(label=scored.label, p=scored.p)


class Shaped(Value, frozen=True):
    """A record as one caller wants it: a body, or chunks."""

    content_type: str
    body: bytes = b""
    chunks: tuple[bytes, ...] | None = None


def shaped(record: Record, request: Request) -> Shaped | None:
    """1 Kept in the shape that is asked for: as it came. 2 The other one: turned. 3 None where a caller wants the
    usage of a stream that never told it, or the shape cannot be turned."""
    is_stream = bool(record.chunks)
    if is_stream and request.stream and request.wants_usage and not record.has_usage and request.kind in shapes.KINDS:
        return None
    if is_stream == request.stream or request.kind is Kind.SPEECH:
        return Shaped(content_type=record.content_type, body=record.body, chunks=record.chunks if is_stream else None)
    if request.kind not in shapes.KINDS:
        return None
    if request.stream:
        events = shapes.events_of(request.kind, record.body)
        if events is None or (request.wants_usage and not record.has_usage):
            return None
        return Shaped(content_type=EVENTS, chunks=events)
    body = shapes.body_of(request.kind, record.chunks)
    return None if body is None else Shaped(content_type=JSON, body=body)
