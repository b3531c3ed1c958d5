"""A logged day under other settings: every request decided again by the very router, and what that would have come to.

Knows: how a row becomes a decision again, which figures follow. Does not know: files, screens. Pure: the same rows and
settings give the same report.

What is decided again: the plan's first candidate, all else as it was: the fleet as the row saw it, the conversation
where it was held, whoever stood in where the first failed. So a figure is of one request choosing otherwise, not of a
fleet that the other choices would have made busier or idler. Where chance had or would have a say, the probabilities
count, not the draw. Words are mostly not stored; then the quality terms of the row's own plan are taken as they are,
and a tie that the words would have broken falls as it did.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

from pointsman.learning.offpolicy import Estimates, Floats, Log, estimate
from pointsman.policy.experiments import CONTROL, Assigner
from pointsman.policy.judged import Judged, Verdict, incumbent_of, judge
from pointsman.policy.quality import QualityProfile
from pointsman.policy.router import Router
from pointsman.settings import Settings
from pointsman.settings_experiments import ExperimentSettings
from pointsman.types import (
    Candidate,
    DeploymentView,
    JsonPayload,
    Kind,
    Plan,
    Request,
    Signals,
    Turn,
    Value,
    World,
)
from pointsman.types_learned import Learned
from pointsman.types_record import Record, limits_in, plan_in, signals_in, turns_in, world_in
from pointsman.types_trial import Trial

MTOK = 1_000_000
QUALITY = "quality"
Odds = tuple[tuple[str, float], ...]


class Again(Value, frozen=True):
    """One row decided again: whom each policy would put first, with what probability; `first`: whom the old one did."""

    record: Record
    first: str
    old: Odds
    new: Odds
    has_words: bool


class Moved(Value, frozen=True):
    """So many requests, on expectation, would have gone from the one to the other."""

    from_model: str
    to_model: str
    requests: float


class Count(Value, frozen=True):
    """So many rows for this reason."""

    why: str
    rows: int


class Figure(Value, frozen=True):
    """One figure, the mean over requests. `digits` are shown; `is_total`: the sum over the day is of interest too."""

    name: str
    unit: str
    digits: int
    is_total: bool
    estimates: Estimates


class Report(Value, frozen=True):
    """Everything that a replay says. `wordless`: rows decided with the quality terms of their own plan, as a profile is
    configured and their words were not stored. `strangers`: models that would be chosen and never answered."""

    rows: int
    replayed: int
    wordless: int
    strangers: tuple[str, ...]
    left: tuple[Count, ...]
    moved: tuple[Moved, ...]
    figures: tuple[Figure, ...]


class Replayer:
    """Decides rows again. `fresh`: deployments as after a start, for models that a row's fleet had not."""

    def __init__(
        self,
        settings: Settings,
        fresh: Iterable[DeploymentView] = (),
        profile: QualityProfile | None = None,
        learned: tuple[Learned, ...] = (),
    ) -> None:
        self._profile = profile
        self._incumbent = incumbent_of(profile, [model.id for model in settings.models]) if profile else ""
        router = Router(settings, profile, self._judged if profile else None)
        self._router = Assigner(router, settings.routing)
        self._names = {model.id for model in settings.models} | set(settings.aliases)
        self._trials = tuple(map(_trial, settings.experiments))
        self._said = Judged()
        self._fresh = tuple(fresh)
        self._learned = learned
        self.prices = {card.id: card.cost_per_mtok for card in router.cards}

    def again(self, record: Record) -> Again | str:
        """The row decided again, or why it cannot be."""
        if record.cached_model:
            return "answered from the cache, before anybody chose"
        if record.status != "success":
            return f"did not end in an answer ({record.status})"
        try:
            return self._decided(record)
        except (msgspec.MsgspecError, ValueError) as error:
            return f"not a row of this version ({error})"

    def _decided(self, record: Record) -> Again | str:
        signals, then, plan = signals_in(record), world_in(record), plan_in(record)
        if signals is None or then is None or plan is None or not plan.candidates:
            return "says nothing of what was decided"
        turns = turns_in(record)
        self._said = _said_in(plan)
        request = Request(
            id=record.request_id,
            kind=Kind(record.kind),
            model=record.asked_model,
            payload=JsonPayload(members=()),
            turns=turns or (Turn(role="user", text=""),),
            outputs=signals.outputs[:1],  # what follows is the classifier's guess
            limits=limits_in(record),
            tenant=record.tenant,
        )
        new = self._router.decide(request, signals, self._world(then))
        if not new.candidates:
            return f"nobody could have answered ({new.problem})"
        # Who is named leads whatever the scores, and so does an experiment's arm.
        is_settled = bool(turns or self._trials) or record.asked_model in self._names
        return Again(
            record=record,
            first=plan.candidates[0].model_id,
            old=_odds(plan),
            new=_odds(new) if is_settled else _fallen(new, plan),
            has_words=bool(turns),
        )

    def _world(self, then: World) -> World:
        known = {view.model_id for view in then.deployments}
        missing = tuple(view for view in self._fresh if view.model_id not in known)
        deployments = (*then.deployments, *missing)
        return replace(then, deployments=deployments, experiments=self._trials, learned=self._learned)

    def _judged(self, request: Request, signals: Signals) -> Judged:
        """By its words where they were stored, else by what was said of it then."""
        if self._profile is not None and any(turn.text for turn in request.turns):
            return judge(self._profile, request, signals, self._incumbent)
        return self._said


