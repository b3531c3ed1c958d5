"""Every value that crosses a door. All are frozen; none knows who made it or who reads it.

Invariants: no dict, no framework object, no open file. Times are seconds (`_s`) on the monotonic clock unless a name
says `unix`; sizes are bytes; probabilities are calibrated only where the maker says so.
"""

from bisect import bisect
from collections.abc import AsyncIterator, Callable

import msgspec
from msgspec.structs import force_setattr

from pointsman.labels import TASKS, Breaker, Complexity, Intent, Kind, Modality, Tier, UseCase
from pointsman.types_deployment import Endpoint, Exit, Footprint, FormFile, Lease, Running
from pointsman.types_learned import Learned
from pointsman.types_trace import Trace
from pointsman.types_trial import Trial
from pointsman.values import Value

# ---------------------------------------------------------------- what is asked


class Turn(Value, frozen=True):
    """One message of a conversation, as text. Tool results and system prompts keep their role, for signals to weigh."""

    role: str
    text: str


class Media(Value, frozen=True):
    """One attachment. `data` is set for uploads; chat parts stay inside the payload and carry only their size."""

    kind: Modality
    mime: str = ""
    size_bytes: int = 0
    is_remote: bool = False
    filename: str = ""
    data: bytes | None = None


class Hints(Value, frozen=True):
    """What the caller says about the request; a hint outweighs a guess."""

    use_case: UseCase | None = None
    intent: Intent | None = None
    language: str | None = None
    complexity: Complexity | None = None
    query_type: str | None = None
    entities: tuple[str, ...] = ()
    context_docs: tuple[str, ...] = ()


class Limits(Value, frozen=True):
    """What the caller will accept. `deadline_s` is a duration from arrival; None means the server's default.

    `continuation`: whether another model may go on with a cut answer. `cache` is "" or one of on, off, refresh, only;
    a kept answer older than `max_age_s` will not do. `models`: only these may answer; empty: all.
    """

    deadline_s: float | None = None
    max_cost_per_mtok: float | None = None
    max_latency_s: float | None = None
    max_output_tokens: int | None = None
    needs_tools: bool = False
    strategy: str | None = None
    continuation: bool | None = None
    cache: str = ""
    max_age_s: float | None = None
    models: tuple[str, ...] = ()


class JsonPayload(Value, frozen=True):
    """A JSON object whose members stay undecoded: the body travels on as the caller wrote it."""

    members: tuple[tuple[str, bytes], ...]

    def encode(self, replace: tuple[tuple[str, bytes], ...] = ()) -> bytes:
        """The object as JSON, members in their order; `replace` overrides by name and appends what is new."""
        merged = dict(self.members)
        merged.update(replace)
        return b"{" + b",".join(msgspec.json.encode(name) + b":" + raw for name, raw in merged.items()) + b"}"

    def get(self, name: str) -> bytes | None:
        """The undecoded member, or None where absent."""
        for key, raw in self.members:
            if key == name:
                return raw
        return None


class FormPayload(Value, frozen=True):
    """A multipart form: text fields, and one file which is `Request.media[0]`."""

    fields: tuple[tuple[str, str], ...]


class Request(Value, frozen=True):
    """One request, decoded once at the edge. `model` is what the caller named: `auto`, an alias or a model id.

    `prefix`: how the answer begins, where another deployment wrote `prefix_tokens` tokens of it already. `context`:
    what became of the documents that came along; those kept stand in the payload.
    """

    id: str
    kind: Kind
    model: str
    payload: JsonPayload | FormPayload
    turns: tuple[Turn, ...] = ()
    media: tuple[Media, ...] = ()
    outputs: tuple[Modality, ...] = (Modality.TEXT,)
    stream: bool = False
    has_tools: bool = False
    wants_usage: bool = False
    hints: Hints = Hints()
    limits: Limits = Limits()
    tenant: str = ""
    received_s: float = 0.0
    prefix: str = ""
    prefix_tokens: int = 0
    context: "Context | None" = None
    trace: Trace | None = None


# ---------------------------------------------------------------- what it is


FLOORS = (0.2, 0.4, 0.7)
BANDS = ("none", "low", "medium", "high")


class Scored(Value, frozen=True):
    """One label with its probability, the runners-up and what spoke for it."""

    label: str
    p: float
    alternatives: tuple[tuple[str, float], ...] = ()
    evidence: tuple[str, ...] = ()

    @property
    def band(self) -> str:
        """`high` ≥ .7, `medium` ≥ .4, `low` ≥ .2, else `none`."""
        return BANDS[bisect(FLOORS, self.p)]


