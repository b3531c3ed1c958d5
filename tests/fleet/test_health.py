"""When answers in a row mean something."""

import pytest

from pointsman.fleet.health import Streak


@pytest.mark.parametrize(
    ("answers", "is_sick"),
    [
        ("", False),
        ("xx", False),
        ("xx.xx", False),
        ("xxx", True),
        ("xxx.", True),
        ("xxx.x.", True),
        ("xxx..", False),
        ("xxx..xx", False),
    ],
)
def test_three_failures_make_sick_and_two_successes_well(answers: str, is_sick: bool) -> None:
    streak = Streak()
    for answer in answers:
        streak = streak.after(ok=answer == ".")
    assert streak.is_sick is is_sick
