"""How many tokens a prompt has and its answer may have. Estimates, without a tokenizer.

Method: characters by kind of script, at the rates of llama-type tokenizers (checked with SmolLM2's and Qwen2.5's, see
`tests/signals/test_tokens.py`); rounded up, because too little costs a refused request and too much only a reserve.
"""

import re

from pointsman.types import Modality, Request

ASCII_PER_TOKEN = 3.6
OTHER_PER_TOKEN = 0.75  # Indic and CJK: byte-level pieces, often more than one a character
PER_TURN = 6
PER_IMAGE, PER_VIDEO = 500, 4000
OUTPUT = {"low": 60, "medium": 250, "high": 700}
_ASCII = re.compile(rb"[\x00-\x7f]+")


def prompt_tokens(request: Request) -> int:
    """Of all turns and attachments."""
    total = 0.0
    for turn in request.turns:
        text = turn.text
        plain = len(text) if text.isascii() else sum(map(len, _ASCII.findall(text.encode("utf-8", "surrogatepass"))))
        total += PER_TURN + plain / ASCII_PER_TOKEN + (len(text) - plain) / OTHER_PER_TOKEN
    for medium in request.media:
        total += {Modality.IMAGE: PER_IMAGE, Modality.VIDEO: PER_VIDEO}.get(medium.kind, 0)
    return int(total) + 1


def output_tokens(request: Request, complexity: str, is_code: bool) -> int:
    """Expected length of the answer, bounded by what the caller allows."""
    expected = OUTPUT[complexity] + (150 if is_code else 0)
    allowed = request.limits.max_output_tokens
    return expected if allowed is None else min(expected, allowed)
