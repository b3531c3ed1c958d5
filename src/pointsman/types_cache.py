"""Values about kept answers that cross doors: what a look into the cache found, and the cache as it is now."""

from pointsman.types import Reply, Signals, Value


class Found(Value, frozen=True):
    """What a look into the cache came to. `how` is one of hit, semantic, miss, bypass (nobody looked).

    With a `reply`: the model that once gave it, and what its request was taken for.
    `waited_s`: for the answer to an equal request that was under way.
    """

    how: str
    reply: Reply | None = None
    model_id: str = ""
    signals: Signals | None = None
    waited_s: float = 0.0


class CacheView(Value, frozen=True):
    """The cache now: counts since the start, and what is held. `shared`: another server holds the answers.

    `evicted` left for want of room, `expired` for age; `too_large` were not kept; `followed` had waited for an equal
    request. Of a shared store: calls that `failed`, and those `skipped` while its breaker was open.
    """

    entries: int = 0
    size_bytes: int = 0
    puts: int = 0
    evicted: int = 0
    expired: int = 0
    too_large: int = 0
    followed: int = 0
    failed: int = 0
    skipped: int = 0
    questions: int = 0
    shared: bool = False
    is_up: bool = True
