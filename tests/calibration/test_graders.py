"""Each grader with right, wrong, chatty and gaming answers."""

import json
from fractions import Fraction

import pytest

from pointsman.calibration.checks import CHECKS, failure, listed
from pointsman.calibration.graders import extract_code, grade, needs_sandbox, without_prompt
from pointsman.calibration.items import Check, Item
from pointsman.calibration.text import chrf, folded, has_phrase, numbers, plain, script_share


def item(grader: str, expected: object, prompt: str = "What is asked here?", language: str = "en") -> Item:
    return Item(
        id="t-1",
        family="knowledge",
        language=language,
        intent="general",
        complexity="low",
        prompt=prompt,
        max_tokens=16,
        grader=grader,
        expected=json.dumps(expected, ensure_ascii=False),
    )


# ---------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("12 and 13.5", ["12", "13.5"]),
        ("1,25,000 rupees; 1,250.50", ["125000", "1250.5"]),
        ("१२३ ৪৫ ௬௭ ౮౯", ["123", "45", "67", "89"]),
        ("-4, −5, 10-3", ["-4", "-5", "10", "3"]),
        ("5 lakh, 2 करोड़, ३ लाख", ["500000", "20000000", "300000"]),
        ("1, 2, 3, 4", ["1", "2", "3", "4"]),
        ("version 3. Then 4.", ["3", "4"]),
        ("none", []),
    ],
)
def test_numbers_are_read_in_any_script(text: str, values: list[str]) -> None:
    assert [one.value for one in numbers(folded(text))] == [Fraction(value) for value in values]


def test_plain_text_has_one_spelling() -> None:
    assert plain(" Don’t  STOP—now! ") == "dont stop now"
    assert plain("क\u093c") == plain("\u0958")
    assert plain("അവന്\u200d") == plain("അവൻ")


def test_a_phrase_stands_at_word_borders() -> None:
    assert has_phrase("The capital is New Delhi.", "new delhi")
    assert not has_phrase("category", "cat")
    assert has_phrase("അത് ചെന്നൈയിലാണ്", "ചെന്നൈ")
    assert not has_phrase("something", "!")


def test_script_share_counts_letters_and_marks_only() -> None:
    assert script_share("नमस्ते 123!", "DEVANAGARI") == 1.0
    assert script_share("ab अब", "DEVANAGARI") == 0.5
    assert script_share("123", "LATIN") == 0.0


def test_chrf_of_the_paper() -> None:
    """Equal texts 1, disjoint 0; one letter of two right: orders 1 and 2 give P = R = (1/2 + 0) / 2."""
    assert chrf("नमस्ते", "नमस्ते") == pytest.approx(1.0)
    assert chrf("abc", "xyz") == 0.0
    assert chrf("ab", "ac") == pytest.approx(0.25)
    assert chrf("", "ab") == chrf("ab", "") == 0.0
    assert chrf("a cat sat there", "the cat sat there") > chrf("a dog ran off", "the cat sat there")


# ---------------------------------------------------------------- number


@pytest.mark.parametrize(
    "answer",
    [
        "42",
        "42.",
        "४२",
        "**42**",
        "= 42",
        "The answer is 42.",
        "6 × 7 = 42",
        "₹42",
        "42 rupees",
        "42.0",
        "$42$",
        "\\boxed{42}",
        "Answer: 42 (because 6 * 7 gives it)",
        "42\n\nExplanation: 6 times 7, with 3 steps.",
        "Step 1: 6\nStep 2: 6 * 7 = 42",
        "उत्तर: 42",
        "There are 6 rows of 7, so 42",
        "<think>maybe 41</think>42",
        "Answer: 6 * 7 = 42",
        "84/2",
        "42\n\nThe factors are 6 and 7",
    ],
)
def test_the_right_number_in_many_dresses(answer: str) -> None:
    assert grade(item("number", {"answer": "42"}), answer).score == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "41",
        "-42",
        "420",
        "4.2",
        "none",
        "40 41 42",
        "1, 2, 42",
        "The answer is 41, not far from 42",
        "42 lakh",
        "It is 41 or 42.",
        "Possible numbers: 40, 41, 42",
        "42 is not it. Answer: 43",
        "<think>42",
        "24/2",
    ],
)
def test_a_wrong_or_gamed_number(answer: str) -> None:
    got = grade(item("number", {"answer": "42"}), answer)
    assert got.score == 0.0
    assert got.why


