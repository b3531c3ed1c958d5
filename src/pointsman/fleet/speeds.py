"""How fast each deployment answers, learned from the answers it gave: what the router reckons with.

Knows: when an answer began and ended, how many tokens it has. Does not know: who reckons with it. `Speeds` is a sink:
it hears of every Outcome.

A stream shows both figures, the time to its first token and the pace after it; of a whole answer only their sum is
seen, and all but the time that streams take to begin is held for writing. An answer that is no text is all beginning.
Older answers count less with each new one (`KEPT`). What is not measured any more is forgotten (`FADES_S`): else who
was slow once, and is asked no more for it, would be slow for ever.
Invariants: memory does not grow with traffic, one `Speed` a deployment; only an answer of one attempt teaches.
"""

from pointsman.types import Kind, Outcome

KEPT = 0.8
FADES_S = 900.0
LEAST_S = 1e-5
"""A token: one that comes in no time shows no pace."""
TEXT = frozenset({Kind.CHAT, Kind.COMPLETION})


class Speed:
    """Of an answer that began to come at `at_s` and of those before. `first_token_s`: 0 where no stream has shown it,
    None before any answer. `per_s`: tokens a second after it, 0 where no text was seen: of `tokens` that took
    `writing_s`, sums that fade."""

    __slots__ = ("at_s", "first_token_s", "per_s", "tokens", "writing_s")

    def __init__(self, first_token_s: float | None = None) -> None:
        self.first_token_s = first_token_s
        self.at_s = self.per_s = self.tokens = self.writing_s = 0.0

    def began(self, after_s: float) -> None:
        """An answer that let its beginning be seen."""
        known_s = self.first_token_s
        self.first_token_s = KEPT * known_s + (1 - KEPT) * after_s if known_s else after_s

    def wrote(self, tokens: int, took_s: float) -> None:
        self.tokens = tokens + KEPT * self.tokens
        self.writing_s = max(took_s, LEAST_S * tokens) + KEPT * self.writing_s
        self.per_s = self.tokens / self.writing_s

    def __repr__(self) -> str:
        return f"Speed({self.first_token_s or 0:.3g} s to begin, {self.per_s:.3g} tokens a second)"


class Speeds(dict[str, Speed]):
    """By deployment."""

    def __missing__(self, deployment_id: str) -> Speed:
        return self.setdefault(deployment_id, Speed(0.0))

    def closed(self, outcome: Outcome) -> None:
        if len(outcome.attempts) != 1 or outcome.status != "success":
            return
        one = outcome.attempts[0]
        speed = self[one.deployment_id]
        speed.at_s = one.ended_s
        tokens = outcome.usage.completion_tokens if outcome.kind in TEXT else 0
        first_s = speed.first_token_s or 0.0
        if (outcome.stream or not tokens) and one.first_byte_s is not None:
            first_s = one.first_byte_s - one.started_s - one.wait_s
            speed.began(first_s)
        if tokens:
            speed.wrote(tokens, outcome.upstream_s - first_s)
