"""What the `model` of a request means: all models, one model, or nothing that exists.

Knows: ids, aliases, the names by which OpenAI's clients call its audio models. Does not know: what any model can do.
"""

import difflib
from collections.abc import Collection, Mapping

import msgspec

from pointsman.settings import AUTO, Objective
from pointsman.types import Kind, Request, Value

# The official SDK's examples name these; here they mean "route it", so that the examples run unchanged.
OPENAI_AUDIO: dict[Kind, frozenset[str]] = {
    Kind.TRANSCRIPTION: frozenset({"whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"}),
    Kind.SPEECH: frozenset({"tts-1", "tts-1-hd", "gpt-4o-mini-tts"}),
}

LONGEST_SHOWN = 80


class Named(Value, frozen=True):
    """`model_id`: the pinned model, empty for all; `objective`: the way to choose, where one was named; `why`: how the
    name was read; `is_known`: whether it is one."""

    model_id: str = ""
    objective: str = ""
    why: str = ""
    is_known: bool = True


def read_name(
    name: str, kind: Kind, ids: Collection[str], aliases: Mapping[str, str], objectives: tuple[str, ...] = ()
) -> Named:
    """1 `auto` → all. 2 model id → that one. 3 alias → its model. 4 objective → all, chosen its way. 5 OpenAI's audio
    names → all. 6 unknown."""
    if name == AUTO:  # 1
        return Named()
    if name in ids:  # 2
        return Named(model_id=name, why=f"The request names `{name}`.")
    if name in aliases:  # 3
        return Named(model_id=aliases[name], why=f"The request names `{name}`, an alias of `{aliases[name]}`.")
    if name in objectives:  # 4
        return Named(objective=name, why=f"Chosen as `{name}` says.")
    if name in OPENAI_AUDIO.get(kind, ()):  # 5
        return Named(why=f"`{name}` is OpenAI's name and stands for `{AUTO}` here.")
    known = (AUTO, *ids, *aliases, *objectives)  # 6
    shown = clipped(name)
    near = difflib.get_close_matches(shown, known, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return Named(is_known=False, why=f"There is no model `{shown}`.{hint} Name one of {', '.join(known)}.")


def limited(request: Request, objective: Objective) -> Request:
    """The request under an objective's limits; what the caller stated itself stays."""
    limits = request.limits
    stated = msgspec.structs.replace(
        limits,
        strategy=limits.strategy or objective.strategy,
        max_cost_per_mtok=_first(limits.max_cost_per_mtok, objective.max_cost_per_mtok),
        max_latency_s=_first(limits.max_latency_s, objective.max_latency_s),
    )
    return msgspec.structs.replace(request, limits=stated)


def _first(stated: float | None, otherwise: float | None) -> float | None:
    return otherwise if stated is None else stated


def clipped(name: str) -> str:
    """A caller's word, short enough to be said back."""
    return name if len(name) <= LONGEST_SHOWN else name[:LONGEST_SHOWN] + "…"
