"""What code and mathematics look like, whatever language the words around them are in.

Knows: fences, stack traces, file names, operators, formulas, numbers. Does not know: keywords of any human language.
Every pattern is linear; the text it is given is capped by `reading`.
"""

import re
from typing import NamedTuple

from pointsman.signals.statement import statement_in

_TRACE = re.compile(
    r"traceback \(most recent call last\)|^[ \t]++at [\w.$<>]{2,120}\([\w.: ]{0,80}\)|\bexception in thread\b"
    r"|(?:error|exception): |\bsegmentation fault\b|\bpanic: |\berror\[e\d{4}\]|\bts\d{4}\b"
    r"|\bundefined is not a\b|\bnullpointerexception\b|\bfatal: |\bnpm err!|\bcommand not found\b|\bcore dumped\b",
    re.IGNORECASE | re.MULTILINE,
)
_FILE = re.compile(
    r"\.(?<=\w\.)(?:py|ipynb|js|mjs|ts|tsx|jsx|java|kt|cpp|cc|hpp|cs|rs|go|rb|php|swift|scala|sql|sh|ps1|html|css|scss|vue"
    r"|yaml|yml|toml|gradle|lua|dart|json)\b"
)
_FILE_NAMES = ("dockerfile", "makefile", "requirements.txt", "tsconfig", "docker-compose")
_OPERATOR = re.compile(
    r"=>|==|!=|&&|\|\||::|\+=|->|</\w|/>|\(\)|[{};][ \t]*+$|^[ \t]*+[#@]\w++$"
    r"|\b(?:def|function|class|func|fn|public|private|static|const|let|var|return|void|int|print|printf|println|elif|if"
    r"|for|while)\b[ \t]*[\w\"'<*]{0,40}[ \t]*[(={;<]"
    r"|^[ \t]*+import[ \t]++[\w.{*]+|^[ \t]*+from[ \t]++[\w.]++[ \t]++import\b|#include\b|\bconsole\.log\b"
    r"|\bSELECT\b.{1,80}?\bFROM\b|\bselect \* from\b|\b\w+\[\w+\]|\b\w+\.\w+\(|\"\w+\":",
    re.MULTILINE,
)
_MATHS = re.compile(
    r"[∑∏∫√∂∇∞≤≥≠≈∈∉⊂⊆∪∩∀∃⇒⇔±π]|\\(?:frac|sum|int|sqrt|lim|begin|alpha|beta|theta|cdot|times|leq|geq|mathbb|infty)\b"
    r"|\$[^$\n]{0,80}[\\^_=][^$\n]{0,80}\$|\b\d*[a-z]\s?\^\s?[\dn]|[a-z0-9)]\s?[+*/^-]\s?[a-z0-9(][^\n=]{0,30}=\s?-?[a-z0-9(]"
    r"|\d\s?[+*^×÷]\s?\d|\d\s/\s\d|\b[fg]\(x\)|\d\s?%\sof\b|\bd[xy]/d[xt]\b|\bmod\s\d"
)
# What a look at single characters rules out need not be searched for.
_TRACE_CLUES = (
    "error", "exception", "traceback", "\tat ", "  at ", "fault", "panic", "fatal", "npm err", "undefined", "not found",
    "core dumped", " ts",
)  # fmt: skip
_SIGN = re.compile(r"[=;(){}\[\]<>#@&|:]")
_FIGURE = re.compile(r"[\d^\\$=(∑∏∫√∂∇∞≤≥≠≈∈∉⊂⊆∪∩∀∃⇒⇔±×÷π]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


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


_ITEM = re.compile(r"^[ \t]{0,8}(?:[-*•]|\d{1,2}[.)])[ \t]", re.MULTILINE)


def shape_of(last: str, ask: str, code: str) -> Shape:
    """`last`: the user's last turn; `ask`: the prose of it, folded; `code`: the fenced part of it."""
    if len(last) > 2 * LOOKED_AT_CHARS:
        last = f"{last[:LOOKED_AT_CHARS]}\n{last[-LOOKED_AT_CHARS:]}"
    strength, why = _code(last, code)
    # Code is full of formulas that ask for no mathematics.
    maths = 0.0 if strength >= 0.6 else _maths(ask)
    questions = ask.count("?") + ask.count("？") + ask.count("؟")
    return Shape(strength, why, maths, len(_NUMBER.findall(ask)), questions, len(_ITEM.findall(last)))


def _code(last: str, code: str) -> tuple[float, str]:
    """1 a stack trace or error. 2 a fenced block. 3 only a statement. 4 the density of operators. 5 a file name."""
    lowered = last.lower()
    if any(clue in lowered for clue in _TRACE_CLUES) and _TRACE.search(last):  # 1
        return SURELY_CODE, "an error message or stack trace"
    if len(code) > 12:  # 2
        return 0.75, "a block of code"
    if what := statement_in(last):  # 3
        return SURELY_CODE, what
    marks = len(_OPERATOR.findall(last)) if _SIGN.search(last) or "import" in last else 0  # 4
    if marks >= 3:
        return min(0.85, 0.5 + 0.08 * marks), f"{marks} marks of code"
    if ("." in last and _FILE.search(last)) or any(name in lowered for name in _FILE_NAMES):  # 5
        return 0.6, "a source file's name"
    return (0.35 * min(marks, 2), f"{marks} marks of code") if marks else (0.0, "")


def _maths(ask: str) -> float:
    found = len(_MATHS.findall(ask)) if _FIGURE.search(ask) else 0
    return 0.0 if not found else 0.6 if found == 1 else 0.75
