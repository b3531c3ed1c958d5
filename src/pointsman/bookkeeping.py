"""The ledger's lasting part, wired: sums, money, the store, verdicts. What the edge asks of them is answered here.

Knows: how these are put together. Does not know: what any of them does, HTTP.
"""

import os
from collections.abc import Callable, Iterable

import msgspec

from pointsman.clock import Clock
from pointsman.ledger.accounts import Accounts
from pointsman.ledger.build import prompts_of, store_of
from pointsman.ledger.cost import Prices
from pointsman.ledger.cost_metrics import CostMetrics
from pointsman.ledger.entry import Sink
from pointsman.ledger.feedback import Desk
from pointsman.ledger.learner import Learner
from pointsman.ledger.lines import Event
from pointsman.ledger.metrics import Metrics
from pointsman.ledger.recorder import Keeping, Recorder, RecorderView
from pointsman.ledger.report import Facts, as_json, report_of
from pointsman.ledger.series import Maker
from pointsman.ledger.stats import Statistics, statistics_of
from pointsman.ledger.store.base import Query, StoreError, Verdict
from pointsman.ledger.tally import Tally
from pointsman.newsroom import Newsroom
from pointsman.settings import Settings
from pointsman.types_feedback import Feedback, FeedbackSink
from pointsman.types_record import Record

LEARNED_FILE = "learned.json"
Tell = Callable[[Event], None]


class Books:
    """Satisfies the edge's `Books`. `settings`, `prices` and `ratio` are asked for those in force, `in_flight` for how
    many requests there are."""

    def __init__(
        self,
        first: Settings,
        settings: Callable[[], Settings],
        prices: Callable[[], Prices],
        metrics: Metrics,
        newsroom: Newsroom,
        tell: Tell,
        clock: Clock,
        ratio: Callable[[], float | None] = lambda: None,
        in_flight: Callable[[], int] = int,
    ) -> None:
        models, keys = [model.id for model in first.models], [key.name for key in first.keys]
        self._settings = settings
        self._newsroom = newsroom
        self._lost_told = 0
        self._prices = prices
        self._clock = clock
        self._tell = tell
        self._ratio = ratio
        self._in_flight = in_flight
        money = CostMetrics(Maker(metrics.registry), models, keys)
        self._tally = Tally(models, clock.unix)
        self._accounts = accounts = Accounts(prices, self._tally, money)
        folder, ledger = first.cache_path(), first.ledger
        self.prompts = prompts_of(ledger, folder, os.environ)
        self._recorder: Recorder | None = None
        if ledger.enabled:
            store = store_of(ledger, folder, os.environ)
            self._recorder = Recorder(store, prices, self._keeping, clock, self._heard, self.prompts)
            money.watch(self._recorder.statistics)
        self._desk = Desk(self._recorder)
        self._desk.subscribe(accounts)
        self.learner = Learner(lambda: settings().routing.bandit, folder / LEARNED_FILE)
        if self.learner.problem:
            message = f"what verdicts taught is ignored: {self.learner.problem}"
            tell(Event(name="learned_ignored", level="warning", message=message))
        self._desk.subscribe(self.learner)
        said = "Verdicts that the bandit heard of, by what became of them"
        metrics.count("agent_router_learned_verdicts", said, self.learner.counts)
        recorder: tuple[Sink, ...] = () if self._recorder is None else (self._recorder,)
        # The row is queued, and the learner knows the request, before the desk may tell a verdict on it.
        self.sinks: tuple[Sink, ...] = (accounts, *recorder, self.learner, self._desk)

    def subscribe(self, sink: FeedbackSink) -> None:
        """From now on it hears of every verdict."""
        self._desk.subscribe(sink)

    def know(self, models: Iterable[str]) -> None:
        """These are configured, too."""
        self._accounts.know(models, (key.name for key in self._settings().keys))

    def _keeping(self) -> Keeping:
        ledger = self._settings().ledger
        return Keeping(days=ledger.keep_days, rows=ledger.keep_rows)

    async def close(self) -> None:
        """Write what waits; say what is lost."""
        self.learner.write()
        if self._recorder is None:
            return
        await self._recorder.close()
        self._tell_lost(self._recorder.statistics())

    def _heard(self, is_up: bool, why: str) -> None:
        self._newsroom.hear_ledger(is_up, why)
        if is_up and self._recorder is not None:
            self._tell_lost(msgspec.structs.replace(self._recorder.statistics(), queued=0))

    def _tell_lost(self, view: RecorderView) -> None:
        """How many rows were lost since this was told last; `ledger_store_lost` before it says since when."""
        if rows := view.queued + view.dropped + view.refused - self._lost_told:
            self._lost_told += rows
            said = "Rows that the ledger's store never took"
            self._tell(Event(name="ledger_rows_lost", level="warning", message=said, details=(("rows", rows),)))

    async def record(self, request_id: str) -> Record | None:
        """The latest row of that id in the store; None where there is none, or no store that answers."""
        if self._recorder is None:
            return None
        try:
            rows = await self._recorder.read(Query(request_id=request_id, latest_first=True, limit=1))
        except StoreError:
            return None
        return rows[0] if rows else None

    def statistics(self) -> Statistics:
        """The totals, for the information page and the console."""
        return statistics_of(self._tally, self._in_flight())

    # The edge's Books.

    def routing_statistics(self, tenant: str | None) -> bytes:
        """As JSON. `tenant`: whose money is shown; None: everybody's."""
        settings = self._settings()
        facts = Facts(
            baseline_model=self._prices().baseline,
            routing_enabled=settings.routing.enabled,
            ab_test_ratio=self._ratio(),
            tenant=tenant if settings.keys else None,
            in_flight=self._in_flight(),
        )
        return as_json(report_of(self._tally, facts))

    def reset_statistics(self, who: str) -> None:
        self._tally.reset()
        self._tell(
            Event(name="statistics_reset", message=f"an operator began the statistics anew, from {who or 'here'}")
        )

    async def feedback(self, request_id: str, value: float, source: str, comment: str, tenant: str) -> str:
        given = Feedback(
            request_id=request_id, value=value, source=source, tenant=tenant, given_unix_s=self._clock.unix()
        )
        return await self._desk.give(Verdict(feedback=given, comment=comment))

    def __repr__(self) -> str:
        return f"Books({self._tally!r}, {self._recorder!r}, {self._desk!r})"
