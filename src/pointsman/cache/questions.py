"""A request as a question that another wording may answer; most requests are none. Pure.

1 A chat of one user's turn, after any system prompts; each message a role and a text, nothing else. 2 No tools, no
media, nothing that names a person or a matter (`user`, `metadata`, entities, documents). 3 A language whose threshold
is verified, surely told, in its own script. 4 Short, with something in it, and not about whoever asks (`sameness`).

Questions are compared only inside a partition: tenant, model, everything else in the body, system prompts, language,
intent and use case, all equal.
"""

import msgspec

from pointsman.cache.keys import key_of
from pointsman.cache.sameness import Shape, shape_of
from pointsman.types import JsonPayload, Kind, Request, Signals, Value

# Made by `python -m bench.semantic`, which says how; a language with less than 98 % of right hits would not be here.
THRESHOLDS: dict[str, float] = {
    "en": 0.84,
    "hi": 0.85,
    "bn": 0.86,
    "mr": 0.88,
    "gu": 0.89,
    "pa": 0.89,
    "ta": 0.87,
    "te": 0.84,
    "kn": 0.87,
    "ml": 0.87,
}
SYSTEM = frozenset({"system", "developer"})
PERSONAL = frozenset({"user", "metadata", "safety_identifier"})
SURE = 0.6
LONGEST_CHARS = 240
FEWEST_WORDS = 2


class Question(Value, frozen=True):
    """`place`: where its equals may lie, all that must be equal hashed. `threshold`: of the cosine."""

    place: bytes
    text: str
    shape: Shape
    threshold: float


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: str


_decode_messages = msgspec.json.Decoder(list[_Message]).decode


def question_of(request: Request, signals: Signals, configuration: str) -> Question | None:
    """None where only the same words will do."""
    threshold = THRESHOLDS.get(signals.language.label)
    if threshold is None or signals.language.p < SURE or signals.script != "native" or not _is_plain(request):
        return None
    *system, asked = _messages(request) or [_Message(role="", content="")]
    if asked.role != "user" or len(asked.content) > LONGEST_CHARS or any(m.role not in SYSTEM for m in system):
        return None
    shape = shape_of(asked.content, signals.language.label)
    if shape is None or len(shape.words) + len(shape.askers) < FEWEST_WORDS:
        return None
    labels = (signals.language.label, signals.intent.label, signals.use_case.label)
    rest = (*labels, *(part for m in system for part in (m.role, m.content)))
    place = key_of(request, configuration, without="messages", also=(*rest, *shape.fixed()))
    return Question(place=place, text=asked.content, shape=shape, threshold=threshold)


def _is_plain(request: Request) -> bool:
    payload, hints = request.payload, request.hints
    if request.kind is not Kind.CHAT or request.has_tools or request.media or not isinstance(payload, JsonPayload):
        return False
    return not (hints.entities or hints.context_docs or any(name in PERSONAL for name, _ in payload.members))


def _messages(request: Request) -> list[_Message] | None:
    """None where a message holds more than words."""
    assert isinstance(request.payload, JsonPayload)  # noqa: S101  # looked at before
    try:
        return _decode_messages(request.payload.get("messages") or b"")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
