"""Environment names from before there was a settings file, laid over its tree: they describe one small/large pair.

Knows: `ENABLE_MODEL_ROUTING`, `MODEL_3B_NAME`, `MODEL_8B_NAME`, `AB_TEST_RATIO`. Does not know: what an experiment is
beyond its keys. They win over the file, as every variable does; what they say wrong is a problem with their name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pointsman.settings_file import Document, plain

SWITCH, SMALL, LARGE, RATIO = "ENABLE_MODEL_ROUTING", "MODEL_3B_NAME", "MODEL_8B_NAME", "AB_TEST_RATIO"
PAIR, NAME = "small_large", "ab_test"
ROLES = ((SMALL, "treatment", "small"), (LARGE, "control", "large"))
WORDS = {"1": True, "yes": True, "on": True, "0": False, "no": False, "off": False}


def lay_over(document: Document, environ: Mapping[str, str]) -> None:
    """Write the variables into the tree. An empty one counts as unset."""
    said = {name: environ[name].strip() for name in (SWITCH, SMALL, LARGE, RATIO) if environ.get(name, "").strip()}
    if SWITCH in said:
        routing = document.tree.setdefault("routing", {})
        if isinstance(routing, dict):
            routing["enabled"] = WORDS.get(said[SWITCH].lower(), plain(said[SWITCH]))
            document.places["routing", "enabled"] = f"environment {SWITCH}"
    if said.keys() & {SMALL, LARGE, RATIO}:
        _pair(document, said)


def _pair(document: Document, said: Mapping[str, str]) -> None:
    """The file's first small/large pair; else a new one, of the models named here or by the aliases small and large."""
    experiments = document.tree.setdefault("experiments", [])
    if not isinstance(experiments, list):
        return
    pairs = [one for one in experiments if isinstance(one, dict) and one.get("kind") == PAIR]
    is_new = not pairs
    pair = {"name": NAME, "kind": PAIR} if is_new else pairs[0]
    index = len(experiments) if is_new else experiments.index(pair)
    aliases = document.tree.get("aliases")
    for variable, role, alias in ROLES:
        if variable in said:
            pair[role] = _model(document, said[variable])
            document.places["experiments", index, role] = f"environment {variable}"
        elif role not in pair and isinstance(aliases, dict) and alias in aliases:
            pair[role] = aliases[alias]
        elif role not in pair:
            named = ", ".join(sorted(said))
            remedy = f"name the {alias} model in {variable}, or give it the alias `{alias}`"
            document.problems.append(f"environment {named}: there is no {alias} model to compare; {remedy}")
            return
    if RATIO in said:
        pair["ratio"] = plain(said[RATIO])
        pair.pop("rollout", None)
        document.places["experiments", index, "ratio"] = f"environment {RATIO}"
    if is_new:
        experiments.append(pair)


def _model(document: Document, name: str) -> str:
    """The id of the model that is called so: its id, its name, what its engine calls it, or an alias."""
    aliases = document.tree.get("aliases")
    if isinstance(aliases, dict) and name in aliases:
        return str(aliases[name])
    return next((str(one["id"]) for one in _models(document) if name in _names(one)), name)


def _models(document: Document) -> Iterator[dict[str, Any]]:
    models = document.tree.get("models")
    return (one for one in (models if isinstance(models, list) else ()) if isinstance(one, dict) and "id" in one)


def _names(model: Mapping[str, Any]) -> tuple[object, ...]:
    return model["id"], model.get("name"), model.get("model")
