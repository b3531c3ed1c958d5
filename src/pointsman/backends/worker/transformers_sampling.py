"""Which token comes next.

Knows: the numbers a model gives and what the caller wants of chance. Does not know: text, conversations, devices.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from pointsman.types import Value

FEW = 256
"""Candidates looked at first for `top_p`: nearly always enough, and far cheaper than to sort a whole vocabulary."""


class Sampling(Value, frozen=True):
    """`temperature` 0: always the likeliest. `top_k` 0, `top_p` 1, `min_p` 0: no bound. `logit_bias` pairs tokens with
    what is added. `top_logprobs`: None for none, else so many beside the one chosen."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None


class Chosen(Value, frozen=True):
    """A token. `logprob` and `top` (token, logprob; likeliest first) are of the model's own distribution, where asked
    for."""

    token: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """One answer's chance: the same seed and the same numbers give the same tokens."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._said: Counter[int] = Counter()
        self._seen = set(prompt) if sampling.repeat_penalty != 1 else set()
        self._chance = torch.Generator()
        if sampling.seed is None:
            self._chance.seed()
        else:
            self._chance.manual_seed(sampling.seed & 0x7FFF_FFFF_FFFF_FFFF)

    def choose(self, logits: torch.Tensor) -> Chosen:
        """From a model's numbers [vocabulary], float32, on the CPU. They may be changed."""
        logprobs = logits.log_softmax(-1) if self._sampling.top_logprobs is not None else None
        self._lean(logits)
        token = self._pick(logits)
        self._said[token] += 1
        if logprobs is None:
            return Chosen(token=token)
        best = logprobs.topk(min(self._sampling.top_logprobs or 0, len(logprobs)))
        top = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Chosen(token=token, logprob=float(logprobs[token]), top=tuple(top))

    def _lean(self, logits: torch.Tensor) -> None:
        """Biases and penalties."""
        asked = self._sampling
        for token, bias in asked.logit_bias:
            logits[token] += bias
        if asked.repeat_penalty != 1 and (known := list(self._seen | set(self._said))):
            some = logits[known]
            logits[known] = torch.where(some > 0, some / asked.repeat_penalty, some * asked.repeat_penalty)
        if self._said and (asked.frequency_penalty or asked.presence_penalty):
            counts = torch.tensor([float(count) for count in self._said.values()])
            logits[list(self._said)] -= counts * asked.frequency_penalty + asked.presence_penalty

    def _pick(self, logits: torch.Tensor) -> int:
        asked = self._sampling
        if asked.temperature == 0:
            return int(logits.argmax())
        logits = logits / asked.temperature
        tokens: torch.Tensor | None = None
        if 0 < asked.top_k < len(logits):
            logits, tokens = logits.topk(asked.top_k)
        shares = logits.softmax(-1)
        if asked.top_p < 1:
            shares, among = _nucleus(shares, asked.top_p)
            tokens = among if tokens is None else tokens[among]
        if asked.min_p:
            shares = torch.where(shares >= asked.min_p * shares.max(), shares, 0)
        index = int(torch.multinomial(shares, 1, generator=self._chance))
        return index if tokens is None else int(tokens[index])


def _nucleus(shares: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest that together reach `top_p`, and which they are."""
    for count in (min(FEW, len(shares)), len(shares)):
        best, tokens = shares.topk(count)
        before = best.cumsum(-1) - best
        inside = max(1, int((before < top_p).sum()))
        if inside < count or count == len(shares):
            return best[:inside], tokens[:inside]
    raise AssertionError  # the second round is the whole
