"""Links found in a chat body, and replaced."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pointsman.media.links import data_uri, links_of, may_link, with_data

A, B = "https://a.example/1.png", "HTTP://b.example/2.mp4"


def body(*parts: Any) -> dict[str, Any]:
    return {"model": "auto", "seed": 12345678901234567890, "messages": [{"role": "user", "content": list(parts)}]}


def test_every_shape_of_link_is_found_and_replaced() -> None:
    document = body(
        {"type": "text", "text": f"see {A}"},
        {"type": "image_url", "image_url": {"url": A, "detail": "low"}},
        {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
        {"type": "video_url", "video_url": B},
        {"type": "image_url", "image_url": {"url": A}},
    )
    assert links_of(document) == (("messages[0].content[1].image_url", A), ("messages[0].content[3].video_url", B))
    out = json.loads(with_data(document, {A: data_uri("image/png", b"\x00"), B: "data:video/mp4;base64,"}))
    parts = out["messages"][0]["content"]
    assert parts[0]["text"] == f"see {A}"
    assert parts[1]["image_url"] == {"url": "data:image/png;base64,AA==", "detail": "low"}
    assert parts[2]["image_url"] == "data:image/png;base64,AAAA"
    assert parts[3]["video_url"] == "data:video/mp4;base64,"
    assert out["seed"] == 12345678901234567890


def test_a_body_without_links_is_told_cheaply() -> None:
    assert not may_link(b'{"messages":[{"role":"user","content":"http://a"}]}')
    assert not may_link(b'{"messages":[{"content":[{"image_url":"data:x"}]}]}')
    assert may_link(msgspec.json.encode(body({"type": "image_url", "image_url": A})))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["messages", "content", "image_url", "video_url", "url", "type"]), inner, max_size=3),
    max_leaves=20,
)  # fmt: skip


@given(ANYTHING)
def test_any_json_at_all_is_no_crash(document: Any) -> None:
    assert links_of(document) == ()
