"""The manual: what the document says, as a page in which nothing of it can do anything."""

from pointsman.edge.manual import page_of


def document(**schema: object) -> dict[str, object]:
    answers = {"200": {"description": "The answer"}}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}}
    operation = {"tags": ["t"], "summary": "a < b", "requestBody": body, "responses": answers}
    return {
        "info": {"title": "T", "version": "1", "description": "D"},
        "paths": {"/x/{id}": {"post": operation}},
        "components": {"schemas": {"Body": {"type": "object", "title": "Body"} | schema}},
    }


def test_words_of_the_document_are_text() -> None:
    page = page_of(document(description="<script>alert(1)</script>"))
    assert "a &lt; b" in page
    assert "<script" not in page


def test_members_tell_their_kinds_and_lead_to_other_schemas() -> None:
    page = page_of(
        document(
            required=["many"],
            properties={
                "many": {"type": "array", "items": {"$ref": "#/components/schemas/Body"}},
                "either": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 7},
                "word": {"enum": ["on", "off"]},
                "free": {},
            },
        )
    )
    assert '<td><code>many</code></td><td>list of <a href="#Body">Body</a></td><td>required</td>' in page
    assert "<td><code>either</code></td><td>integer or null</td><td>by default 7</td>" in page
    assert "<td><code>on</code> or <code>off</code></td>" in page
    assert "<td><code>free</code></td><td>anything</td>" in page
    assert '<details id="Body"' in page
