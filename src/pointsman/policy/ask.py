"""What a request needs, read once from Request and Signals; every gate and term looks here and nowhere else.

Knows: which fact wins where request and signals both speak (what the endpoint is certain of beats what was guessed).
Does not know: models. Sizes are tokens, times seconds.
"""

from pointsman.policy.catalogue import primary_language
from pointsman.policy.judged import Judged
from pointsman.types import (
    Complexity,
    DeploymentView,
    Kind,
    Modality,
    ModelCard,
    Request,
    Signals,
    UseCase,
    Value,
    World,
)

UNKNOWN_LANGUAGES = frozenset({"", "und", "unknown", "zxx"})
LEAST_ROOM_TOKENS = 64
NOT_JUDGED = Judged()
_COMPLEXITIES: dict[str, Complexity] = {complexity.value: complexity for complexity in Complexity}
_CERTAIN_USE_CASE = {Kind.TRANSCRIPTION: UseCase.STT, Kind.SPEECH: UseCase.TTS}
# An audio endpoint settles both by itself; the text beside a recording is a hint that a model may ignore.
_CERTAIN_INPUTS = {Kind.TRANSCRIPTION: (Modality.AUDIO,), Kind.SPEECH: (Modality.TEXT,)}
_CERTAIN_OUTPUTS = {Kind.TRANSCRIPTION: (Modality.TEXT,), Kind.SPEECH: (Modality.AUDIO,)}


class Ask(Value, frozen=True):
    """One request's needs. `order` is the use-case matrix' row for it, best first; `default_model` is set only where
    the labels are too unsure to decide alone. `room_tokens` is what must fit beside the prompt, `answer_tokens` what
    is expected to be written."""

    kind: Kind
    inputs: tuple[Modality, ...]
    outputs: tuple[Modality, ...]
    use_case: str
    label: str
    complexity: Complexity
    language: str
    language_band: str
    is_spoken: bool
    prompt_tokens: int
    answer_tokens: int
    room_tokens: int
    needs_tools: bool
    max_cost_per_mtok: float | None
    max_latency_s: float | None
    budget_bytes: int
    free_bytes: int
    order: tuple[str, ...]
    default_model: str
    held_by: str = ""
    judged: Judged = Judged()
    models: tuple[str, ...] = ()
    full: tuple[tuple[str, float], ...] = ()
    gpus: tuple[tuple[int, int, int], ...] = ()


def labels_of(request: Request, signals: Signals) -> tuple[str, str]:
    """(use case, label): the label is the intent of an agent's request, else the use case again."""
    use_case = _CERTAIN_USE_CASE.get(request.kind) or signals.use_case.label
    return use_case, signals.intent.label if use_case == UseCase.AGENT else use_case


def needs_of(
    request: Request,
    signals: Signals,
    world: World,
    order: tuple[str, ...],
    default_model: str,
    judged: Judged = NOT_JUDGED,
) -> Ask:
    """The needs that request and signals state, under the matrix' row `order`; `default_model`: empty where labels are
    sure; `judged`: what graded answers say."""
    limits, stated = request.limits, request.limits.max_output_tokens
    use_case, label = labels_of(request, signals)
    language = primary_language(signals.language.label)
    return Ask(
        kind=request.kind,
        inputs=_CERTAIN_INPUTS.get(request.kind, signals.inputs),
        outputs=_CERTAIN_OUTPUTS.get(request.kind, request.outputs),
        use_case=use_case,
        label=label,
        complexity=_COMPLEXITIES.get(signals.complexity.label, Complexity.MEDIUM),
        language="" if language in UNKNOWN_LANGUAGES else language,
        language_band=signals.language.band,
        is_spoken=request.kind in _CERTAIN_USE_CASE or Modality.AUDIO in signals.inputs,
        prompt_tokens=signals.prompt_tokens,
        answer_tokens=signals.output_tokens if stated is None else min(stated, signals.output_tokens or stated),
        # A guess at the answer's length must not refuse a request, nor a stated ceiling: an engine stops where it must.
        room_tokens=min(signals.output_tokens if stated is None else stated, LEAST_ROOM_TOKENS),
        needs_tools=signals.needs_tools or limits.needs_tools,
        max_cost_per_mtok=limits.max_cost_per_mtok,
        max_latency_s=limits.max_latency_s,
        budget_bytes=world.budget_bytes,
        free_bytes=world.budget_bytes - world.used_bytes,
        order=order,
        default_model=default_model,
        held_by=world.held_by,
        judged=judged,
        models=limits.models,
        full=world.full,
        gpus=world.gpus,
    )


def has_room(ask: Ask, view: DeploymentView) -> bool:
    """Whether every device has so much free that nobody must leave; unknown budgets have."""
    if ask.budget_bytes > 0 and view.memory_bytes > ask.free_bytes:
        return False
    wanted = dict(view.gpu_bytes)
    return all(wanted.get(gpu, 0) <= budget_bytes - used_bytes for gpu, budget_bytes, used_bytes in ask.gpus)


def is_unsure(request: Request, signals: Signals, floor: float) -> bool:
    """Whether the label that picks the matrix' row is less sure than `floor`; an audio endpoint is certain."""
    if request.kind in _CERTAIN_USE_CASE:
        return False
    return signals.use_case.p < floor or (signals.use_case.label == UseCase.AGENT and signals.intent.p < floor)


def answer_s(ask: Ask, card: ModelCard, view: DeploymentView) -> float | None:
    """Expected seconds until the whole answer is there once the deployment is ready, those ahead in the queue included:
    the time to its first token, as measured, and what it writes after it, at the pace that was measured, else the one
    configured. None where neither is known."""
    first_s = view.latency_s if view.first_token_s is None else view.first_token_s
    per_s = view.tokens_per_s or card.tokens_per_s
    if not per_s and first_s is None:
        return None
    once_s = (first_s or 0.0) + (ask.answer_tokens / per_s if per_s else 0.0)
    busy = view.in_flight + view.queued
    if busy < view.slots:
        return once_s
    slots = view.slots or 1
    return once_s * (1 + (busy + 1 - slots) / slots)


def why_so_long(card: ModelCard, view: DeploymentView) -> str:
    """Where `answer_s` has its figures from."""
    first_s = view.latency_s if view.first_token_s is None else view.first_token_s
    begins = f"{first_s:.2f} s to begin (measured), " if first_s else ""
    if view.tokens_per_s:
        return f"{begins}{view.tokens_per_s:.3g} tokens a second (measured)"
    if card.tokens_per_s:
        return f"{begins}{card.tokens_per_s:g} tokens a second (configured)"
    return f"{begins}its pace is not known"