def _trial(settings: ExperimentSettings) -> Trial:
    """An experiment at its first step. Which arm a query is in does not matter, how probably it is does."""
    return Trial(
        name=settings.name,
        kind=settings.kind,
        control=settings.control,
        treatment=settings.treatment,
        ratio=settings.rollout[0] if settings.rollout else settings.ratio,
        labels=settings.labels,
        arm=CONTROL,
    )


def _said_in(plan: Plan) -> Judged:
    """The quality terms of a plan, as verdicts."""
    verdicts: dict[str, Verdict] = {}
    for one in plan.candidates:
        for term in one.terms:
            if term.name == QUALITY:
                verdicts[one.model_id] = Verdict(model_id=one.model_id, quality=term.value, why=term.why)
    return Judged(verdicts=tuple(verdicts.values()))


def _odds(plan: Plan) -> Odds:
    """Who would have been first, and how probably. Of an experiment that does not tell, the arm alone is known."""
    first, chance = plan.candidates[0].model_id, plan.assignment
    if chance is None or not 0 < chance.propensity < 1:
        return ((first, 1.0),)
    return chance.odds or ((first, chance.propensity),)


def _fallen(new: Plan, old: Plan) -> Odds:
    """Where models share the first place, the words' hash decides; without the words it falls to whom it fell, if
    chance had no say then, else to each alike."""
    equals = _first_equals(new.candidates)
    if new.assignment is not None or len(equals) == 1:
        return _odds(new)
    if old.assignment is None and old.candidates[0].model_id in equals:
        return ((old.candidates[0].model_id, 1.0),)
    return tuple((model_id, 1 / len(equals)) for model_id in equals)


def _first_equals(ranked: tuple[Candidate, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.model_id for one in ranked if one.score == ranked[0].score))


# ---------------------------------------------------------------- the report


def report_of(records: Iterable[Record], replayer: Replayer, profile: bool = False) -> Report:
    """Every row decided again, and what it comes to. `profile`: whether one is configured."""
    done: list[Again] = []
    left: Counter[str] = Counter()
    rows = 0
    for record in records:
        rows += 1
        found = replayer.again(record)
        if isinstance(found, str):
            left[found] += 1
        else:
            done.append(found)
    answered = {one.first for one in done}
    return Report(
        rows=rows,
        replayed=len(done),
        wordless=sum(not one.has_words for one in done) if profile else 0,
        strangers=tuple(sorted({model_id for one in done for model_id, _ in one.new} - answered)),
        left=tuple(
            Count(why=why, rows=count) for why, count in sorted(left.items(), key=lambda item: (-item[1], item[0]))
        ),
        moved=_moved(done),
        figures=tuple(_figures(done, replayer.prices)) if done else (),
    )


