"""What a new settings tree changes, and what of it only a restart can. Pure.

Knows: which settings a running process cannot change, and what of a model its process depends on. Does not know: how
anything is changed (`reload`).
"""

from collections.abc import Mapping
from typing import Any

from pointsman.settings import Model, ModelBase, Settings, VllmModel
from pointsman.types import Value

AT_RESTART: tuple[tuple[str, ...], ...] = (
    ("server", "host"),
    ("server", "port"),
    ("server", "admin_key_env"),
    ("server", "reload"),
    ("admission", "url"),
    ("admission", "password_env"),
    ("admission", "timeout_ms"),
    ("rag", "file"),
    ("rag", "most_passages"),
    ("rag", "remember"),
    ("ledger",),
    ("telemetry",),
    ("alerts",),
    ("log",),
    ("cache_dir",),
    ("hub_url",),
)
"""What was built once and holds a socket, a file or a thread; the old value stays in force."""

TERMS = frozenset(
    {
        *("name", "inputs", "outputs", "languages", "context_tokens", "tools", "quality", "cost_per_mtok"),
        *("tokens_per_s", "limits", "sampling", "system_prompt"),
        *("preload", "pin", "ttl_s", "sleep_after_s", "memory_gb", "gpu_memory_gb"),
    }
)
"""Of a model: what routing, memory, limits and requests reckon with, and no process is started with …"""
TOLD: Mapping[str, frozenset[str]] = {
    "custom": frozenset({"name", "languages", "context_tokens"}),
    "max_serve": frozenset({"context_tokens"}),
    "stt": frozenset({"name", "languages"}),
    "vllm": frozenset({"context_tokens"}),
}
"""… but these, by backend: its engine is told them, or may be."""
REMOTE_TERMS = TERMS | {"kinds", "slots", "min_slots"}
CALLS = ("first_byte_timeout_s", "idle_timeout_s")
"""Of `retry`: what a deployment's connection is made with, once."""


class ConfigStatus(Value, frozen=True):
    """What is in force. `last_error`: why the file as it is now, or a replacement, could not be used; empty: all is as
    the file says. `replacing`: models whose new process is being started."""

    loaded_unix_s: float = 0.0
    sha256: str = ""
    last_error: str = ""
    reloads: int = 0
    replacing: tuple[str, ...] = ()


class Changes(Value, frozen=True):
    """Ids of models, names of other sections, and dotted paths of what waits for a restart.

    `replaced`: their processes depend on what changed; `amended`: only their terms are others.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    amended: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.added, self.removed, self.replaced, self.amended, self.sections, self.at_restart))

    def __str__(self) -> str:
        """`models added: a, b; routing changed`."""
        named = (
            ("models added", self.added),
            ("removed", self.removed),
            ("replaced", self.replaced),
            ("with other terms", self.amended),
            ("only after a restart", self.at_restart),
        )
        said = [f"{what}: {', '.join(names)}" for what, names in named if names]
        if self.sections:
            said.append(f"{', '.join(self.sections)} changed")
        return "; ".join(said) or "nothing changed"


def changes_between(old: Settings, new: Settings) -> Changes:
    """What `new` asks for beyond `old`."""
    before = {model.id: model for model in old.models}
    after = {model.id: model for model in new.models}
    both = [(before[name], model) for name, model in after.items() if name in before]
    in_force = kept(old, new)
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        replaced=tuple(model.id for was, model in both if process_of(was, old) != process_of(model, in_force)),
        amended=tuple(
            model.id for was, model in both if was != model and process_of(was, old) == process_of(model, in_force)
        ),
        sections=tuple(
            name for name in Settings.model_fields if name != "models" and getattr(old, name) != getattr(in_force, name)
        ),
        at_restart=tuple(".".join(path) for path in AT_RESTART if _at(old, path) != _at(new, path)),
    )


def kept(old: Settings, new: Settings) -> Settings:
    """The new tree with the old values of what only a restart can change."""
    for path in AT_RESTART:
        value = _at(old, path)
        if _at(new, path) == value:
            continue
        update = {path[0]: value}
        if len(path) > 1:
            update = {path[0]: getattr(new, path[0]).model_copy(update={path[1]: value})}
        new = new.model_copy(update=update)
    return new


def terms_of(model: ModelBase) -> frozenset[str]:
    """What of it is changed in place."""
    if model.is_attached:
        return REMOTE_TERMS
    return TERMS - TOLD.get(getattr(model, "backend", ""), frozenset())


def process_of(model: Model, settings: Settings) -> dict[str, Any]:
    """All that the model's process, or the connection to somebody else's, depends on; equal: it can stay."""
    told = model.model_dump(exclude=set(terms_of(model)))
    if model.is_attached:
        return told | {"retry": {name: getattr(settings.retry, name) for name in CALLS}}
    if isinstance(model, VllmModel) and model.share is None and model.kv_cache_gb is None:
        budget = (settings.fleet.memory_fraction, settings.fleet.gpu_memory_budget_gb)
        return told | {"budget": budget}
    return told


def _at(settings: Settings, path: tuple[str, ...]) -> Any:
    value: Any = settings
    for name in path:
        value = getattr(value, name)
    return value
