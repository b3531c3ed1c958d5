"""Simulated days whose truth is known: requests through the real router, three models of known quality, cost, speed.

Every request has an outcome ready for each model, so that what another choice would have given is no guess.
What a model gives on average depends on what is asked, how hard, in which language and how long the prompt is.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from pointsman.ledger.cost import Prices
from pointsman.ledger.record import record_of
from pointsman.policy.catalogue import cards_of
from pointsman.policy.router import Router
from pointsman.settings import Settings
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import Attempt, Kind, Outcome, Plan, Signals, Usage
from pointsman.types_record import Record

Floats = npt.NDArray[np.float64]
LABELS, LANGUAGES, COMPLEXITIES = ("general", "code", "reasoning"), ("en", "hi", "ta"), ("low", "medium", "high")
SHARES = ((0.5, 0.3, 0.2), (0.7, 0.2, 0.1), (0.4, 0.4, 0.2))
JUDGED, FAILED, KEPT = 0.5, 0.01, 0.03
PREFILL_PER_S, START_S, SPREAD = 2000.0, 0.2, 0.4
FIGURES = ("cost", "latency", "verdicts")


class Model(NamedTuple):
    """The truth. `quality` by label; `hard`, `foreign`: what each step costs; `tokens`: of an easy general answer."""

    id: str
    price: float
    per_s: float
    tokens: float
    quality: tuple[float, float, float]
    hard: float
    foreign: float


MODELS = (
    Model("small", 1.0, 120.0, 180.0, (0.80, 0.62, 0.55), 0.16, 0.10),
    Model("medium", 4.0, 60.0, 240.0, (0.84, 0.80, 0.70), 0.08, 0.06),
    Model("large", 12.0, 30.0, 300.0, (0.88, 0.86, 0.84), 0.03, 0.02),
)
IDS = tuple(model.id for model in MODELS)
MODELS_YAML = "models:\n" + "".join(
    f'  - {{id: {one.id}, backend: openai, url: "http://127.0.0.1:9", cost_per_mtok: {one.price:g}, '
    f"tokens_per_s: {one.per_s:g}, quality: {{general: {one.quality[0]}, code: {one.quality[1]}, "
    f"reasoning: {one.quality[2]}}}}}\n"
    for one in MODELS
)
OLD = "routing: {strategy: quality, bandit: {enabled: true, epsilon_max: 0.2, margin: 0.2}}\n" + MODELS_YAML
NEW = "routing: {strategy: balanced, weights: {balanced: {cost: 0.3}}}\n" + MODELS_YAML


class Asked(NamedTuple):
    """Requests. `what` (n, 3): label, language, complexity as numbers; `prompts` (n,) in tokens."""

    what: npt.NDArray[np.int64]
    prompts: npt.NDArray[np.int64]

    def signals(self, row: int) -> Signals:
        label, language, complexity = self.what[row]
        return measured(
            LABELS[label],
            language=LANGUAGES[language],
            complexity=COMPLEXITIES[complexity],
            prompt_tokens=int(self.prompts[row]),
        )


class Day(NamedTuple):
    """A log, what was asked behind it, and what every model would have given: by figure, (n, models)."""

    records: list[Record]
    asked: Asked
    given: dict[str, Floats]


def asked_of(chance: np.random.Generator, n: int) -> Asked:
    what = np.stack([chance.choice(3, n, p=shares) for shares in SHARES], axis=1)
    return Asked(what=what, prompts=np.maximum(chance.lognormal(5.0, 1.0, n).astype(np.int64), 5))


def expected(asked: Asked) -> dict[str, Floats]:
    """What each model gives on average, (n, models) a figure."""
    label, language, complexity = asked.what.T
    tokens = np.stack([one.tokens * (1 + 0.5 * complexity) * (1 + 0.4 * (label == 1)) for one in MODELS], axis=1)
    quality = np.stack(
        [np.array(one.quality)[label] - one.hard * complexity - one.foreign * language for one in MODELS], axis=1
    )
    return _figures(asked, tokens, np.ones_like(tokens)) | {"verdicts": np.clip(quality, 0.05, 0.98), "tokens": tokens}


def _figures(asked: Asked, tokens: Floats, slow: Floats) -> dict[str, Floats]:
    prompts = asked.prompts[:, None]
    price, per_s = (np.array([getattr(one, name) for one in MODELS]) for name in ("price", "per_s"))
    return {
        "cost": price * (prompts + tokens) / 1e6,
        "latency": START_S + slow * (prompts / PREFILL_PER_S + tokens / per_s),
    }


def day_of(seed: int, n: int, settings: Settings) -> Day:
    """A day of `n` requests under these settings."""
    chance = np.random.default_rng(seed)
    asked = asked_of(chance, n)
    mean = expected(asked)
    # Rounded to whole tokens at random, so that the mean stays what it is.
    tokens = np.floor(mean["tokens"] * _noise(chance, n) + chance.random((n, len(MODELS))))
    given = _figures(asked, tokens, _noise(chance, n))
    given["verdicts"] = (chance.random((n, len(MODELS))) < mean["verdicts"]).astype(float)
    router, prices = Router(settings), Prices(cards_of(settings))
    fate = chance.random((n, 3))
    records = []
    for row in range(n):
        outcome = _outcome(f"{seed}-{row}", asked.signals(row), router, row)
        at = IDS.index(outcome.attempts[0].model_id)
        usage = Usage(prompt_tokens=int(asked.prompts[row]), completion_tokens=int(tokens[row, at]))
        outcome = replace(outcome, usage=usage, total_s=float(given["latency"][row, at]))
        verdict = float(given["verdicts"][row, at]) if fate[row, 0] < JUDGED else None
        record = replace(record_of(outcome, prices.spent(outcome)), feedback=verdict)
        records.append(_unlucky(record, fate[row, 1], fate[row, 2]))
    return Day(records=records, asked=asked, given=given)


def _noise(chance: np.random.Generator, n: int) -> Floats:
    """Of mean 1."""
    return chance.lognormal(-(SPREAD**2) / 2, SPREAD, (n, len(MODELS)))


def _outcome(request_id: str, signals: Signals, router: Router, ticket: int) -> Outcome:
    present = world(*(hot(model_id) for model_id in IDS), ticket=ticket)
    plan: Plan = router.decide(ask(request_id, request_id=request_id), signals, present)
    first = plan.candidates[0]
    return Outcome(
        request_id=request_id,
        kind=Kind.CHAT,
        asked_model="auto",
        status="success",
        http_status=200,
        signals=signals,
        plan=plan,
        attempts=(Attempt(deployment_id=first.deployment_id, model_id=first.model_id, started_s=0.0),),
        usage=Usage(),
        stream=False,
        total_s=0.0,
        classify_s=0.0,
        decide_s=0.0,
        wait_s=0.0,
        upstream_s=0.0,
        first_byte_s=None,
        world=present,
    )


def _unlucky(record: Record, failed: float, kept: float) -> Record:
    """Some requests fail whoever answers, some are answered from the cache."""
    if failed < FAILED:
        return replace(record, status="error", http_status=502, error="upstream_error")
    if kept < KEPT:
        return replace(record, cached_model=record.model_id, cache="hit", cost=0.0)
    return record
