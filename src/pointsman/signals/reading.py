"""Which of a request's words count, and how much.

Knows: turns and roles, harness boilerplate, code, quotes, pasted text. Does not know: what the words mean.

The user's present words weigh most: the last user turn, without the elements that a harness put around or into it,
without code, without what is quoted or pasted. What stands beside them (quotes, pasted text, earlier turns of the user)
is kept apart and weighs little. System prompts, tool results and the assistant's turns are not read. Only the first and
last kilobytes are looked at, and every pattern here is linear in the text, so that the cost is bounded.
"""

import re
from typing import NamedTuple

from pointsman.harness import last_said, own_words
from pointsman.signals.lexis import folded, words_of
from pointsman.signals.orders import without_orders
from pointsman.types import Turn

ASK_HEAD_CHARS, ASK_TAIL_CHARS = 600, 400  # of its prose, what is taken for the instruction
EARLIER_TURNS, EARLIER_CHARS, BESIDE_CHARS = 3, 600, 800
FEWEST_CODE_LINES = 2
FEWEST_WORDS = 2  # an instruction of fewer words is none: then what stands beside it counts

_FENCE = "```"
# A line that is code though no fence says so; ASCII only, so that no sentence in another script is lost. Possessive and
# atomic where giving back could not help: a long line of prose is walked once an alternative.
_CODE_LINE = re.compile(
    r"^(?=[\x09\x20-\x7e]*+$)[ \t]*+(?:"
    r"(?:def|class|fn|func|public|private|static|const|let|var|void|int)\s+\w+.*[({=:;]"
    r"|(?:import|from)\s+[\w.]+(?:\s+import\b.*)?|#include\b.*"
    r"|(?:for|while|if|elif|else|try|except|with)\b.*[:{]|return\b.*[;()]"
    r"|(?:print|printf|console\.log|System\.out)\w*\(.*|[\w., \[\]]{1,80}+[+*/-]?=(?!=)\s*\S.*"
    r"|(?>.*[^ \t\n])(?<=[;{}])|@\w+.*|[)\]}]+[;,]?|(?:SELECT|INSERT|UPDATE|CREATE|FROM|WHERE)\b.*|[$>#]\s\w+.*"
    r"|</?\w+[^<>]*>.*"
    r")[ \t]*$",
    re.MULTILINE,
)
_INLINE_CODE = re.compile(r"`([^`\n]{1,300})`")
_QUOTED = re.compile(r'"(?<!\w")([^"\n]{6,600})"|“([^”\n]{6,600})”|«([^»\n]{6,600})»')
_QUOTED_LINE = re.compile(r"^[ \t]{0,3}>.*$", re.MULTILINE)
_LINK = re.compile(r"https?://\S+|www\.\S+|(?<![\w.+-])[\w.+-]{1,64}@[\w.-]{1,255}")
_OBJECT = re.compile(r"\A([^:\n]{3,160}?):\s+(\S.*)\Z", re.DOTALL)
# Verbs whose object follows a colon: "translate to Hindi: …". What follows is not what is asked.
_OBJECT_VERBS = frozenset(
    "translate summarise summarize paraphrase rewrite rephrase proofread correct transliterate classify categorise "
    "categorize pronounce say speak read repeat anuvad anuvaad anuvada अनुवाद மொழிபெயர் అనువదించు అనువదించండి অনুবাদ "
    "भाषांतर અનુવાદ ಅನುವಾದಿಸಿ ಅನುವಾದ വിവർത്തനം ਅਨੁਵਾਦ".split()
)


class Reading(NamedTuple):
    """The words of a request, sorted by weight: what is asked now (prose, folded), what stands beside it, what was said
    before. `code` is the code of the last turn; `last` is all of that turn as written, capped, boilerplate removed."""

    ask: str
    words: list[str]
    beside: str
    beside_words: list[str]
    earlier: str
    earlier_words: list[str]
    code: str
    last: str


