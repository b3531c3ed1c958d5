"""`x-routing.context_docs`: documents that belong to a question, fitted and put before it. Pure.

Knows: where in a body the question stands. Does not know: which passages matter (`rag.reduce`).
"""

from typing import Any

import msgspec

from pointsman.rag.reduce import Reduced, reduce
from pointsman.signals.tokens import text_tokens
from pointsman.types import Context, ContextCut, JsonPayload, Turn

BUDGET_TOKENS = 2000
"""Where the caller names none (`x-routing.context_tokens`)."""


def fitted(
    payload: JsonPayload, turns: tuple[Turn, ...], documents: tuple[str, ...], budget_tokens: int | None
) -> tuple[JsonPayload, tuple[str, ...], Context]:
    """The payload with what of the documents fits, those texts, and what was cut."""
    question = next((turn.text for turn in reversed(turns) if turn.role == "user"), "")
    found = reduce(documents, question, BUDGET_TOKENS if budget_tokens is None else budget_tokens, text_tokens)
    told = Context(
        kept=tuple(number for number, _ in found.documents),
        cuts=tuple(ContextCut(document=cut.document, tokens=cut.tokens, why=cut.why) for cut in found.cuts),
        tokens_before=found.tokens_before,
        tokens_after=found.tokens_after,
        tokens_saved=found.tokens_saved,
    )
    return _with(payload, found), tuple(text for _, text in found.documents), told


def _with(payload: JsonPayload, found: Reduced) -> JsonPayload:
    """The documents before the last question: in its message (some models take no second system message)."""
    block = "\n\n".join(f'<document index="{number + 1}">\n{text}\n</document>' for number, text in found.documents)
    if not block:
        return payload
    members = dict(payload.members)
    if "messages" in members:
        messages = msgspec.json.decode(members["messages"], type=list[dict[str, Any]])
        asked = next((one for one in reversed(messages) if one.get("role") == "user"), None)
        if asked is None:
            messages.append({"role": "user", "content": block})
        elif isinstance(asked.get("content"), list):
            asked["content"] = [{"type": "text", "text": block}, *asked["content"]]
        else:
            asked["content"] = f"{block}\n\n{asked.get('content') or ''}"
        members["messages"] = msgspec.json.encode(messages)
    elif "prompt" in members:
        prompt = msgspec.json.decode(members["prompt"])
        if isinstance(prompt, str):
            members["prompt"] = msgspec.json.encode(f"{block}\n\n{prompt}")
    return JsonPayload(members=tuple(members.items()))
