"""Many phrases found in one pass.

Knows: a tree of phrases, word by word. Does not know: what a phrase speaks for.
Costs one or two dictionary look-ups a word, whatever the number of phrases; there is no pattern that could backtrack.

A phrase is matched whole and caseless, word after word. `prov*` matches every word that starts with `prov`. Where words
are not separated (Chinese, Thai …), and for phrases without letters (`=>`), the phrase is found anywhere in the text.
"""

from collections.abc import Iterator, Sequence

from pointsman.signals.lexis import folded, words_of
from pointsman.signals.scripts import UNSEGMENTED, script_of

STEM_KEY = 2


class Node:
    """What may follow: whole words, and stems by their first two letters; `ends` are the phrases complete here."""

    __slots__ = ("ends", "stems", "whole")

    def __init__(self) -> None:
        self.whole: dict[str, Node] = {}
        self.stems: dict[str, list[tuple[str, Node]]] = {}
        self.ends: list[int] = []

    def is_leaf(self) -> bool:
        return not (self.whole or self.stems)

    def child(self, word: str, is_stem: bool) -> "Node":
        if not is_stem:
            return self.whole.setdefault(word, Node())
        row = self.stems.setdefault(word[:STEM_KEY], [])
        for stem, node in row:
            if stem == word:
                return node
        row.append((word, Node()))
        return row[-1][1]


class Phrases:
    """Compiled once, searched often. A phrase is known by its number, in the order given."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._root = Node()
        self._anywhere: list[tuple[str, int]] = []
        for number, phrase in enumerate(phrases):
            self._add(folded(phrase).strip(), number)

    def __repr__(self) -> str:
        return f"Phrases({len(self._root.whole) + len(self._root.stems)} first words, {len(self._anywhere)} anywhere)"

    def _add(self, phrase: str, number: int) -> None:
        words = words_of(phrase)
        if not words or script_of(words[0][0]) in UNSEGMENTED:
            if phrase:
                self._anywhere.append((phrase.rstrip("*") or phrase, number))
            return
        node, end = self._root, 0
        for word in words:
            end = phrase.index(word, end) + len(word)
            node = node.child(word, len(word) >= STEM_KEY and phrase[end : end + 1] == "*")
        node.ends.append(number)

    def find(self, words: Sequence[str], text: str) -> set[int]:
        """The numbers of all phrases in these words; `text` is the folded text they were cut from."""
        found = {number for phrase, number in self._anywhere if phrase in text}
        whole, stems = self._root.whole, self._root.stems
        for start, word in enumerate(words):
            node = whole.get(word)
            if node is not None:
                found.update(node.ends if node.is_leaf() else self._from(node, words, start + 1))
            row = stems.get(word[:STEM_KEY])
            if row is not None:
                for stem, below in row:
                    if word.startswith(stem):
                        found.update(below.ends if below.is_leaf() else self._from(below, words, start + 1))
        return found

    def _from(self, node: Node, words: Sequence[str], at: int) -> Iterator[int]:
        yield from node.ends
        if at == len(words) or node.is_leaf():
            return
        word = words[at]
        if below := node.whole.get(word):
            yield from self._from(below, words, at + 1)
        for stem, below in node.stems.get(word[:STEM_KEY], ()):
            if word.startswith(stem):
                yield from self._from(below, words, at + 1)
