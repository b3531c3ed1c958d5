"""Documents that come along stand before the question, fitted, and what was cut is told."""

import json
from typing import Any

from pointsman.edge.http import Incoming
from pointsman.edge.openai import decode_chat, decode_completion
from pointsman.types import Context, JsonPayload, Request

DOCUMENTS = ["The train leaves at 22:45.", "Rain fell in June.", "The train leaves at 22:45!"]


def decoded(body: dict[str, Any], decode: Any = decode_chat) -> tuple[Request, dict[str, Any]]:
    request: Request = decode(
        Incoming(request_id="r", content_type="application/json", body=json.dumps(body).encode(), received_s=0.0)
    )
    assert isinstance(request.payload, JsonPayload)
    return request, json.loads(request.payload.encode())


def asked(content: Any, **routing: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": content}]
    return {"model": "auto", "messages": messages, "x-routing": {"context_docs": DOCUMENTS} | routing}


def test_documents_stand_before_the_question() -> None:
    request, sent = decoded(asked("When does the train leave?"))
    text = sent["messages"][1]["content"]
    assert text.endswith("When does the train leave?")
    assert text.index("22:45") < text.index("Rain")
    assert text.count("22:45") == 1
    assert sent["messages"][0] == {"role": "system", "content": "Be kind."}
    assert "x-routing" not in sent
    assert isinstance(request.context, Context)
    assert [(cut.document, cut.why) for cut in request.context.cuts] == [(2, "duplicate")]
    assert request.context.tokens_saved > 0
    assert request.turns[-1].text == "When does the train leave?"  # what is classified is the question
    assert len(request.hints.context_docs) == 2


def test_a_small_budget_cuts_and_none_leaves_nothing() -> None:
    request, sent = decoded(asked("When does the train leave?", context_tokens=12))
    assert "Rain" not in sent["messages"][1]["content"]
    request, sent = decoded(asked("When?", context_tokens=0))
    assert sent["messages"][1]["content"] == "When?"
    assert request.context is not None
    assert request.context.kept == ()


def test_parts_keep_their_own() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    _, sent = decoded(asked([{"type": "text", "text": "And this?"}, picture]))
    kinds = [part["type"] for part in sent["messages"][1]["content"]]
    assert kinds == ["text", "text", "image_url"]


def test_a_prompt_too_and_without_documents_nothing_changes() -> None:
    _, sent = decoded({"prompt": "Train?", "x-routing": {"context_docs": DOCUMENTS[:1]}}, decode_completion)
    assert sent["prompt"].endswith("Train?")
    assert "22:45" in sent["prompt"]
    request, sent = decoded({"messages": [{"role": "user", "content": "Hi"}]})
    assert sent == {"messages": [{"role": "user", "content": "Hi"}]}
    assert request.context is None
