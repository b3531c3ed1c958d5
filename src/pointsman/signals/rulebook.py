"""Keyword rules, compiled: which of them hold for these words.

Knows: the meaning of `any`, `all`, `none`. Does not know: what labels are for, how votes are weighed.
A rule holds when one of `any` occurs (or `any` is empty), all of `all` occur and none of `none` does; a rule that names
nothing to look for never holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple

import msgspec
import yaml
from pydantic import TypeAdapter

from pointsman.settings import RuleSettings
from pointsman.signals.phrases import Phrases

BUILTIN = "rules.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it: 20 times faster at start


class Held(NamedTuple):
    """A rule that holds, and the phrase of it that was found."""

    rule: RuleSettings
    phrase: str


class _Sought(NamedTuple):
    """A rule, and its phrases by number."""

    rule: RuleSettings
    any: frozenset[int]
    all: frozenset[int]
    none: frozenset[int]

    def is_met(self, found: set[int]) -> bool:
        return not (self.any and self.any.isdisjoint(found)) and self.all <= found and self.none.isdisjoint(found)


class Rulebook:
    """All rules of one deployment, searched in one pass."""

    def __init__(self, rules: Iterable[RuleSettings]) -> None:
        self.rules = tuple(rules)
        numbers: dict[str, int] = {}
        self._sought = tuple(
            _Sought(rule, *(_numbered(phrases, numbers) for phrases in (rule.any, rule.all, rule.none)))
            for rule in self.rules
        )
        self._names = tuple(numbers)
        self._phrases = Phrases(self._names)
        self._spoken_for: list[list[int]] = [[] for _ in numbers]  # phrase → the rules that it may make hold
        for place, one in enumerate(self._sought):
            for number in one.any | one.all:
                self._spoken_for[number].append(place)

    def __repr__(self) -> str:
        return f"Rulebook({len(self.rules)} rules, {len(self._names)} phrases)"

    def hold(self, words: Sequence[str], text: str) -> list[Held]:
        """The rules that hold for these words, in the order of the book; `text` is the folded text they came from."""
        found = self._phrases.find(words, text)
        places = {place for number in found for place in self._spoken_for[number]}
        met = (one for place in sorted(places) if (one := self._sought[place]).is_met(found))
        return [Held(one.rule, self._names[min(one.any & found)] if one.any else one.rule.name) for one in met]


def _numbered(phrases: Iterable[str], numbers: dict[str, int]) -> frozenset[int]:
    """Each phrase's number, a new one where it has none yet."""
    return frozenset(numbers.setdefault(phrase, len(numbers)) for phrase in phrases)


def builtin_rules() -> tuple[RuleSettings, ...]:
    """The rules that ship, in the ten languages."""
    text = files(__package__).joinpath(BUILTIN).read_text(encoding="utf-8")
    rules = yaml.load(text, Loader=_LOADER)["rules"]  # noqa: S506  # a safe loader, in C or in Python
    flat = [
        {key: list(_flat(value)) if isinstance(value, list) else value for key, value in rule.items()} for rule in rules
    ]
    return TypeAdapter(tuple[RuleSettings, ...]).validate_json(msgspec.json.encode(flat))


def _flat(phrases: Iterable[object]) -> Iterator[object]:
    """A list of phrases may hold lists that several rules share."""
    for phrase in phrases:
        if isinstance(phrase, list):
            yield from _flat(phrase)
        else:
            yield phrase
