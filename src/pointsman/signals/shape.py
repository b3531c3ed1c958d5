"""What code and mathematics look like, whatever language the words around them are in.

Knows: fences, stack traces, file names, operators, formulas, numbers. Does not know: keywords of any human language.
Every pattern is linear; the text it is given is capped by `reading`. What starts at a word's edge or a line's stands in
one group of its pattern, so that one test rules all of it out; what can name its first character does, and is leapt to.
"""

import re
from typing import NamedTuple

from pointsman.signals.statement import statement_in

_TRACE = re.compile(
    r"traceback \(most recent call last\)|^[ \t]++at [\w.$<>]{2,120}\([\w.: ]{0,80}\)|(?:error|exception): "
    r"|\b(?:exception in thread\b|segmentation fault\b|panic: |error\[e\d{4}\]|ts\d{4}\b|undefined is not a\b"
    r"|nullpointerexception\b|fatal: |npm err!|command not found\b|core dumped\b)",
    re.MULTILINE,
)
_FILE = re.compile(
    r"\.(?<=\w\.)(?:py|ipynb|js|mjs|ts|tsx|jsx|java|kt|cpp|cc|hpp|cs|rs|go|rb|php|swift|scala|sql|sh|ps1|html|css|scss|vue"
    r"|yaml|yml|toml|gradle|lua|dart|json)\b"
)
_FILE_NAMES = ("dockerfile", "makefile", "requirements.txt", "tsconfig", "docker-compose")
_OPERATOR = re.compile(
    r"=>|==|!=|&&|\|\||::|\+=|->|</\w|/>|\(\)|[{};][ \t]*+$"
    r"|^[ \t]*+(?:[#@]\w++$|import[ \t]++[\w.{*]+|from[ \t]++[\w.]++[ \t]++import\b)|#include\b|\"\w+\":"
    r"|\b(?:(?:def|function|class|func|fn|public|private|static|const|let|var|return|void|int|print|printf|println|elif|if"
    r"|for|while)\b[ \t]*[\w\"'<*]{0,40}[ \t]*[(={;<]"
    r"|console\.log\b|SELECT\b.{1,80}?\bFROM\b|select \* from\b|\w++(?:\[\w+\]|\.\w+\())",
    re.MULTILINE,
)
_MATHS = re.compile(
    r"[∑∏∫√∂∇∞≤≥≠≈∈∉⊂⊆∪∩∀∃⇒⇔±π]|\\(?:frac|sum|int|sqrt|lim|begin|alpha|beta|theta|cdot|times|leq|geq|mathbb|infty)\b"
    r"|\$[^$\n]{0,80}[\\^_=][^$\n]{0,80}\$|\b(?:\d*[a-z]\s?\^\s?[\dn]|[fg]\(x\)|d[xy]/d[xt]\b|mod\s\d)"
    r"|[a-z0-9)]\s?[+*/^-]\s?[a-z0-9(][^\n=]{0,30}=\s?-?[a-z0-9(]"
    r"|\d(?:\s?[+*^×÷]\s?\d|\s/\s\d|\s?%\sof\b)"
)
# What a look at single characters rules out need not be searched for.
_TRACE_CLUES = (
    "error", "exception", "traceback", "\tat ", "  at ", "fault", "panic", "fatal", "npm err", "undefined", "not found",
    "core dumped", " ts",
)  # fmt: skip
_SIGN = re.compile(r"[=;(){}\[\]<>#@&|:]")
_FIGURE = re.compile(r"[\d^\\$=(∑∏∫√∂∇∞≤≥≠≈∈∉⊂⊆∪∩∀∃⇒⇔±×÷π]")
_NUMBER = re.compile(r"\d\d*(?:[.,]\d+)*")
_ITEM = re.compile(r"\n[ \t]{0,8}(?:[-*•]|\d{1,2}[.)])[ \t]")


LOOKED_AT_CHARS = 800  # at either end: enough to see that it is code


SURELY_CODE = 0.88  # nothing but a statement, or a stack trace; operators alone never say so much


class Shape(NamedTuple):
    """Strengths in [0, 1] and counts. `code` is how much the last turn looks like code, `maths` like mathematics."""

    code: float
    code_why: str
    maths: float
    numbers: int
    questions: int
    items: int


def shape_of(last: str, ask: str, code: str) -> Shape:
    """`last`: the user's last turn; `ask`: the prose of it, folded; `code`: the fenced part of it."""
    if len(last) > 2 * LOOKED_AT_CHARS:
        last = f"{last[:LOOKED_AT_CHARS]}\n{last[-LOOKED_AT_CHARS:]}"
    strength, why = _code(last, code)
    questions = ask.count("?") + ask.count("？") + ask.count("؟")
    has_figures = _FIGURE.search(ask) is not None
    # Code is full of formulas that ask for no mathematics.
    maths = _maths(ask) if has_figures and strength < 0.6 else 0.0
    numbers = len(_NUMBER.findall(ask)) if has_figures else 0
    return Shape(strength, why, maths, numbers, questions, len(_ITEM.findall(f"\n{last}")))


def _code(last: str, code: str) -> tuple[float, str]:
    """1 a stack trace or error. 2 a fenced block. 3 only a statement. 4 the density of operators. 5 a file name."""
    lowered = last.lower()
    if any(map(lowered.__contains__, _TRACE_CLUES)) and _TRACE.search(lowered):  # 1
        return SURELY_CODE, "an error message or stack trace"
    if len(code) > 12:  # 2
        return 0.75, "a block of code"
    if what := statement_in(last):  # 3
        return SURELY_CODE, what
    marks = len(_OPERATOR.findall(last)) if _SIGN.search(last) or "import" in last else 0  # 4
    if marks >= 3:
        return min(0.85, 0.5 + 0.08 * marks), f"{marks} marks of code"
    if ("." in last and _FILE.search(last)) or any(map(lowered.__contains__, _FILE_NAMES)):  # 5
        return 0.6, "a source file's name"
    return (0.35 * min(marks, 2), f"{marks} marks of code") if marks else (0.0, "")


def _maths(ask: str) -> float:
    found = len(_MATHS.findall(ask))
    return 0.0 if not found else 0.6 if found == 1 else 0.75
