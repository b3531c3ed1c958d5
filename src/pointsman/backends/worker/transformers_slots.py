"""Keys and values of several conversations at once, and the attention that reads them.

Knows: where each conversation's keys and values lie, which tokens of a forward pass belong to whom. Does not know:
weights, tokens' meaning, sampling.

A forward pass gets the new tokens of all conversations one behind the other, as one row without padding; each piece of
it attends to its own slot only. So requests join and leave at any token, nothing is copied when they do, and a prompt
is read piece by piece beside answers that are being written.

`Slots` holds room for every conversation from the start: what is promised is there. It suits models whose layers all
keep keys and values. `Alone` is for the others: each conversation has the cache the model makes itself and its own
forward pass. Which one a model gets is decided by comparing answers (`transformers_model`).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from pointsman.types import Value

UNKNOWN_TERMS = ("softcap", "s_aux", "position_bias", "sinks")
"""What some models add to attention and `Slots.attend` does not."""


CACHES = ("past_key_values", "cache_params")
"""What models call the cache that they make themselves."""


class Unsuitable(Exception):  # noqa: N818  # no error: the other way is taken
    """This model's attention is not what `Slots` computes."""


class Piece(Value, frozen=True):
    """New tokens of one conversation, the first of them at position `start`."""

    slot: int
    start: int
    tokens: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


class Memory(Protocol):
    """What conversations are remembered in. `max_piece`: the longest piece it takes; `can_rewind`: whether a piece may
    start before the end of what is there."""

    @property
    def max_piece(self) -> int: ...

    @property
    def can_rewind(self) -> bool: ...

    def run(self, model: Any, pieces: Sequence[Piece]) -> torch.Tensor:
        """The model's output after the last token of each piece: [pieces, vocabulary]."""
        ...

    def hidden(self, model: Any, piece: Piece) -> torch.Tensor:
        """The last hidden state of each token of a piece: [tokens, width]."""
        ...

    def forget(self) -> None:
        """Drop everything."""
        ...


