"""Embeddings by the real model: OpenAI's wire, E5's prefixes, and texts that would break the package."""

import array
import base64
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pointsman.backends.worker.config import E5Config
from pointsman.backends.worker.e5 import DIMENSIONS, LONGEST_PIECE, MAX_INPUTS, MAX_TOKENS, E5Engine, load
from pointsman.backends.worker.server import Stop, Stopped
from pointsman.errors import RequestError
from pointsman.testing.samples import json_body, result

pytestmark = pytest.mark.real

CAPITAL = "What is the capital of France?"
PARIS = "Paris is the capital and the largest city of France."
BREAD = "Knead the dough, let it rise for an hour and bake it."


@pytest.fixture(scope="module")
def e5() -> E5Engine:
    return load(msgspec.json.encode(E5Config(model_id="e5", api_key="")))


def answer(e5: E5Engine, given: Any, **members: Any) -> Any:
    return msgspec.json.decode(result(e5.embed(json_body(input=given, **members))))


def vectors(e5: E5Engine, given: Any, **members: Any) -> NDArray[np.float32]:
    return np.array([one["embedding"] for one in answer(e5, given, **members)["data"]], np.float32)


def refusal(e5: E5Engine, given: Any, **members: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        answer(e5, given, **members)
    return caught.value


def test_what_belongs_together_is_near_across_languages(e5: E5Engine) -> None:
    questions = vectors(e5, [CAPITAL, "फ्रांस की राजधानी क्या है?"])
    passages = vectors(e5, [PARIS, BREAD], input_type="passage")
    assert np.linalg.norm(questions, axis=1) == pytest.approx(1, abs=1e-3)
    near, far = (questions @ passages.T).T
    assert (near > far + 0.05).all()


def test_the_answer_has_openais_shape(e5: E5Engine) -> None:
    said = answer(e5, ["a", "a b c d"])
    assert (said["object"], said["model"]) == ("list", "e5")
    assert [(one["object"], one["index"], len(one["embedding"])) for one in said["data"]] == [
        ("embedding", 0, DIMENSIONS),
        ("embedding", 1, DIMENSIONS),
    ]
    tokens = [answer(e5, text)["usage"]["prompt_tokens"] for text in ("a", "a b c d")]
    assert 0 < tokens[0] < tokens[1]
    assert said["usage"] == {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}


def test_base64_holds_the_same_numbers(e5: E5Engine) -> None:
    (one,) = answer(e5, CAPITAL, encoding_format="base64")["data"]
    assert array.array("f", base64.b64decode(one["embedding"])).tolist() == vectors(e5, CAPITAL)[0].tolist()


def test_a_batch_is_as_its_texts_alone(e5: E5Engine) -> None:
    together = vectors(e5, [CAPITAL, PARIS, BREAD])
    assert np.array_equal(together, np.concatenate([vectors(e5, text) for text in (CAPITAL, PARIS, BREAD)]))


@pytest.mark.parametrize("word", ["passage", "document", "search_document"])
def test_the_prefix_is_what_the_caller_says_else_what_the_text_says_else_a_query(e5: E5Engine, word: str) -> None:
    query, passage = vectors(e5, PARIS), vectors(e5, PARIS, input_type=word)
    assert not np.array_equal(query, passage)
    assert np.array_equal(query, vectors(e5, PARIS, input_type="search_query"))
    assert np.array_equal(query, vectors(e5, f"query: {PARIS}"))
    assert np.array_equal(passage, vectors(e5, f"passage: {PARIS}"))
    assert np.array_equal(passage, vectors(e5, f"passage: {PARIS}", input_type=word))
    assert not np.array_equal(query, vectors(e5, f"passage: {PARIS}", input_type="query"))


@pytest.mark.parametrize(
    ("given", "members", "param", "code"),
    [
        ("", {}, "input", "invalid_value"),
        (["a", " \n"], {}, "input[1]", "invalid_value"),
        ([], {}, "input", "invalid_value"),
        (["a"] * (MAX_INPUTS + 1), {}, "input", "invalid_value"),
        ([1, 2], {}, "input[0]", "invalid_value"),
        ([[1, 2]], {}, "input[0]", "invalid_value"),
        (7, {}, "input", "invalid_value"),
        ("a", {"dimensions": 128}, "dimensions", "invalid_value"),
        ("a", {"input_type": "other"}, "input_type", "invalid_value"),
        ("a", {"encoding_format": "int8"}, "encoding_format", "invalid_value"),
        (["a", "word " * MAX_TOKENS], {}, "input[1]", "context_length_exceeded"),
        ("=" * (LONGEST_PIECE * MAX_TOKENS + 1), {}, "input", "context_length_exceeded"),
    ],
)
def test_what_is_refused_names_its_place(e5: E5Engine, given: Any, members: Any, param: str, code: str) -> None:
    refused = refusal(e5, given, **members)
    assert (refused.param, refused.code) == (param, code)


def test_its_own_number_of_dimensions_may_be_asked_for(e5: E5Engine) -> None:
    assert vectors(e5, "a", dimensions=DIMENSIONS).shape == (1, DIMENSIONS)
    assert str(DIMENSIONS) in refusal(e5, "a", dimensions=128).message


def test_a_text_is_read_to_its_last_token(e5: E5Engine) -> None:
    filler = "word " * (MAX_TOKENS - 20)
    assert not np.array_equal(vectors(e5, f"{filler} write code"), vectors(e5, f"{filler} read aloud"))


@pytest.mark.parametrize("text", ["x\0y", "😀" * 400, "\u200d" * 50, "ﷺ" * 20, "\x01\x7f", "=" * 4000, "ﬁ" * 300])
def test_no_text_breaks_it(e5: E5Engine, text: str) -> None:
    assert np.isfinite(vectors(e5, text)).all()


def test_work_ends_when_nobody_waits_for_it(e5: E5Engine) -> None:
    stop = Stop()
    stop.ask()
    with pytest.raises(Stopped):
        list(e5.embed(json_body(input=["a"] * 100)).chunks(stop))