def read(turns: tuple[Turn, ...]) -> Reading:
    """What the user says now, what stands beside it, what they said before."""
    last, before = last_said(turns)
    prose, code = _split_code(last)
    prose = prose.strip()
    if "://" in prose or "@" in prose or "www." in prose:
        prose = _LINK.sub(" ", prose)
    ask, beside = _split_quotes(*_split_object(*_focused(prose)))
    ask = without_orders(folded(ask))
    words = words_of(ask)
    if len(words) < FEWEST_WORDS:
        beside = ""
        ask = without_orders(folded(prose[: ASK_HEAD_CHARS + ASK_TAIL_CHARS]))
        words = words_of(ask)
    beside = without_orders(folded(beside[:BESIDE_CHARS]))
    earlier = without_orders(folded(_earlier(before)))
    return Reading(ask, words, beside, words_of(beside), earlier, words_of(earlier), code, last)


def _earlier(before: list[str]) -> str:
    parts = (_split_code(own_words(text))[0].strip() for text in before[:EARLIER_TURNS])
    return "\n".join(part[: EARLIER_CHARS // 2] for part in parts)[:EARLIER_CHARS]


# ---------------------------------------------------------------- code, quotes, pasted text


def _split_code(text: str) -> tuple[str, str]:
    """(prose, code): blocks and `inline` code apart. One word of inline code is a name and stays in the prose."""
    if "`" not in text:
        return _split_code_lines(text, "")
    pieces = text.split(_FENCE)
    prose, code = "\n".join(pieces[0::2]), "\n".join(pieces[1::2])
    if "`" in prose:
        inline = [span for span in _INLINE_CODE.findall(prose) if " " in span]
        prose = _INLINE_CODE.sub(lambda found: " " if " " in found[1] else f" {found[1]} ", prose)
        code = "\n".join((code, *inline)) if inline else code
    return _split_code_lines(prose, code)


def _split_code_lines(prose: str, code: str) -> tuple[str, str]:
    """Pasted without a fence: two lines or more that look like code."""
    if "\n" not in prose or len(lines := _CODE_LINE.findall(prose)) < FEWEST_CODE_LINES:
        return prose, code
    return _CODE_LINE.sub(" ", prose), "\n".join((code, *lines))


def _focused(prose: str) -> tuple[str, str]:
    """(instruction, pasted): of a long text, its beginning and its end, cut between paragraphs where there are any."""
    if len(prose) <= ASK_HEAD_CHARS + ASK_TAIL_CHARS:
        return prose, ""
    head_end = _cut(prose, prose.rfind("\n\n", 0, ASK_HEAD_CHARS), ASK_HEAD_CHARS)
    near = len(prose) - ASK_TAIL_CHARS
    breaks = (prose.find("\n\n", near), prose.find("\n", near))
    tail_start = next((at for at in breaks if at >= 0), len(prose))  # a text without a break is pasted to its end
    return f"{prose[:head_end]}\n{prose[tail_start:]}".strip(), prose[head_end:tail_start]


def _cut(prose: str, paragraph_end: int, limit: int) -> int:
    if paragraph_end > 0:
        return paragraph_end
    line_end = prose.rfind("\n", 0, limit)
    return line_end if line_end > 0 else limit


def _split_object(ask: str, beside: str) -> tuple[str, str]:
    """ "Translate to Hindi: write a program" asks for a translation; what follows the colon is its object."""
    if ":" not in ask or not (found := _OBJECT.match(ask)):
        return ask, beside
    verb_phrase = words_of(folded(found[1]))
    if _OBJECT_VERBS.isdisjoint(verb_phrase):
        return ask, beside
    return found[1], f"{found[2]}\n{beside}"


def _split_quotes(ask: str, beside: str) -> tuple[str, str]:
    """Quoted text is mentioned, not meant; one quoted word is a name and stays."""
    if '"' in ask or "“" in ask or "«" in ask:
        spans = [found for found in _QUOTED.finditer(ask) if " " in found[0].strip('"“”«» ')]
        for span in reversed(spans):
            ask = f"{ask[: span.start()]} … {ask[span.end() :]}"
        beside = "\n".join((*(span[0] for span in spans), beside))
    if ">" in ask:
        beside = "\n".join((*_QUOTED_LINE.findall(ask), beside))
        ask = _QUOTED_LINE.sub(" ", ask)
    return ask, beside
