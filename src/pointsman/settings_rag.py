"""The section `rag`: documents that questions are answered from.

Knows: names and ranges. Does not know: how anything is found.
"""

from pydantic import Field

from pointsman.settings_base import Section, Words


class RagSettings(Section):
    """Documents that are kept here, and questions answered from them: `/v1/rag/ingest`, `/v1/rag/query`."""

    enabled: bool = Field(True, description="false: the endpoints refuse.")
    file: Words | None = Field(None, description="Where they are kept; default: `shelf.sqlite` in `cache_dir`.")
    most_passages: int = Field(
        20_000, ge=1, description="Passages of about a hundred words that one key's owner may keep; 2 kB each."
    )
    top: int = Field(6, ge=1, le=50, description="Passages that a question is answered from, at most.")
    context_tokens: int = Field(1200, ge=50, description="Tokens that these may take of the prompt.")
    remember: int = Field(6, ge=0, le=100, description="Exchanges of a conversation that go with its next question.")
