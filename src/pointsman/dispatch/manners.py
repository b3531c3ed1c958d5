"""How a model is asked, beside what the caller says: its sampling defaults and its system prompt. Pure.

Knows: JSON members of chats and completions. Does not know: engines, the wire. It follows from the settings, so a
request reads one snapshot of it, and no process has to be started anew for another.
Invariant: what the caller says stands: a default fills only what was left open, a system prompt goes only before a chat
without a system message.
"""

from collections.abc import Iterable, Mapping

import msgspec

from pointsman.settings import ModelBase
from pointsman.settings_models import ChatBase
from pointsman.types import JsonPayload, Kind, Request, Turn, Value

GENERATES = frozenset({Kind.CHAT, Kind.COMPLETION})
SYSTEM = frozenset({"system", "developer"})

Members = tuple[tuple[str, bytes], ...]

_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Manner(Value, frozen=True):
    """Of one model. `sampling`: JSON members; `system`: the prompt; empty for none."""

    sampling: Members = ()
    system: str = ""

    def of(self, request: Request) -> Request:
        """The request as this model is asked."""
        payload = request.payload
        if request.kind not in GENERATES or not isinstance(payload, JsonPayload):
            return request
        told = dict(payload.members)
        told.update((name, raw) for name, raw in self.sampling if told.get(name, b"null") == b"null")
        turns = request.turns
        if self.system and request.kind is Kind.CHAT and not any(turn.role in SYSTEM for turn in turns):
            first = {"role": "system", "content": self.system}
            told["messages"] = msgspec.json.encode([first, *_messages(told["messages"])])
            turns = (Turn(role="system", text=self.system), *turns)  # an error that quotes it is cut short there
        return msgspec.structs.replace(request, payload=JsonPayload(members=tuple(told.items())), turns=turns)


Manners = Mapping[str, Manner]


def manners_of(models: Iterable[ModelBase]) -> Manners:
    """By model id, of those whose settings say anything."""
    chatting = (model for model in models if isinstance(model, ChatBase) and (model.sampling or model.system_prompt))
    return {model.id: Manner(sampling=_members(model), system=model.system_prompt or "") for model in chatting}


def _members(model: ChatBase) -> Members:
    """Whole numbers as such: some servers take no `40.0` for a count."""
    numbers = ((name, int(value) if value.is_integer() else value) for name, value in model.sampling.items())
    return tuple((name, msgspec.json.encode(number)) for name, number in numbers)