def _moved(done: Sequence[Again]) -> tuple[Moved, ...]:
    counts: defaultdict[tuple[str, str], float] = defaultdict(float)
    for one in done:
        for model_id, chance in one.new:
            counts[one.first, model_id] += chance
    return tuple(
        Moved(from_model=old, to_model=new, requests=round(count, 6))
        for (old, new), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def log_of(done: Sequence[Again]) -> tuple[Log, tuple[str, ...]]:
    """The choices as arrays, and the models that are their columns."""
    models = sorted({model_id for one in done for model_id, _ in (*one.old, *one.new)} | {one.first for one in done})
    column = {model_id: place for place, model_id in enumerate(models)}
    old, new = np.zeros((len(done), len(models))), np.zeros((len(done), len(models)))
    for row, one in enumerate(done):
        for model_id, chance in one.old:
            old[row, column[model_id]] = chance
        for model_id, chance in one.new:
            new[row, column[model_id]] = chance
    chosen = np.array([column[one.first] for one in done])
    return Log(chosen=chosen, old=old, new=new, cells=_cells(done)), tuple(models)


def _cells(done: Sequence[Again]) -> np.typing.NDArray[np.int64]:
    """Requests alike, from fine to coarse: what is asked, how hard, in which language, how long a prompt."""
    levels: list[list[tuple[object, ...]]] = [[], [], [], []]
    for one in done:
        record = one.record
        what = (record.kind, record.task)
        size = int(math.log2(record.prompt_tokens + 1) / 2)
        levels[0].append((*what, record.complexity, record.language, size))
        levels[1].append((*what, record.complexity, record.language))
        levels[2].append((*what, record.complexity))
        levels[3].append(what)
    return np.stack([_numbered(level) for level in levels])


def _numbered(cells: list[tuple[object, ...]]) -> np.typing.NDArray[np.int64]:
    numbers: dict[tuple[object, ...], int] = {}
    return np.array([numbers.setdefault(cell, len(numbers)) for cell in cells], np.int64)


def _figures(done: Sequence[Again], prices: dict[str, float]) -> Iterable[Figure]:
    """Money and GPU-seconds where there are any, latency, verdicts where there are any."""
    log, models = log_of(done)
    records = [one.record for one in done]
    before = np.array([record.cost for record in records])
    money = np.array([_price(record, prices) * _tokens(record) / MTOK for record in records])
    prompts = np.array([record.prompt_tokens for record in records], float)
    known: Floats = prompts[:, None] * np.array([prices.get(model, 0.0) for model in models]) / MTOK
    if before.any() or money.any() or known.any():
        yield Figure(
            name="cost", unit="", digits=6, is_total=True, estimates=estimate(log, money, before=before, known=known)
        )
    gpu_s = np.array([record.gpu_s for record in records])
    if gpu_s.any():
        yield Figure(name="GPU time", unit="s", digits=3, is_total=True, estimates=estimate(log, gpu_s))
    latency_s = np.array([record.total_s for record in records])
    yield Figure(name="latency", unit="s", digits=3, is_total=False, estimates=estimate(log, latency_s))
    verdicts = np.array([math.nan if record.feedback is None else record.feedback for record in records])
    yield Figure(name="verdicts", unit="", digits=4, is_total=False, estimates=estimate(log, verdicts))


def _price(record: Record, prices: dict[str, float]) -> float:
    """Of the model that answered, by the new settings; by the row where they do not know it."""
    tokens = _tokens(record)
    return prices.get(record.model_id, record.cost * MTOK / tokens if tokens else 0.0)


def _tokens(record: Record) -> int:
    return record.prompt_tokens + record.completion_tokens