class Signals(Value, frozen=True):
    """What the request is. Made by `signals.classifier`, pure.

    `novelty` in [0, 1]: how little this is like anything the classifier was made from. `unsure`: the questions that
    stage 1 would rather have the encoder answer; empty once stage 2 has spoken. `degraded`: why stage 2 was wanted and
    not had (`no_encoder`, `busy`, `deadline`, `error`); empty otherwise.
    `needs_tools` is what the request states, `tool_need` in [0, 1] what its words suggest.
    """

    use_case: Scored
    intent: Scored
    language: Scored
    complexity: Scored
    script: str = "native"
    inputs: tuple[Modality, ...] = (Modality.TEXT,)
    outputs: tuple[Modality, ...] = (Modality.TEXT,)
    prompt_tokens: int = 0
    output_tokens: int = 0
    needs_tools: bool = False
    tool_need: float = 0.0
    novelty: float = 0.0
    unsure: tuple[str, ...] = ()
    degraded: str = ""
    stage: int = 1

    @property
    def task(self) -> Scored:
        """The intent inside the agent use case, else the use case."""
        return self.intent if self.use_case.label == UseCase.AGENT else self.use_case


# ---------------------------------------------------------------- who could answer


class ModelCard(Value, frozen=True):
    """What a model can do, as configured; does not change while the process lives on one settings tree.

    `requires`: it answers only requests that carry at least one of these (a reader of images has nothing to say to
    plain text); empty: any request.
    """

    id: str
    name: str
    kinds: tuple[Kind, ...]
    inputs: tuple[Modality, ...] = (Modality.TEXT,)
    outputs: tuple[Modality, ...] = (Modality.TEXT,)
    requires: tuple[Modality, ...] = ()
    languages: tuple[str, ...] = ()
    context_tokens: int = 0
    tools: bool = False
    quality: tuple[tuple[str, float], ...] = ()
    cost_per_mtok: float = 0.0
    tokens_per_s: float = 0.0

    def quality_for(self, label: str, default: float = 0.5) -> float:
        """The configured prior for an intent or use case, in [0, 1]."""
        for name, value in self.quality:
            if name == label:
                return value
        return default


class DeploymentView(Value, frozen=True):
    """One place where a model can run, as the fleet saw it. Advisory: never gate a mutation on it.

    `retry_in_s`: until an open breaker lets a trial through; `is_tried`: half open, and no more trials are let through
    now. `latency_s`: its usual time to the first byte, of a whole answer to its end, None where unknown.
    `tokens_per_s`: as measured, after `first_token_s`; 0 and None where nothing was measured of late.
    `memory_bytes`, `gpu_bytes` (by GPU): of one that is warm what it holds, else what it takes when it is ready.
    """

    id: str
    model_id: str
    tier: Tier
    state: str
    ready_in_s: float = 0.0
    in_flight: int = 0
    queued: int = 0
    slots: int = 1
    breaker: Breaker = Breaker.CLOSED
    retry_in_s: float = 0.0
    is_tried: bool = False
    latency_s: float | None = None
    first_token_s: float | None = None
    tokens_per_s: float = 0.0
    is_managed: bool = False
    memory_bytes: int = 0
    gpu_bytes: tuple[tuple[int, int], ...] = ()
    pid: int | None = None
    restarts: int = 0
    last_error: str = ""


class World(Value, frozen=True):
    """What `decide` may know of the present: a snapshot, so that a decision can be replayed.

    `held_by`: the deployment that answered the turn before of this conversation, empty where there was none.
    `gpus`: (index, budget, used), in bytes. `full`: models at a limit of their own, seconds until they have room.
    `learned`: what verdicts taught, where the settings let them.
    `experiments`: those under way.
    """

    deployments: tuple[DeploymentView, ...] = ()
    budget_bytes: int = 0
    used_bytes: int = 0
    gpus: tuple[tuple[int, int, int], ...] = ()
    ticket: int = 0
    held_by: str = ""
    full: tuple[tuple[str, float], ...] = ()
    learned: tuple[Learned, ...] = ()
    experiments: tuple[Trial, ...] = ()


class Term(Value, frozen=True):
    """One score term of one candidate, in [0, 1], with its weight and its reason in words."""

    name: str
    value: float
    weight: float
    why: str = ""


class Candidate(Value, frozen=True):
    """One deployment that may answer, with the terms that ranked it."""

    deployment_id: str
    model_id: str
    score: float
    terms: tuple[Term, ...] = ()


class Rejected(Value, frozen=True):
    """One deployment that may not, with a code of a closed vocabulary and the reason in words."""

    deployment_id: str
    model_id: str
    code: str
    why: str


class Assignment(Value, frozen=True):
    """What chance had a say in: the arm of an experiment, with the probability with which it was chosen.

    `odds`: the models that could have been first, each with its probability; empty where that is not told.
    """

    experiment: str
    arm: str
    propensity: float
    odds: tuple[tuple[str, float], ...] = ()


