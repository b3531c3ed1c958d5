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


class _Slot(NamedTuple):
    rule: int
    part: str  # any, all or none


class Rulebook:
    """All rules of one deployment, searched in one pass."""

    def __init__(self, rules: Iterable[RuleSettings]) -> None:
        self.rules = tuple(rules)
        slots: dict[str, list[_Slot]] = {}
        for number, rule in enumerate(self.rules):
            for part in ("any", "all", "none"):
                for phrase in dict.fromkeys(getattr(rule, part)):
                    slots.setdefault(phrase, []).append(_Slot(number, part))
        self._names = tuple(slots)
        self._slots = tuple(tuple(row) for row in slots.values())
        self._phrases = Phrases(self._names)
        self._by_absence = tuple(n for n, rule in enumerate(self.rules) if rule.none and not (rule.any or rule.all))

    def __repr__(self) -> str:
        return f"Rulebook({len(self.rules)} rules, {len(self._names)} phrases)"

    def hold(self, words: Sequence[str], text: str) -> list[Held]:
        """The rules that hold for these words, in the order of the book; `text` is the folded text they came from."""
        if not self.rules:
            return []
        found = sorted(self._phrases.find(words, text))
        first: dict[int, str] = {}
        alls: dict[int, int] = {}
        barred: set[int] = set()
        for number in found:
            for rule, part in self._slots[number]:
                if part == "none":
                    barred.add(rule)
                elif part == "all":
                    alls[rule] = alls.get(rule, 0) + 1
                else:
                    first.setdefault(rule, self._names[number])
        return [
            Held(self.rules[number], first.get(number, "") or self.rules[number].name)
            for number in sorted({*first, *alls, *self._by_absence})
            if number not in barred and self._is_met(number, first, alls)
        ]

    def _is_met(self, number: int, first: dict[int, str], alls: dict[int, int]) -> bool:
        rule = self.rules[number]
        return (not rule.any or number in first) and alls.get(number, 0) == len(set(rule.all))


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
