"""Requests and caches for these tests, as the edge and the app would make them."""

from typing import Any

import msgspec

from pointsman.cache.exact import Cache, NoSeat, Seat, Similar
from pointsman.cache.memory import Memory
from pointsman.clock import SystemClock
from pointsman.edge.http import Incoming
from pointsman.edge.openai import decode_chat, decode_completion, decode_embedding
from pointsman.settings_cache import CacheSettings
from pointsman.types import Reply, Request, RoutingMetadata

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
DECODERS = {"chat": decode_chat, "completion": decode_completion, "embedding": decode_embedding}


def asked(kind: str = "chat", *, tenant: str = "", control: str = "", routing: Any = None, **body: Any) -> Request:
    """A request as its endpoint decodes it; greedy unless `temperature` says otherwise."""
    whole = {"model": "auto", "temperature": 0} | ({"messages": MESSAGES} if kind == "chat" else {}) | body
    whole |= {"x-routing": routing} if routing else {}
    return from_bytes(msgspec.json.encode(whole), kind, tenant=tenant, control=control)


def from_bytes(body: bytes, kind: str = "chat", *, tenant: str = "", control: str = "") -> Request:
    incoming = Incoming(
        request_id="r1",
        content_type="application/json",
        body=body,
        received_s=SystemClock().now(),
        cache_control=control,
    )
    return msgspec.structs.replace(DECODERS[kind](incoming), tenant=tenant)


class OneTree(Cache):
    """A cache that requests of one settings tree ask."""

    def seat(self, request: Request) -> Seat | NoSeat:
        return self.under("c").seat(request)


def cached(timeout_s: float = 30, similar: Similar | None = None, **settings: Any) -> OneTree:
    """A cache in memory."""
    clock = SystemClock()
    chosen = CacheSettings.model_validate({"exact": "deterministic", **settings})
    store = Memory(int(chosen.memory_mb * 1_000_000), clock.now)
    return OneTree(store, chosen, clock, timeout_s=timeout_s, similar=similar)


def answer(words: str = "Paris.", end: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": end}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return msgspec.json.encode(body)


def replied(body: bytes | None = None, content_type: str = "application/json", **more: Any) -> Reply:
    return Reply(
        status=200, content_type=content_type, body=answer() if body is None else body, metadata=metadata(), **more
    )


def metadata(model_id: str = "small") -> RoutingMetadata:
    return RoutingMetadata(
        model_id=model_id,
        model_name=model_id,
        intent="general",
        use_case="agent",
        language="en",
        complexity="low",
        confidence=0.9,
        fallback_used=False,
        attempts=1,
        cache="miss",
        experiment=None,
        total_time_seconds=0.1,
        request_id="r1",
    )
