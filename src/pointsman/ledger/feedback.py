"""Verdicts of callers, joined to the requests they are about, however late they come.

Knows: the last requests and what was said of each. Does not know: HTTP, what is done with a verdict.

Where a verdict finds its request, numbered as in `Desk.give`:
1. it is still being answered → kept until it has ended
2. it ended in this process not long ago → at once, and into the store behind it
3. else the store knows, or nobody does

Invariants: a request is found by its own tenant alone; the same verdict twice changes nothing and is told to nobody;
another value from the same source replaces the one before; memory is bounded (KEPT requests).
"""

from collections import OrderedDict
from enum import StrEnum

import msgspec

from pointsman.errors import Refused, RequestError
from pointsman.ledger.recorder import Recorder
from pointsman.ledger.store.base import StoreError, Verdict
from pointsman.types import Assignment, Outcome, Request
from pointsman.types_feedback import Feedback, FeedbackSink, Judged
from pointsman.types_record import Record

KEPT = 10_000
PATIENCE_S = 2.0
BLANK = Feedback(request_id="", value=0.0, source="")
Key = tuple[str, str]


class Taken(StrEnum):
    """What became of a verdict."""

    RECORDED = "recorded"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    AWAITED = "awaits_the_answer"


class _Known:
    """One request: what a verdict is about, and the values said by source. `open`: answers under way by this name."""

    __slots__ = ("about", "early", "open", "said")

    def __init__(self) -> None:
        self.about: Judged | None = None
        self.said: dict[str, float] = {}
        self.early: dict[str, Verdict] = {}
        self.open = 0


class Desk:
    """A sink. `recorder`: None without a store; `kept`: so many requests are remembered."""

    def __init__(self, recorder: Recorder | None = None, kept: int = KEPT) -> None:
        self._kept = kept
        self._sinks: tuple[FeedbackSink, ...] = ()
        self._recorder = recorder
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    def subscribe(self, sink: FeedbackSink) -> None:
        """From now on it hears of every verdict."""
        self._sinks += (sink,)

    def opened(self, request: Request) -> None:
        key = (request.tenant, request.id)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known()
            if len(self._known) > self._kept:
                self._known.popitem(last=False)
        known.open += 1

    def closed(self, outcome: Outcome) -> None:
        """Early verdicts are about the answer that ends first by this name."""
        known = self._known.get((outcome.tenant, outcome.request_id))
        if known is None or outcome.is_turned_away:  # perhaps by another's name: it was never opened
            return
        known.open -= 1
        known.about = _about(outcome)
        known.said = {}
        early, known.early = known.early, {}
        for verdict in early.values():
            self._join(known, known.about, verdict)

    async def give(self, verdict: Verdict) -> Taken:
        """Take a verdict. Raises RequestError `not_found`, and Refused where only the store knows and does not say."""
        given = verdict.feedback
        known = self._known.get((given.tenant, given.request_id))
        if known is not None and known.open:  # 1
            known.early[given.source] = verdict
            return Taken.AWAITED
        if known is not None and known.about is not None:  # 2
            return self._join(known, known.about, verdict)
        return await self._find(verdict)  # 3

    def _join(self, known: _Known, about: Judged, verdict: Verdict) -> Taken:
        given = verdict.feedback
        before = known.said.get(given.source)
        if before == given.value:
            return Taken.UNCHANGED
        known.said[given.source] = given.value
        if self._recorder is not None:
            self._recorder.keep(verdict)
        return self._tell(msgspec.structs.replace(about, feedback=given, replaces=before))

    async def _find(self, verdict: Verdict) -> Taken:
        given = verdict.feedback
        try:
            found = await self._recorder.judge(verdict, PATIENCE_S) if self._recorder is not None else None
        except StoreError:
            raise Refused(
                "The ledger's store does not answer, and this request is not in memory any more; try again later",
                code="ledger_unavailable",
                retry_after_s=30.0,
            ) from None
        if found is None:
            raise RequestError(
                f"There is no request `{given.request_id[:128]}` of yours to judge; its id is in the answer's "
                "`x-request-id`",
                code="not_found",
                param="request_id",
            )
        if found.before == given.value:
            return Taken.UNCHANGED
        return self._tell(_about_row(found.record, given, found.before))

    def _tell(self, judged: Judged) -> Taken:
        for sink in self._sinks:
            sink.judged(judged)
        return Taken.RECORDED if judged.replaces is None else Taken.CHANGED

    def __repr__(self) -> str:
        return f"Desk({len(self._known)} of {self._kept} requests)"


def _about(outcome: Outcome) -> Judged:
    """With a blank verdict, which every verdict replaces."""
    signals, plan = outcome.signals, outcome.plan
    return Judged(
        feedback=BLANK,
        model_id=outcome.model_id,
        use_case=signals.use_case.label if signals else "",
        intent=signals.intent.label if signals else "",
        language=signals.language.label if signals else "",
        complexity=signals.complexity.label if signals else "",
        assignment=plan.assignment if plan else None,
        received_unix_s=outcome.received_unix_s,
    )


def _about_row(record: Record, given: Feedback, before: float | None) -> Judged:
    assignment = None
    if record.experiment:
        assignment = Assignment(experiment=record.experiment, arm=record.arm, propensity=record.propensity or 0.0)
    return Judged(
        feedback=given,
        model_id=record.model_id,
        use_case=record.use_case,
        intent=record.intent,
        language=record.language,
        complexity=record.complexity,
        assignment=assignment,
        received_unix_s=record.received_unix_s,
        replaces=before,
    )
