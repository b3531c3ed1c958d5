"""What the `model` of a request means: all models, one model, or nothing that exists.

Knows: ids, aliases, the names by which OpenAI's clients call its audio models. Does not know: what any model can do.
"""

import difflib
from collections.abc import Mapping

from pointsman.settings import AUTO
from pointsman.types import Kind, Value

# The official SDK's examples name these; here they mean "route it", so that the examples run unchanged.
OPENAI_AUDIO: dict[Kind, frozenset[str]] = {
    Kind.TRANSCRIPTION: frozenset({"whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"}),
    Kind.SPEECH: frozenset({"tts-1", "tts-1-hd", "gpt-4o-mini-tts"}),
}

LONGEST_SHOWN = 80


class Named(Value, frozen=True):
    """`model_id`: the pinned model, empty for all; `why`: how the name was read; `is_known`: whether it is one."""

    model_id: str = ""
    why: str = ""
    is_known: bool = True


def read_name(name: str, kind: Kind, ids: tuple[str, ...], aliases: Mapping[str, str]) -> Named:
    """1 `auto` → all. 2 model id → that one. 3 alias → its model. 4 OpenAI's audio names → all. 5 unknown."""
    if name == AUTO:  # 1
        return Named()
    if name in ids:  # 2
        return Named(model_id=name, why=f"The request names `{name}`.")
    if name in aliases:  # 3
        return Named(model_id=aliases[name], why=f"The request names `{name}`, an alias of `{aliases[name]}`.")
    if name in OPENAI_AUDIO.get(kind, ()):  # 4
        return Named(why=f"`{name}` is OpenAI's name and stands for `{AUTO}` here.")
    known = (AUTO, *ids, *aliases)  # 5
    shown = clipped(name)
    near = difflib.get_close_matches(shown, known, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return Named(is_known=False, why=f"There is no model `{shown}`.{hint} Name one of {', '.join(known)}.")


def clipped(name: str) -> str:
    """A caller's word, short enough to be said back."""
    return name if len(name) <= LONGEST_SHOWN else name[:LONGEST_SHOWN] + "…"
