"""Tokens → text as it may be shown: whole characters only, and nothing of a stop word.

Knows: how a tokenizer joins tokens. Does not know: models, where tokens come from.
"""

from collections.abc import Callable, Sequence

HALF = "\ufffd"
"""What a tokenizer writes for the beginning of a character whose end is in the next token."""

Decode = Callable[[Sequence[int]], str]


class Writer:
    """Writes one answer. Joined, what `add` and `end` give is the answer without its stop word."""

    def __init__(self, decode: Decode, stops: tuple[str, ...] = ()) -> None:
        self._decode = decode
        self._stops = stops
        self._tokens: list[int] = []
        self._from = 0  # where decoding begins anew: how a token is written depends on the one before it
        self._shown = 0
        self._held = ""
        self.has_stopped = False

    def add(self, token: int) -> str:
        """What can be shown now."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._from : self._shown])
        after = self._decode(self._tokens[self._from :])
        if after.endswith(HALF) or len(after) <= len(before):
            return ""
        self._from, self._shown = self._shown, len(self._tokens)
        return self._let_go(after[len(before) :])

    def end(self) -> str:
        """What was held back, where no stop word came of it."""
        if self.has_stopped:
            return ""
        before = self._decode(self._tokens[self._from : self._shown])
        after = self._decode(self._tokens[self._from :])
        rest = self._let_go(after[len(before) :])
        rest, self._held = rest + ("" if self.has_stopped else self._held), ""
        return rest

    def _let_go(self, piece: str) -> str:
        text = self._held + piece
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.has_stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of the stop word."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0)
