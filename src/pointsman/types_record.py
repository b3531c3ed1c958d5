"""The flat row of one Outcome: what is stored, exported, replayed and shown.

Knows: the columns. Does not know: where rows are kept, what is made of them.
Invariants: texts are "" and numbers None where there is nothing to say; JSON columns hold a value of `types` as msgspec
encodes it, "" for none; no prompt, no answer and no upstream's words are in a row unless prompts are stored.

What `decide` needs is here: `signals` with all probabilities, `limits`, `asked_model`, `kind`, the `world` of that
moment. Not kept: the words (so a profile that reads them cannot be asked again, nor ties be broken as they were; the
plan's own terms and order say how it was), evidence, what media held, process ids, what verdicts had taught by then
(`World.learned`); of a deployment's `last_error` only that there was one.
"""

import msgspec

from pointsman.types import Attempt, DeploymentView, Limits, Plan, Signals, Turn, Value, World


class Record(Value, frozen=True):
    """One request. Times in seconds; money in the currency of the settings' `cost_per_mtok`.

    `model_id`: who answered, now or (`cache` hit, semantic) once, else who was tried last, meant or asked: what the
    request counts under; `deployment_id`: where it was tried last. `intent`, `use_case`: as found; `task`: the label it
    counts under. `stage`: 0 where it was not measured. `attempts`: how many; their story is `attempts_detail`, with
    `started_s` and `first_byte_s` counted from arrival. `gpu_s`: an even share of the GPUs that answered.
    `baseline_cost`: what the same tokens cost at the baseline model ("always the large one").
    `feedback`: the latest verdict in [0, 1], `feedback_source` where it came from.
    """

    request_id: str
    received_unix_s: float
    kind: str
    tenant: str
    asked_model: str
    status: str
    http_status: int
    error: str
    model_id: str
    deployment_id: str
    use_case: str
    intent: str
    task: str
    language: str
    script: str
    complexity: str
    confidence: float | None
    novelty: float | None
    stage: int
    strategy: str
    experiment: str
    arm: str
    propensity: float | None
    fallback_from: str
    attempts: int
    cache: str
    cached_model: str
    prompt_tokens: int
    completion_tokens: int
    tokens_estimated: bool
    saved_prompt_tokens: int
    saved_completion_tokens: int
    total_s: float
    classify_s: float
    decide_s: float
    wait_s: float
    upstream_s: float
    overhead_s: float
    first_byte_s: float | None
    stream: bool
    events: int
    reply_bytes: int
    conversation: str
    cost: float
    baseline_cost: float
    gpu_s: float
    signals: str
    plan: str
    attempts_detail: str
    limits: str
    world: str
    prompt_digest: str
    prompt: str = ""
    feedback: float | None = None
    feedback_source: str = ""


class Place(DeploymentView, frozen=True, omit_defaults=True):
    """A deployment as the decision saw it, short."""


class Present(World, frozen=True, omit_defaults=True):
    """The world as the decision saw it, short."""

    deployments: tuple[Place, ...] = ()


class Wanted(Limits, frozen=True, omit_defaults=True):
    """The caller's limits, short."""


def signals_in(record: Record) -> Signals | None:
    """What was measured."""
    return msgspec.json.decode(record.signals, type=Signals) if record.signals else None


def plan_in(record: Record) -> Plan | None:
    """What was decided, with terms and reasons."""
    return msgspec.json.decode(record.plan, type=Plan) if record.plan else None


def world_in(record: Record) -> World | None:
    """What the decision saw of the fleet."""
    return msgspec.json.decode(record.world, type=World) if record.world else None


def limits_in(record: Record) -> Limits:
    """What the caller would accept."""
    return msgspec.json.decode(record.limits, type=Limits) if record.limits else Limits()


def attempts_in(record: Record) -> tuple[Attempt, ...]:
    """Every try, times counted from arrival."""
    return msgspec.json.decode(record.attempts_detail, type=tuple[Attempt, ...]) if record.attempts_detail else ()


def turns_in(record: Record) -> tuple[Turn, ...]:
    """The prompt, where prompts are stored."""
    return msgspec.json.decode(record.prompt, type=tuple[Turn, ...]) if record.prompt else ()
