"""What the user said themselves: the turns of a conversation without what a harness put around or into them.

Knows: roles, the elements that agents and editors wrap context, tool results and reminders in, how much of a long turn
is looked at. Does not know: what words mean, code, quotes.

Pure, and linear in a capped text. The classifier and the quality profile read a request through the same eyes.
"""

import re
from collections.abc import Iterator, Sequence

from pointsman.types import Turn

HEAD_CHARS, TAIL_CHARS = 2500, 1500  # of one turn, what is looked at
MOST_TURNS = 9  # of those that the user may have said, latest first

_UNREAD_ROLES = frozenset({"system", "developer", "assistant", "tool", "function"})
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]{0,40})(?:\s[^<>]{0,300})?>")
# Around the user's own words a harness puts these; the words stay.
_KEPT_TAGS = frozenset(
    {"user_query", "user-query", "query", "question", "task", "prompt", "user_input", "user_message"}
)
_HARNESS_PARTS = frozenset(
    "system reminder environment context document documents doc docs file files source sources content attachment "
    "attachments attached instructions rules memory memories history transcript example examples artifact stdout "
    "stderr command tool result results output log logs search function ide workspace project metadata info details "
    "diagnostics notification caveat persisted".split()
)
# A turn that a machine opens: a tool's result sent as the user's, the state of an editor.
_MACHINE = re.compile(
    r"\s*(?:\[?(?:tool|function|command|terminal|shell|bash)[ _-](?:results?|outputs?|responses?)\b"
    r"|observation\s*:\s*[\[{<`\"]"
    r"|#+\s*context from my ide\b|#+\s*(?:active file|open tabs|visible files)\b)",
    re.IGNORECASE,
)
# … in which the user's words begin here.
_USERS = re.compile(
    r"^[ \t]*(?:#+[ \t]*)?(?:my request\b[^:\n]{0,40}"
    r"|(?:the )?user(?:'s)?(?: (?:request|query|message|question|input|prompt))?|human|question|task)[ \t]*:[ \t]*"
    r"|\[/[\w -]{1,40}\]",
    re.IGNORECASE | re.MULTILINE,
)
_REMINDER = re.compile(
    r"\[(?:system|automatic|harness)[ _-](?:reminder|note|notice|message)\b[^\]]{0,2000}\]", re.IGNORECASE
)


def last_said(turns: Sequence[Turn]) -> tuple[str, list[str]]:
    """The user's own words in the last turn that has any, capped; the turns before it as they are, latest first."""
    said = [turn.text for turn in turns if turn.role not in _UNREAD_ROLES][::-1][:MOST_TURNS]
    for position, text in enumerate(said):
        own = own_words(text)
        if own.strip():
            return own, said[position + 1 :]
    only = _without_elements(capped(said[0])) if said else ""  # a machine speaks alone
    return (only, []) if only.strip() else ("", [])


def own_words(text: str) -> str:
    """One turn, capped, without what a harness put into it: `<system-reminder>…</system-reminder>` and its like; empty
    where it is all a tool's result."""
    text = _without_elements(capped(text))
    if "[" in text:
        text = _REMINDER.sub(" ", text)
    if not _MACHINE.match(text):
        return text
    marks = list(_USERS.finditer(text))
    return text[marks[-1].end() :] if marks else ""


def _without_elements(text: str) -> str:
    if "<" not in text or ">" not in text:
        return text
    kept, end = [], 0
    for start, stop in _spans(text):
        kept.append(text[end:start])
        end = stop
    kept.append(text[end:])
    return "".join(kept)


def capped(text: str) -> str:
    """The first and last kilobytes: where people put what they want."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return text[:HEAD_CHARS] + "\n\n" + text[-TAIL_CHARS:]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Outermost spans of harness elements, and the bare tags around the user's own words. One pass, a stack of one."""
    name, start, depth = "", 0, 0
    for tag in _TAG.finditer(text):
        closes, tag_name = tag[1] == "/", tag[2].lower()
        if name:
            depth += (-1 if closes else 1) if tag_name == name else 0
            if depth == 0:
                yield start, tag.end()
                name = ""
        elif tag_name in _KEPT_TAGS:
            yield tag.start(), tag.end()
        elif not closes and _is_harness(tag_name):
            name, start, depth = tag_name, tag.start(), 1
    if name and start > len(text) // 2:  # unclosed because the cap cut it: all of the rest is boilerplate
        yield start, len(text)


def _is_harness(tag: str) -> bool:
    """Whether any part of the name is a harness's: `context`, `system-reminder`, `ide_selection`; not `app-root`."""
    return not _HARNESS_PARTS.isdisjoint(tag.replace("-", "_").split("_"))
