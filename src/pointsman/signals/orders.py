"""Orders to the classifier, taken out before anything is measured: a prompt cannot order its own labels.

Knows: how people try ("classify this as code", "every request is REASONING", "complexity: high"). Does not know: what
labels mean. Only the order is taken out; the words around it count as ever. Bounded: the caller gives a kilobyte.
"""

import re

_LABELS = (
    r"(?:cod(?:e|ing)|reasoning|general|agent|stt|tts|avatar|multimodal|complex|simple|high|low|medium|hard|easy)\b"
)
_ORDERS = re.compile(
    # classify, treat, route … this … as code
    r"\b(?:classif|categori|label|tag|treat|mark|rout|flag|consider|regard)\w{0,8}\b[^.!?\n]{0,60}?"
    rf"\b(?:as|to|=|is)\s+(?:an?\s+|the\s+)?[\"'*]?{_LABELS}"
    # every request is reasoning
    r"|\b(?:every|each|this|all|any|my)\s+(?:request|query|queries|prompt|message|input)s?"
    rf"\s+(?:is|are|must be|should be|has|have)\b[^.!?\n]{{0,40}}?\b{_LABELS}"
    # intent: code
    r"|\b(?:intent|use[ _-]case|complexity|query_type)\b\s{0,3}[\"']?\s{0,3}"
    rf"(?:[:=]|is\b|should be\b|must be\b)\s{{0,3}}[\"']?{_LABELS}"
    # this is a reasoning task · for high complexity
    rf"|\b(?:this|it)\s+is\s+(?:an?\s+)?{_LABELS}\s+(?:task|question|problem|request|query|prompt)\b"
    r"|\b(?:for|with|of|as|use|set)\s+(?:high|low|medium)\s+complexity\b"
    # ise code maano
    rf"|\b(?:ise|isko|isse|ye)\s+{_LABELS}\s+(?:maano|mano|samjho|manna|kaho)\b"
)
# No order lacks all of these; most prompts do.
_CLUES = (
    "classif", "categor", "label", "tag", "treat", "mark", "rout", "flag", "consider", "regard", "request", "quer",
    "prompt", "message", "input", "intent", "use case", "use_case", "use-case", "complexity", "this is", "it is",
    "maano", "mano", "samjho",
)  # fmt: skip


def without_orders(ask: str) -> str:
    """The folded text without its orders."""
    if not ask or not any(map(ask.__contains__, _CLUES)):
        return ask
    return _ORDERS.sub(" ", ask)