class Slots:
    """`Memory` of fixed size. It is transformers' cache and its attention function in one; see the module."""

    can_rewind = True

    def __init__(self, count: int, n_ctx: int, max_piece: int) -> None:
        self.max_piece = max_piece
        self.count = count
        self.name = f"pointsman-{id(self):x}"  # of its attention, in transformers' own table
        self.saw_window = False
        self._n_ctx = n_ctx
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._pieces: Sequence[Piece] = ()

    def run(self, model: Any, pieces: Sequence[Piece]) -> torch.Tensor:
        ends, at = [], -1
        for piece in pieces:
            at += len(piece.tokens)
            ends.append(at)
        out = self._forward(model, pieces, logits_to_keep=torch.tensor(ends, device=model.device))
        logits: torch.Tensor = out.logits[0]
        return logits if len(logits) == len(ends) else logits[ends]

    def hidden(self, model: Any, piece: Piece) -> torch.Tensor:
        hidden: torch.Tensor = self._forward(model.base_model, (piece,)).last_hidden_state[0]
        return hidden

    def forget(self) -> None:
        """Give the room back; the next pass takes it again."""
        self._keys.clear()
        self._values.clear()

    def _forward(self, model: Any, pieces: Sequence[Piece], **options: Any) -> Any:
        self._pieces = pieces
        tokens = [token for piece in pieces for token in piece.tokens]
        positions = [position for piece in pieces for position in range(piece.start, piece.end)]
        device = model.device
        return model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([positions], device=device),
            past_key_values=self,
            use_cache=True,
            **options,
        )

    # ------------------------------------------------------------ what transformers calls

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write what is new; give all there is of this layer. Shapes: [1, heads, tokens, width] in, [slots, heads,
        n_ctx, width] out."""
        while len(self._keys) <= layer_idx:
            self._keys.append(self._room(keys))
            self._values.append(self._room(values))
        all_keys, all_values = self._keys[layer_idx], self._values[layer_idx]
        at = 0
        for piece in self._pieces:
            upto = at + len(piece.tokens)
            all_keys[piece.slot, :, piece.start : piece.end] = keys[0, :, at:upto]
            all_values[piece.slot, :, piece.start : piece.end] = values[0, :, at:upto]
            at = upto
        return all_keys, all_values

    def get_seq_length(self, *_: Any) -> int:
        """Positions are always given, so nobody needs to count."""
        return 0

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        _mask: torch.Tensor | None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        **terms: Any,
    ) -> tuple[torch.Tensor, None]:
        """Query [1, heads, tokens, width] → [1, tokens, heads, width]."""
        if any(terms.get(name) is not None for name in UNKNOWN_TERMS) or not getattr(module, "is_causal", True):
            raise Unsuitable
        self.saw_window = self.saw_window or sliding_window is not None
        said, at = [], 0
        for piece in self._pieces:
            upto = at + len(piece.tokens)
            mine = slice(piece.slot, piece.slot + 1)
            said.append(_attend(query[:, :, at:upto], keys[mine], values[mine], piece, scaling, sliding_window))
            at = upto
        return (torch.cat(said, dim=1) if len(said) > 1 else said[0]), None

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        """Zeros that are written, so that the memory is taken now and not bit by bit under load."""
        shape = (self.count, like.shape[1], self._n_ctx, like.shape[3])
        return torch.empty(shape, dtype=like.dtype, device=like.device).zero_()


def _attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    piece: Piece,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """One conversation: its new tokens see what came before them and themselves, at most `window` in all."""
    heads, groups, count = query.shape[1], keys.shape[1], len(piece.tokens)
    if not piece.start and count <= (window or count):
        keys, values = keys[:, :, :count], values[:, :, :count]
        said = attention(query, keys, values, is_causal=count > 1, scale=scaling, enable_gqa=heads != groups)
        return said.transpose(1, 2)
    first = max(0, piece.start + 1 - window) if window else 0
    keys, values = keys[:, :, first : piece.end], values[:, :, first : piece.end]
    share = heads // groups  # heads that share keys become queries of one head: no kernel minds, nothing is repeated
    mask = None if count == 1 else _mask(piece, first, window, query.device).repeat(share, 1)
    said = attention(query.reshape(1, groups, share * count, -1), keys, values, attn_mask=mask, scale=scaling)
    return said.reshape(1, heads, count, -1).transpose(1, 2)


def _mask(piece: Piece, first: int, window: int | None, device: torch.device) -> torch.Tensor:
    """What each new token sees of the tokens from `first` on: [tokens, seen]."""
    seen = torch.arange(first, piece.end, device=device)
    asked = torch.arange(piece.start, piece.end, device=device)[:, None]
    return (seen <= asked) & (seen > asked - window) if window else seen <= asked


class Alone:
    """`Memory` for any model: a cache of its own making for each conversation, one forward pass after the other."""

    max_piece = 1 << 30
    can_rewind = False

    def __init__(self) -> None:
        self._caches: dict[int, dict[str, Any]] = {}

    def run(self, model: Any, pieces: Sequence[Piece]) -> torch.Tensor:
        return torch.cat([self._forward(model, piece, logits_to_keep=1).logits[:, -1] for piece in pieces])

    def hidden(self, model: Any, piece: Piece) -> torch.Tensor:
        hidden: torch.Tensor = self._forward(model.base_model, piece).last_hidden_state[0]
        return hidden

    def forget(self) -> None:
        self._caches.clear()

    def _forward(self, model: Any, piece: Piece, **options: Any) -> Any:
        if not piece.start:
            self._caches.pop(piece.slot, None)
        tokens = torch.tensor([piece.tokens], device=model.device)
        out = model(input_ids=tokens, use_cache=True, **self._caches.get(piece.slot, {}), **options)
        self._caches[piece.slot] = {name: out[name] for name in CACHES if name in out}
        return out
