"""Which deployment answered a conversation's turn before this one: it still has the prompt in its cache.

Knows: how a conversation is recognised, who answered it last. Does not know: what that is worth (a term of `policy`).
Invariants: memory is bounded, in entries and in time; texts are kept as hashes; a request that begins a conversation is
held by nobody, so that the same first question always goes the same way.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from pointsman.types import Kind, Outcome, Request

MOST, LONGEST_S = 10_000, 1800.0  # engines forget a prompt sooner than that


def conversation_of(request: Request) -> str:
    """The conversation a chat request belongs to, as a hash of its opening: all up to its first word of a user.

    The same opening is the same conversation, whoever says it: that is what prompt caches go by. "" for other kinds.
    """
    if request.kind is not Kind.CHAT:
        return ""
    digest = hashlib.blake2b(request.tenant.encode(errors="replace"), digest_size=8)
    for turn in request.turns:
        digest.update(f"\0{turn.role}\0{turn.text}".encode(errors="replace"))
        if turn.role == "user":
            return digest.hexdigest()
    return ""


class Conversations:
    """A sink. Who answered which conversation last."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def closed(self, outcome: Outcome) -> None:
        """Whoever gave the answer holds the conversation from now on."""
        if outcome.status != "success" or not outcome.conversation or not outcome.attempts:
            return
        self._last[outcome.conversation] = (outcome.attempts[-1].deployment_id, self._now())
        self._last.move_to_end(outcome.conversation)
        if len(self._last) > MOST:
            self._last.popitem(last=False)

    def held_by(self, request: Request) -> str:
        """The deployment that answered the turn before; "" where there was none, or too long ago."""
        if not any(turn.role == "assistant" for turn in request.turns):
            return ""
        deployment_id, then_s = self._last.get(conversation_of(request), ("", 0.0))
        return deployment_id if self._now() - then_s <= LONGEST_S else ""

    def __repr__(self) -> str:
        return f"Conversations({len(self._last)} of {MOST})"
