"""Which words count."""

import pytest

from pointsman.harness import capped
from pointsman.signals.orders import without_orders
from pointsman.signals.reading import Reading, read
from pointsman.signals.shape import shape_of
from pointsman.types import Turn


def reading(text: str) -> Reading:
    return read((Turn(role="user", text=text),))


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        ("<system-reminder>write code</system-reminder>Hello there", "hello there"),
        ("Hello <context>a <context>b</context> c</context>there", "hello there"),
        ("<user_query>Hello there</user_query>", "hello there"),
        ("<environment_details>\nx.py\n</environment_details>\n<task>Hello there</task>", "hello there"),
        ("centre this <div>box</div> please", "centre this <div>box</div> please"),
        ("style <app-root>box</app-root> please", "style <app-root>box</app-root> please"),
        ("is 3 < 4 and 5 > 2 ?", "is 3 < 4 and 5 > 2 ?"),
    ],
)
def test_harness_elements_go_and_the_users_stay(text: str, ask: str) -> None:
    assert " ".join(reading(text).ask.split()) == ask


def test_quotes_code_and_pasted_text_stand_aside() -> None:
    one = reading('What does "prove the theorem" mean?\n> write a function\n```py\nx = 1\n```')
    assert "theorem" not in one.ask
    assert "theorem" in one.beside
    assert "function" in one.beside
    assert "x = 1" in one.code


def test_what_is_only_quoted_counts_after_all() -> None:
    assert "theorem" in reading('"prove the theorem"').ask


def test_one_quoted_word_is_a_name() -> None:
    assert "recursion" in reading('Explain "recursion" to me').ask


def test_the_object_of_a_translation_stands_aside() -> None:
    one = reading("Translate to French: write a program")
    assert one.ask == "translate to french"
    assert "program" in one.beside
    assert "program" in reading("Our plan: write a program").ask


def test_code_without_a_fence_is_code() -> None:
    one = reading("warum geht das nicht\ndef f(x):\n    return x+1;\nprint(f(2))")
    assert one.ask.strip() == "warum geht das nicht"
    assert "def f(x):" in one.code


def test_links_and_addresses_are_no_words() -> None:
    assert reading("see https://example.com/kya/hai or write to ravi@example.in today").words == [
        "see", "or", "write", "to", "today",
    ]  # fmt: skip


def test_of_a_long_text_the_beginning_and_the_end_are_the_instruction() -> None:
    middle = "\n\n".join(f"Paragraph {n} of the report speaks of wheat." for n in range(60))
    one = reading(f"Please shorten this.\n\n{middle}\n\nKeep the dates.")
    assert one.ask.startswith("please shorten this.")
    assert one.ask.endswith("keep the dates.")
    assert len(one.ask) < 1200
    assert "wheat" in one.beside


def test_the_last_turn_that_says_something_is_the_one() -> None:
    turns = (("user", "first words"), ("user", "the question"), ("user", "<system-reminder>x</system-reminder>"))
    one = read(tuple(Turn(role=role, text=text) for role, text in turns))
    assert one.ask == "the question"
    assert one.earlier == "first words"


def test_only_the_ends_of_a_huge_text_are_looked_at() -> None:
    assert len(capped("a" * 10**6)) < 5000
    assert capped("short") == "short"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("classify this as code: who are you", ": who are you"),
        ("every request is reasoning. who are you", ". who are you"),
        ("treat this message as a high priority", "priority"),
        ("complexity: high. hello", ". hello"),
        ("ise code maano, namaste", ", namaste"),
        ("classify these reviews as positive or negative", "classify these reviews as positive or negative"),
        ("write code that labels images", "write code that labels images"),
    ],
)
def test_orders_are_taken_out_and_nothing_else(text: str, left: str) -> None:
    assert without_orders(text).strip() == left


@pytest.mark.parametrize(
    ("text", "is_code"),
    [
        ("Traceback (most recent call last):\n  File x", True),
        ("for (int i = 0; i < n; i++) {\n  sum += a[i];\n}", True),
        ("open main.rs and look", True),
        ("TypeError: x is undefined", True),
        ("We left at nine (or ten); it was fine.", False),
        ("From Delhi, return by Friday. Let us see.", False),
        ("Select the best option from the list", False),
    ],
)
def test_the_shape_of_code(text: str, is_code: bool) -> None:
    assert (shape_of(text, text.lower(), "").code >= 0.5) is is_code


@pytest.mark.parametrize(
    ("text", "is_maths"),
    [("x^2 - 5x + 6 = 0", True), ("what is 17 * 23", True), ("∫ x dx", True), ("\\frac{1}{2}", True),
     ("open 24/7 since 12/05/2024", False), ("between $5 and $10", False)],
)  # fmt: skip
def test_the_shape_of_mathematics(text: str, is_maths: bool) -> None:
    assert (shape_of(text, text, "").maths > 0) is is_maths
