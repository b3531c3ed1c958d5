"""Values of retrieval: what is kept, what is asked, what was found."""

from typing import Protocol

from pointsman.types import Value


class Moment(Value, frozen=True):
    """A stretch of a document's text; of a recording or film, from when to when it is heard or seen."""

    text: str
    start_s: float | None = None
    end_s: float | None = None


class Document(Value, frozen=True):
    """One document as it is kept. `published_unix_s`: what its time is taken for; `kind`: text, image, audio, video."""

    id: str
    title: str = ""
    collection: str = ""
    kind: str = "text"
    source: str = ""
    published_unix_s: float = 0.0
    added_unix_s: float = 0.0
    passages: int = 0


class Query(Value, frozen=True):
    """What is looked for, within times where these are given. `top`: so many passages at most."""

    text: str
    collection: str = ""
    since_unix_s: float | None = None
    until_unix_s: float | None = None
    newest_first: bool = False
    top: int = 6


class Found(Value, frozen=True):
    """One passage that may hold the answer, with its document. `score` orders, and means nothing else."""

    document: Document
    moment: Moment
    score: float


class Exchange(Value, frozen=True):
    """A question and its answer, remembered under a conversation."""

    question: str
    answer: str


class Embedder(Protocol):
    """Texts as vectors of one length, float32, unit norm; None where there is no encoder."""

    async def passages(self, texts: tuple[str, ...]) -> tuple[bytes, ...] | None: ...
    async def query(self, text: str) -> bytes | None: ...
