"""How long to stand in one candidate's line while another may answer sooner. Pure.

Knows: what the fleet expects of both. Does not know: lines, who else is there (`run`).

Decision tree (numbers stand in the code):
1. another is free: the line is left once the turn is overdue, or where it cannot come within a fair share of the time
   that was left. Until then it is kept: whoever ranked this one first knew of the line and of the load
2. nobody is free, and the fair share is over: the line is left where the turn cannot come before the deadline, or is
   overdue by more than another's would take: it will be so for as long again
3. else it is kept. So a model that loads as expected is not left for another that has to be loaded, and no place in a
   line is given up for the end of a longer one
"""

from pointsman.errors import Refused
from pointsman.types import Value

LOOK_EVERY_S = 0.5
SOONEST_LOOK_S = 0.01
LOOKS_A_SHARE = 8


class LeftLine(Refused):
    """A place in line was given up for another candidate. The line is still there."""

    default_code = "queue_full"


class Wait(Value, frozen=True):
    """One wait in line so far. `expected_s`: how long it was expected to take; `limit_s`: how long it may take;
    `elsewhere_s`: how long the shortest wait at the `others` would take, 0 where one is free."""

    waited_s: float
    expected_s: float
    limit_s: float
    elsewhere_s: float
    others: int

    @property
    def share_s(self) -> float:
        """Of the time that was left when it began, had every candidate as much."""
        return self.limit_s / (self.others + 1)


def look_again_in_s(wait: Wait) -> float:
    """How much longer to stand there before looking again; 0: leave."""
    share_s, overdue_s = wait.share_s, wait.waited_s - wait.expected_s
    if wait.elsewhere_s <= 0:  # 1
        is_left = overdue_s >= 0 or wait.expected_s > share_s
    else:  # 2
        is_left = wait.waited_s >= share_s and (wait.expected_s > wait.limit_s or overdue_s > wait.elsewhere_s)
    return 0.0 if is_left else max(SOONEST_LOOK_S, min(LOOK_EVERY_S, share_s / LOOKS_A_SHARE))  # 3
