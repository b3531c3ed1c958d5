"""How one experiment goes: its tallies, its live ratio, what was decided and why.

Knows: which outcome counts for which arm, what each finding does to the ratio. Does not know: files, tasks, other
experiments. What is kept over a restart is a `Course`; the rest follows from the settings.

Invariants: a step of a rollout counts only requests that arrived during it, so a late verdict on an earlier step
changes nothing; once rolled back, the evidence stays as it was and the treatment gets nothing until an operator says
otherwise; every change of the ratio is a `Change` with its evidence. Among gateways that hear each other, what is
decided rests on what all of them counted, and what one has decided the others do.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence

import msgspec

from pointsman.experiments.verdict import SETTLED, Arm, Evidence, Finding, Patience, Rules, Status, evidence_of, judge
from pointsman.experiments.windows import Window, Windows
from pointsman.experiments.word import Word
from pointsman.policy.experiments import SHADOW, SWITCHBACK, arms_of, window_arm
from pointsman.settings_experiments import ExperimentSettings
from pointsman.types import Outcome, Value
from pointsman.types_feedback import Judged
from pointsman.types_trial import Trial

MOST_CHANGES, MOST_POINTS = 100, 400
COUNTED = frozenset({"success", "error"})
"""Refusals and what callers did wrong say nothing of a model."""
MOVES = frozenset({"started", "step", "ratio", "rolled_back"})
"""Events that a ratio may change by."""


class Change(Value, frozen=True):
    """Something decided about an experiment, by `controller`, `operator` or `settings`, with what it rests on.

    `event` is one of started, step, passed, better, review, rolled_back, ratio, paused, resumed.
    """

    at_unix_s: float
    experiment: str
    event: str
    by: str
    why: str
    ratio_before: float
    ratio: float
    evidence: Evidence


class Point(Value, frozen=True):
    """The confidence sequence of the loss after `verdicts`."""

    verdicts: int
    loss: float
    low: float
    high: float


class Course(msgspec.Struct):
    """All that is remembered. `step`: of the rollout, −1 before its first; `began_unix_s`: of the step.

    `late`: verdicts on requests from before it; `rollbacks`: so many, ever; `orders`, `pauses`: how often operators set
    the ratio, and paused or resumed; `replaced`: verdicts that took the place of others. `control`, `treatment`: what
    this gateway has counted.
    """

    fingerprint: str
    ratio: float
    began_unix_s: float
    step: int = 0
    status: Status = Status.COLLECTING
    why: str = ""
    is_paused: bool = False
    late: int = 0
    rollbacks: int = 0
    orders: int = 0
    pauses: int = 0
    replaced: int = 0
    control: Arm = msgspec.field(default_factory=Arm)
    treatment: Arm = msgspec.field(default_factory=Arm)
    changes: list[Change] = msgspec.field(default_factory=list)
    history: list[Point] = msgspec.field(default_factory=list)


def fingerprint_of(settings: ExperimentSettings) -> str:
    """Another definition is another experiment."""
    return hashlib.blake2b(settings.model_dump_json().encode(), digest_size=8).hexdigest()


class Experiment:
    """One experiment under way. `course`: as it was left, where it is the same experiment."""

    def __init__(self, settings: ExperimentSettings, now_unix_s: float, course: Course | None = None) -> None:
        self.settings = settings
        self.rules = Rules.of(settings)
        self._patience = Patience()
        self._windows = Windows(settings.window_s) if settings.kind == SWITCHBACK else None
        self._together: tuple[Arm, Arm] | None = None
        self._replaced = 0
        own = fingerprint_of(settings)
        if course is not None and course.fingerprint == own:
            self.course = course
            return
        first = settings.rollout[0] if settings.rollout else settings.ratio
        self.course = Course(fingerprint=own, ratio=first, began_unix_s=now_unix_s)
        before = 0.0
        if course is not None:  # another definition: the evidence is another, what was done remains on record
            before, self.course.changes, self.course.rollbacks = course.ratio, course.changes, course.rollbacks
        self._note(now_unix_s, "started", "settings", "as the settings say", before)

    # What others read.

    def trial(self, now_unix_s: float) -> Trial | None:
        """As a decision sees it; None while nothing is assigned."""
        settings, course = self.settings, self.course
        if course.is_paused or (course.status is Status.ROLLED_BACK and settings.kind in {SHADOW, SWITCHBACK}):
            return None
        arm = self._turn(now_unix_s) if settings.kind == SWITCHBACK else ""
        return Trial(
            name=settings.name,
            kind=settings.kind,
            control=settings.control,
            treatment=settings.treatment,
            ratio=course.ratio,
            labels=settings.labels,
            arm=arm,
            is_over=course.status is Status.ROLLED_BACK,
        )

    def evidence(self) -> Evidence:
        return evidence_of(self.rules, *self._arms())

    def _arms(self) -> tuple[Arm, Arm]:
        """What all gateways have counted that hear each other; else this one."""
        return self._together or (self.course.control, self.course.treatment)

    # What is heard.

    def closed(self, outcome: Outcome, arm: str, cost: float) -> None:
        """Count how a request of ours ended."""
        if outcome.status not in COUNTED or not self._counts(arm, outcome.received_unix_s):
            return
        model = self.settings.treatment if self._is_treatment(arm) else self.settings.control
        last = outcome.attempts[-1] if outcome.attempts else None
        is_own = last is not None and not last.error and last.model_id == model
        is_good = is_own and outcome.status == "success"
        self.counted(arm, outcome.received_unix_s, is_good, outcome.total_s, cost)

    def counted(self, arm: str, received_unix_s: float, is_good: bool, total_s: float, cost: float) -> None:
        """One request of an arm: whether its model answered, in how many seconds, at what cost."""
        into = self._into(arm, received_unix_s)
        into.requests += 1
        into.errors.add(0.0 if is_good else 1.0)
        if is_good:
            into.latency_s.add(total_s)
            into.cost.add(cost)

    def judged(self, judged: Judged, arm: str) -> None:
        """Count what a caller said of an answer; a caller's second word replaces the first."""
        if not self._counts(arm, judged.received_unix_s):
            self.course.late += 1
            return
        into = self._into(arm, judged.received_unix_s)
        if judged.replaces is not None:
            into.quality.take(judged.replaces)
            self.course.replaced += 1
            self._patience.forget()
        into.quality.add(judged.feedback.value)

    def _counts(self, arm: str, received_unix_s: float) -> bool:
        """Whether it arrived during this step; at a switchback's turn, a request may miss its own by a moment."""
        course, windows = self.course, self._windows
        is_ours = received_unix_s >= course.began_unix_s and course.status is not Status.ROLLED_BACK
        return is_ours and (
            windows is None or (windows.is_open(received_unix_s) and self._turn(received_unix_s) == arm)
        )

    def _turn(self, at_unix_s: float) -> str:
        return window_arm(self.settings.name, int(at_unix_s // self.settings.window_s))

    def _into(self, arm: str, received_unix_s: float) -> "Arm | Window":
        if self._windows is not None:
            return self._windows.at(received_unix_s, arm)
        return self.course.treatment if self._is_treatment(arm) else self.course.control

    def _is_treatment(self, arm: str) -> bool:
        return arm == arms_of(self.settings.kind)[1]

    # What is done about it.

    def look(self, now_unix_s: float) -> Change | None:
        """Decide by what is known now, and act on it. Cheap where nothing can have changed."""
        course = self.course
        if self._windows is not None:
            for arm, window in self._windows.settled(now_unix_s):
                window.into(course.treatment if self._is_treatment(arm) else course.control)
        if course.is_paused or course.status is Status.ROLLED_BACK:
            return None
        found = judge(self.rules, course.status, *self._arms(), self._patience)
        return self._act(found, now_unix_s) if found.status is not course.status else None

    def _act(self, found: Finding, now_unix_s: float) -> Change:
        course, before, evidence = self.course, self.course.ratio, self.evidence()
        why = _words(found, evidence)
        if found.status is Status.ROLLED_BACK:
            return self._roll_back(found.why, why, now_unix_s, "controller")
        course.status, course.why = found.status, found.why
        if found.status in SETTLED and course.step + 1 < len(self.settings.rollout):
            course.step += 1
            return self._restart(self.settings.rollout[course.step], now_unix_s, "step", "controller", why, evidence)
        return self._note(now_unix_s, found.status.value, "controller", why, before, evidence)

    def ratio(self, ratio: float, now_unix_s: float, who: str) -> Change:
        """An operator sets the share: another question, so the evidence starts anew; a rollout goes on from there."""
        self.course.orders += 1
        self.course.step = sum(share <= ratio for share in self.settings.rollout) - 1
        return self._restart(ratio, now_unix_s, "ratio", "operator", f"asked from {who}", self.evidence())

    def rollback(self, now_unix_s: float, who: str) -> Change:
        """An operator has seen enough."""
        return self._roll_back("operator", f"asked from {who}", now_unix_s, "operator")

    def pause(self, now_unix_s: float, who: str, is_paused: bool) -> Change:
        """Nobody is assigned, nothing is decided, for as long as it is paused."""
        self.course.is_paused = is_paused
        self.course.pauses += 1
        event = "paused" if is_paused else "resumed"
        return self._note(now_unix_s, event, "operator", f"asked from {who}", self.course.ratio)

    def mark(self) -> None:
        """Keep a point of the confidence sequence; ever rarer, so that all of it fits."""
        history, n = self.course.history, sum(arm.quality.n for arm in self._arms())
        due = max(10, math.ceil(history[-1].verdicts * 1.03)) if history else 10
        if n >= due and len(history) < MOST_POINTS and (loss := self.evidence().loss) is not None:
            history.append(Point(verdicts=n, loss=loss.value, low=loss.low, high=loss.high))

    # What other gateways say.

    def word(self) -> Word:
        """How it goes here. A switchback's turns are one observation each, on every gateway: they cannot be added."""
        course, is_added = self.course, self._windows is None
        moves = (change for change in reversed(course.changes) if change.event in MOVES)
        last = next(moves, course.changes[-1])
        return Word(
            orders=course.orders,
            is_rolled_back=course.status is Status.ROLLED_BACK,
            step=course.step,
            ratio=course.ratio,
            pauses=course.pauses,
            is_paused=course.is_paused,
            rollbacks=course.rollbacks,
            replaced=course.replaced,
            event=last.event,
            by=last.by,
            why=last.why,
            control=course.control if is_added else Arm(),
            treatment=course.treatment if is_added else Arm(),
        )

    def heard(self, words: Sequence[Word], now_unix_s: float) -> Iterator[Change]:
        """Go where the foremost gateway is, and count what all of them have counted there, this one too."""
        if not words:
            return
        course, first = self.course, max(words, key=lambda word: word.rank)
        if first.rank > self.word().rank:
            yield self._follow(first, now_unix_s)
        course.rollbacks = max(course.rollbacks, *(word.rollbacks for word in words))
        paused = max(words, key=lambda word: (word.pauses, word.is_paused))
        if (paused.pauses, paused.is_paused) > (course.pauses, course.is_paused):
            change = self.pause(now_unix_s, "another gateway", is_paused=paused.is_paused)
            course.pauses = paused.pauses
            yield change
        if self._windows is None:
            self._together = Arm(), Arm()
            for word in words:
                if word.is_of(course.orders, course.step):
                    self._together[0].join(word.control)
                    self._together[1].join(word.treatment)
        replaced = sum(word.replaced for word in words)
        if replaced != self._replaced:
            self._replaced = replaced
            self._patience.forget()

    def alone(self) -> None:
        """Nobody is heard: go on by what was counted here."""
        if self._together is not None:
            self._together = None
            self._patience.forget()

    def _follow(self, word: Word, now_unix_s: float) -> Change:
        course, why, evidence = self.course, f"{word.why} (on another gateway)", self.evidence()
        is_elsewhere = not word.is_of(course.orders, course.step)
        course.orders, course.step = word.orders, word.step
        if not word.is_rolled_back:
            return self._restart(word.ratio, now_unix_s, word.event, word.by, why, evidence)
        if is_elsewhere:
            course.control, course.treatment, course.history = Arm(), Arm(), []
        return self._roll_back("elsewhere", why, now_unix_s, word.by)

    def _roll_back(self, on: str, why: str, now_unix_s: float, by: str) -> Change:
        course, before, evidence = self.course, self.course.ratio, self.evidence()
        course.status, course.why, course.ratio = Status.ROLLED_BACK, on, 0.0
        course.rollbacks += 1
        return self._note(now_unix_s, "rolled_back", by, why, before, evidence)

    def _restart(self, ratio: float, now_unix_s: float, event: str, by: str, why: str, evidence: Evidence) -> Change:
        course, before = self.course, self.course.ratio
        course.ratio, course.status, course.why = ratio, Status.COLLECTING, ""
        course.began_unix_s, course.control, course.treatment, course.history = now_unix_s, Arm(), Arm(), []
        self._together = None
        self._patience.forget()
        if self._windows is not None:
            self._windows.clear()
        return self._note(now_unix_s, event, by, why, before, evidence)

    def _note(
        self, now_unix_s: float, event: str, by: str, why: str, before: float, evidence: Evidence | None = None
    ) -> Change:
        change = Change(
            at_unix_s=round(now_unix_s, 3),
            experiment=self.settings.name,
            event=event,
            by=by,
            why=why,
            ratio_before=before,
            ratio=self.course.ratio,
            evidence=evidence or self.evidence(),
        )
        self.course.changes = [*self.course.changes, change][-MOST_CHANGES:]
        return change

    def __repr__(self) -> str:
        return f"Experiment({self.settings.name}, {self.course.status}, {self.course.ratio:.0%})"


def _words(found: Finding, evidence: Evidence) -> str:
    """Why, in a sentence."""
    match found.why:
        case "errors" if evidence.errors:
            return f"{evidence.errors.value:.1%} more of its requests fail (at least {evidence.errors.low:.1%})"
        case "latency" if evidence.latency:
            return f"its answers take {evidence.latency.value:.2f} times as long (at least {evidence.latency.low:.2f})"
        case _ if evidence.loss:
            loss = evidence.loss
            way = "lower" if loss.value > 0 else "higher"
            verdicts = evidence.control_verdicts + evidence.treatment_verdicts
            between = f"a loss between {loss.low:.1%} and {loss.high:.1%}, after {verdicts} verdicts"
            return f"its quality is {abs(loss.value):.1%} {way} ({between})"
        case why:
            return why or "nothing is proved"
