"""Texts that are one statement, command or complaint of a machine, from the first character to the last.

Knows: how queries, shell commands and fragments of code begin and go on. Does not know: what a text with prose around
its code looks like (`shape` does). `SELECT * FROM t` is code; "select the best option from the menu" is not: words
that English has too need a sign that it does not have (a flag, a path, an operator). Linear, short texts only.
"""

import re

LONGEST_CHARS = 240
_QUERY = re.compile(
    r"select\s+(?:distinct\s+)?(?:\*|[\w.]+|[\w.]+\s*[,(].{0,120})\s+from\s+[\w.\"`]+(?:\s*;?|\s+(?:where|limit|join|left"
    r"|inner|cross|order\s+by|group\s+by|having|union|as|[a-z])\b.*)"
    r"|insert\s+into\s+\S+.*\bvalues\b.*|delete\s+from\s+\S+(?:\s+where\b.*|\s*;)?"
    r"|(?:drop|truncate|alter)\s+(?:table|index|view|database|column)\s+\S+.*"
    r"|create\s+(?:unique\s+)?(?:table|index|view|database)\s+\w+.*[(].*|update\s+\S+\s+set\s+\S+\s*=.*",
    re.IGNORECASE | re.DOTALL,
)
# No English sentence opens with these; a word or two may follow, or anything with signs in it.
_PROGRAMS = (
    r"kubectl|helm|git|docker(?:-compose)?|npm|npx|yarn|pnpm|pip3?|cargo|terraform|systemctl|apt(?:-get)?|brew|conda|aws"
    r"|gcloud|journalctl|yum|dnf|pacman|rustup|mvn|gradle|pytest|psql|sqlite3|redis-cli|ffmpeg|rsync|scp|ssh|chmod|chown"
    r"|mkdir|sudo\s+[\w-]+"
)
_SIGNED = r"(?:\S*[\d./:@=|&>~*-]\S*)"
_COMMAND = re.compile(
    # a known program: an order, then flags, paths or one more word
    rf"(?:[$#]\s+)?(?:{_PROGRAMS})(?:\s+[a-z][\w-]*)?(?:\s+{_SIGNED}){{0,8}}(?:\s+[a-z]\w*)?"
    # any program, with a flag
    r"|(?:[$#]\s+)?[a-z][\w.+-]{1,20}(?:\s+\S+){0,2}?\s+--?[a-zA-Z][\w-]*(?:[\s=]\S+){0,8}"
    # words of English, with a path
    r"|(?:[$#]\s+)?(?:cd|ls|cat|rm|mv|cp|tail|head|less|vim|nano|python3?|node|bash|sh|java|gcc|source|go\s+run)"
    r"\s+(?:\S*[./~]\S*)(?:\s+\S+){0,4}"
    r"|make\s+(?:all|test|build|install|clean)|go\s+(?:test|build|mod|vet|fmt)(?:\s+[./-]\S*)*"
)
_FRAGMENT = re.compile(
    r"#include\s*[<\"].+|lambda\b[\w\s,*]*:.+|(?:import|from)\s+[\w.]+\s+(?:import|as)\s+[\w.,* ]+"
    r"|(?:[\w.]+\s*=\s*)?[\[{(].*\bfor\s+\w+(?:\s*,\s*\w+)?\s+in\b.*[\]})]"
    r"|\^\S{3,}\$|[\w.]+\[[^\]]+\]\s*=.+"
    r"|[\w.]*\w(?:Error|Exception)(?::|\n|$)|thread '\w+' panicked"
)


def statement_in(text: str) -> str:
    """What kind of statement the text is, in words for an operator; empty where it is none."""
    text = text.strip()
    if not text or len(text) > LONGEST_CHARS or not text.isascii():
        return ""
    if _QUERY.fullmatch(text):
        return "a database query"
    if _COMMAND.fullmatch(text):
        return "a command line"
    return "a fragment of code" if _FRAGMENT.match(text) else ""