def test_a_number_may_have_a_tolerance_and_separators() -> None:
    assert grade(item("number", {"answer": "3.14", "tolerance": 0.01}), "3.1416").score == 1.0
    assert grade(item("number", {"answer": "125000"}), "₹1,25,000/-").score == 1.0
    assert grade(item("number", {"answer": "500000"}), "5 लाख").score == 1.0
    assert grade(item("number", {"answer": "0.75"}), "3/4").score == 1.0


# ---------------------------------------------------------------- choice

CHOICE = {"answer": "B", "options": ["New York", "York", "a small town", "Delhi"]}


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b",
        "(B)",
        "B)",
        "B.",
        "**B**",
        "B) York",
        "The answer is B.",
        "The correct option is (B) York",
        "York",
        "Answer: B",
        "It must be York.",
        "I think B is right",
        "B\n\nExplanation: it is not A place in America.",
        "The correct answer is:\nB) York",
    ],
)
def test_the_right_letter_in_many_dresses(answer: str) -> None:
    assert grade(item("choice", CHOICE), answer).score == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "A",
        "C",
        "New York",
        "A, B, C, D",
        "A) New York\nB) York\nC) a small town\nD) Delhi",
        "A or B",
        "B, C",
        "Both A and B",
        "New York, York and Delhi",
        "I do not know",
        "Answer: A. Answer: B",
        "A big city",
        "Delhi",
    ],
)
def test_a_wrong_or_gamed_letter(answer: str) -> None:
    assert grade(item("choice", CHOICE), answer).score == 0.0


# ---------------------------------------------------------------- words

PHRASE = {"answer": "Delhi", "accepted": ["दिल्ली"], "rejected": ["Mumbai"], "max_words": 10}


@pytest.mark.parametrize("answer", ["Delhi", "delhi.", "It is New Delhi, of course.", "दिल्ली", "यह दिल्ली है।"])
def test_a_right_phrase(answer: str) -> None:
    assert grade(item("any_of", PHRASE), answer).score == 1.0


@pytest.mark.parametrize("answer", ["Pune", "Delhi or Mumbai", "Delhicious", "Delhi " + "and more " * 9])
def test_a_wrong_phrase(answer: str) -> None:
    assert grade(item("any_of", PHRASE), answer).score == 0.0


def test_exact_is_exact() -> None:
    loose, strict = item("exact", {"answer": "The End"}), item("exact", {"answer": "The End.", "case": True})
    assert grade(loose, "the end!").score == grade(loose, "Here you go: The End").score == 1.0
    assert grade(loose, "Sure:\nThe End").score == 1.0
    assert grade(loose, "the end of it").score == 0.0
    assert grade(strict, '"The End."').score == 1.0
    assert grade(strict, "The end.").score == grade(strict, "The End").score == 0.0


def test_key_words_earn_a_share() -> None:
    key = {
        "answer": "The boy reads a book",
        "groups": [["boy", "lad"], ["reads", "is reading"], ["book"]],
        "script": "LATIN",
    }
    asked = item("contains_all", key)
    assert grade(asked, "A lad is reading the book.").score == 1.0
    assert grade(asked, "The boy runs").score == pytest.approx(1 / 3)
    assert grade(asked, "लड़का boy book reads किताब पढ़ता है और बहुत कुछ").score == 0.0
    assert grade(asked, "boy book reads " * 12).score == 0.0


def test_chrf_takes_the_best_line_and_reference() -> None:
    asked = item("chrf", {"answer": "मैं घर जा रहा हूँ", "references": ["मैं घर जा रही हूँ"]}, language="hi")
    assert grade(asked, "Translation:\nमैं घर जा रही हूँ।\n(Main ghar ja rahi hoon)").score == 1.0
    assert 0.0 < grade(asked, "घर जा रहा").score <= 1.0
    assert grade(asked, "I am going home").score == 0.0


# ---------------------------------------------------------------- JSON

JSON = {"answer": '{"name": "Ravi Rao", "price": 1250, "tags": ["a", "b"]}', "also": [["name", ["Ravi"]]]}


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "Ravi Rao", "price": 1250, "tags": ["a", "b"]}',
        'Sure:\n```json\n{"Name": "ravi rao.", "price": "₹1,250", "tags": ["A", "b"]}\n```\nDone {ok}.',
        '{"name": "Ravi", "price": 1250.0, "tags": ["a", "b"], "note": ""}',
    ],
)
def test_right_json(answer: str) -> None:
    assert grade(item("json_fields", JSON), answer).score == 1.0


