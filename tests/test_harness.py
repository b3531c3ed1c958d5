"""The user's own words, whatever a harness sends beside them."""

import pytest

from pointsman.harness import last_said, own_words
from pointsman.types import Turn

WISH = "write a birthday wish for my aunt"


@pytest.mark.parametrize(
    "text",
    [
        f"<system-reminder>\nUse pytest.\n</system-reminder>\n{WISH}",
        f"{WISH}\n\n[SYSTEM REMINDER: do not run git commit.]",
        f"# Context from my IDE setup:\n\n## Active file: main.py\n\n## My request for the agent:\n{WISH}",
        f"[Tool result]\nKeyError: 1\n[/Tool result]\n{WISH}",
        f'Observation: {{"body": "function f() {{}}"}}\n\nUser: {WISH}',
    ],
)
def test_what_is_around_the_users_words_goes(text: str) -> None:
    assert own_words(text).strip() == WISH


@pytest.mark.parametrize(
    "result",
    ["Tool output:\n```\n$ ls\n```", "[Tool result for read_file]\nimport os", "<tool_result>x = 1</tool_result>"],
)
def test_a_tools_result_sent_as_the_users_is_passed_over(result: str) -> None:
    turns = (Turn(role="user", text=WISH), Turn(role="assistant", text="ok"), Turn(role="user", text=result))
    assert last_said(turns)[0] == WISH


def test_a_result_alone_is_better_than_nothing() -> None:
    assert "disk full" in last_said((Turn(role="user", text="Tool output: disk full"),))[0]


def test_people_who_observe_are_heard() -> None:
    assert own_words("Observation: the cells grew faster at night").startswith("Observation")


def test_long_attacks_are_read_in_no_time() -> None:
    for text in ("[" * 10**6, "<a " * 10**6, "[system note " * 10**5, "# my request " * 10**5):
        assert len(own_words(text)) < 5000
