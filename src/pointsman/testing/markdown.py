"""The code blocks of a Markdown page, so that what documentation shows can be run by tests.

Knows: fenced blocks and the words after the language, such as `python run`. Does not know: any language.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pointsman.types import Value

_FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)


class CodeBlock(Value, frozen=True):
    """One block: its first line's number, its language, the marks that follow the language, its text."""

    path: Path
    line: int
    language: str
    marks: tuple[str, ...]
    code: str

    def __repr__(self) -> str:
        return f"CodeBlock({self.path.name}:{self.line} {self.language} {' '.join(self.marks)})"


def code_blocks(path: Path) -> Iterator[CodeBlock]:
    """The page's fenced blocks, in order."""
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        language, *marks = found["info"].split() or [""]
        line = text.count("\n", 0, found.start("code")) + 1
        yield CodeBlock(path=path, line=line, language=language, marks=tuple(marks), code=found["code"])