class Plan(Value, frozen=True):
    """Who should answer, best first. Without candidates `problem` is a code of `errors.TABLE`, `reason` the remedy,
    `retry_in_s` when it may be otherwise, 0 where nobody can tell."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    strategy: str
    reason: str
    problem: str = ""
    retry_in_s: float = 0.0
    assignment: Assignment | None = None

    @property
    def meant(self) -> str:
        """The model meant to answer; "" where none may."""
        return self.candidates[0].model_id if self.candidates else ""


class WhatIf(Value, frozen=True):
    """One thing different, in words, and who would have answered then; empty for nobody."""

    change: str
    model_id: str


class Explanation(Value, frozen=True):
    """A decision with all it rests on. `would_change`: single changes that put another model first."""

    signals: Signals
    plan: Plan
    would_change: tuple[WhatIf, ...] = ()


# ---------------------------------------------------------------- what happened


class Usage(Value, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Attempt(Value, frozen=True):
    """One try at one deployment. `error` is empty where it succeeded, else a code of `errors.TABLE`.

    `ended_s`: when it failed or had its first content. `raced`: the deployment it was raced against and that lost,
    empty for none; `is_hedge`: it was the later one.
    """

    deployment_id: str
    model_id: str
    started_s: float
    wait_s: float = 0.0
    first_byte_s: float | None = None
    error: str = ""
    detail: str = ""
    is_hedge: bool = False
    raced: str = ""
    ended_s: float = 0.0


class Reply(Value, frozen=True):
    """An answer on its way to the caller: a whole `body`, or `events`, an iterator over whole server-sent events.

    `usage`: what is known of its tokens; of a stream, when it has ended.
    """

    status: int
    content_type: str
    body: bytes = b""
    events: AsyncIterator[bytes] | None = None
    metadata: "RoutingMetadata | None" = None
    usage: "Callable[[], Usage] | None" = None


class ContextCut(Value, frozen=True):
    """A passage of a context document that was left out: `duplicate` or over the `budget`."""

    document: int
    tokens: int
    why: str


class Context(Value, frozen=True):
    """What became of a request's context documents: indices of those kept, in the prompt's order, and every cut."""

    kept: tuple[int, ...]
    cuts: tuple[ContextCut, ...]
    tokens_before: int
    tokens_after: int
    tokens_saved: int


class RoutingMetadata(Value, frozen=True):
    """The contract's `x-routing-metadata`, in its order; `context` only where documents came along."""

    model_id: str
    model_name: str
    intent: str
    use_case: str
    language: str
    complexity: str
    confidence: float
    fallback_used: bool
    attempts: int
    cache: str
    experiment: str | None
    total_time_seconds: float
    request_id: str
    context: Context | msgspec.UnsetType = msgspec.UNSET


class Outcome(Value, frozen=True):
    """All that happened to one request; exactly one is made for each, whatever happens.

    `status` is one of success, client_error, refused, error, client_closed. `total_s` and `first_byte_s` count from
    arrival. `overhead_s` is what the gateway itself added: from the decoded request to the answer (a stream: to its
    first event) less `wait_s` and the wait for upstreams. `cache` is one of hit, semantic, miss, bypass; of a kept
    answer, `cached_model` once gave it and `saved` is what it would have cost. `asked_model` is empty where it was
    turned away before anybody knew what it asks: no key of ours, no JSON, too large.

    The last four follow from the rest, whatever is given for them. `answered_by`: the model that answered, `""` where
    none did; `fallback_from`: the one meant, where another did, and another instance of it is no other; `model_id`:
    the model it counts under, who answered, now or once, or was tried last, else who was meant or asked; `task`: one
    of `TASKS`, `unknown` before measuring.
    """

    request_id: str
    kind: Kind
    asked_model: str
    status: str
    http_status: int
    signals: Signals | None
    plan: Plan | None
    attempts: tuple[Attempt, ...]
    usage: Usage
    stream: bool
    total_s: float
    classify_s: float
    decide_s: float
    wait_s: float
    upstream_s: float
    first_byte_s: float | None
    error: str = ""
    tenant: str = ""
    received_unix_s: float = 0.0
    overhead_s: float = 0.0
    events: int = 0
    reply_bytes: int = 0
    conversation: str = ""
    cache: str = "bypass"
    cached_model: str = ""
    saved: Usage = Usage()
    arrived_s: float = 0.0
    limits: Limits = Limits()
    world: World | None = None
    prompt_digest: str = ""
    prompt: str = ""
    trace: Trace | None = None
    answered_by: str = ""
    fallback_from: str = ""
    model_id: str = ""
    task: str = ""

    @property
    def is_turned_away(self) -> bool:
        """Whether it ended before anybody knew what it asks."""
        return not self.asked_model

    def __post_init__(self) -> None:
        """Once, for all who count."""
        last, meant = self.attempts[-1] if self.attempts else None, self.plan.meant if self.plan else ""
        tried = last.model_id if last else ""
        answered = tried if last and not last.error else ""
        task = self.signals.task.label if self.signals else ""
        force_setattr(self, "answered_by", answered)
        force_setattr(self, "fallback_from", meant if answered and answered != meant else "")
        force_setattr(self, "model_id", self.cached_model or tried or meant or self.asked_model)
        force_setattr(self, "task", task if task in TASKS else "unknown")