def test_json_earns_by_field() -> None:
    asked = item("json_fields", JSON)
    assert grade(asked, '{"name": "Ravi Rao", "price": 1, "tags": "a b"}').score == pytest.approx(1 / 3)
    assert grade(asked, "name: Ravi Rao, price: 1250").score == 0.0
    assert grade(asked, '{"name": "Ravi Rao", "price": 12').score == 0.0
    assert grade(asked, '{"name": null, "price": [1250], "tags": {}}').score == 0.0
    crowded = json.dumps({"name": "Ravi", "price": 1250, "tags": ["a", "b"], "x": 1, "y": 2, "z": 3})
    assert grade(asked, crowded).score == 0.0


# ---------------------------------------------------------------- constraints

PASSING = {
    "items": (Check(name="items", n=3), "Here they are:\n1. a\n2. b\n- c", "a, b"),
    "listed_from": (Check(name="listed_from", words=("red", "blue")), "Red, blue", "red, dog"),
    "mentions": (Check(name="mentions", words=("dog", "cat"), n=2), "dog and cat", "dog"),
    "forbids": (Check(name="forbids", words=("water",)), "the sea", "Water!"),
    "without_letters": (Check(name="without_letters", text="e"), "a cat", "The cat"),
    "script": (Check(name="script", text="TAMIL"), "வணக்கம்", "vanakkam"),
    "upper": (Check(name="upper"), "HELLO 1", "Hello"),
    "lower": (Check(name="lower"), "hello", "Hello"),
    "ends": (Check(name="ends", text="the end"), "So. The end.", "The end is near"),
    "starts": (Check(name="starts", text="well"), "Well, yes", "Yes, well"),
    "words": (Check(name="words", n=2, high=3), "one two three", "one"),
    "sentences": (Check(name="sentences", n=2), "यह एक है। यह दो है।", "One. Two. Three."),
    "times": (Check(name="times", text="tea", n=2), "tea Tea", "tea teas"),
    "only_json": (Check(name="only_json"), '{"a": 1}', 'Here: {"a": 1}'),
    "no_digits": (Check(name="no_digits"), "three", "३"),
    "matches": (Check(name="matches", text=r"\d-\d"), " 1-2 ", "1-2-3"),
    "each_starts": (Check(name="each_starts", text="b"), "Bat\nbig ball", "bat\ncat"),
    "sorted": (Check(name="sorted"), "ant, bear", "bear, ant"),
}


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_each_check_can_pass_and_fail(name: str) -> None:
    check, right, wrong = PASSING[name]
    assert failure(check, right) == ""
    assert failure(check, wrong) != ""


def test_items_are_counted_once() -> None:
    assert listed("1. Red\n2. Blue\n") == ["Red", "Blue"]
    assert failure(Check(name="items", n=2), "red, Red") == "names an item twice"


def test_every_constraint_counts() -> None:
    checks = [{"name": "upper"}, {"name": "words", "n": 2}]
    asked = item("constraints", {"answer": "OH NO", "checks": checks})
    assert grade(asked, "OH NO").score == 1.0
    assert grade(asked, "OH").why == "has 1 words, not 2"
    assert grade(asked, "oh no").score == 0.0


# ---------------------------------------------------------------- whatever the grader


def test_the_question_is_no_answer() -> None:
    prompt = "Say 42.\nNow."
    asked = item("number", {"answer": "42"}, prompt)
    assert grade(asked, "say 42. now.").why == "says the question back"
    assert grade(asked, "Say 42. Now.\n41").score == 0.0
    assert without_prompt("Say 42.\nNow. 7", prompt).strip() == "7"


def test_code_is_not_graded_by_reading() -> None:
    asked = item("python_tests", {"entry": "f", "tests": "assert f()", "solution": "def f():\n    return 1"})
    assert needs_sandbox(asked)
    with pytest.raises(ValueError, match="sandbox"):
        grade(asked, "def f(): return 1")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("```python\ndef f():\n    return 1\n```\nIt returns 1.", "def f():\n    return 1\n"),
        ("```python\ndef f():\n    return 1", "def f():\n    return 1"),
        ("```\nf()\n```\n```py\ndef f():\n    pass\n```", "def f():\n    pass\n"),
        ("Sure:\ndef f():\n    return 1\n\nThis returns one.", "def f():\n    return 1\n"),
        ("def f():\n    return 1", "def f():\n    return 1"),
        ("I cannot.", ""),
        ("", ""),
    ],
)
def test_code_is_found(answer: str, code: str) -> None:
    assert extract_code(answer).rstrip("\n") == code.rstrip("\n")
