"""The weights: loaded, proven, put to sleep, woken.

Knows: transformers and torch as libraries, devices, what running out of memory looks like. Does not know: requests,
text.

Invariants: only safetensors are read and no code of a model folder is run; `Slots` is used only where this model
answers with it as it does without; asleep, nothing on the device is ours but the library's own.
"""

import ctypes
import gc
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers

from pointsman.backends.worker.config import TransformersConfig
from pointsman.backends.worker.transformers_slots import Alone, Memory, Piece, Slots, Unsuitable
from pointsman.errors import UpstreamError

log = logging.getLogger(__name__)

CPU_PIECE, GPU_PIECE = 64, 1024
"""Tokens of a prompt that are read at once. Others wait meanwhile; on a CPU longer pieces are no faster."""
WINDOWED = frozenset({"full_attention", "sliding_attention"})
UNSTEADY_ROPE = frozenset({"dynamic", "longrope"})
"""Their angles change with the longest conversation of a pass: conversations would disturb each other."""
TRIAL = (5, 9, 2, 7, 3, 8, 6, 4)
TOLERANCE, ROUGH_TOLERANCE = 1e-3, 0.1
"""Of the largest number of an answer: in float32, and in the two short formats."""
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

T = TypeVar("T")


class Weights:
    """One model on one device. `n_vocabulary`: tokens it can say; a tokenizer may know a few more or fewer."""

    def __init__(self, config: TransformersConfig) -> None:
        self._config = config
        self._dtype: torch.dtype = getattr(torch, config.dtype)
        self._model: Any = guarded(self._load)
        self._language: Any = self._model.config.get_text_config()
        self.n_vocabulary = int(self._language.vocab_size)
        with torch.inference_mode():
            self.memory: Memory = guarded(self._proven)

    @property
    def is_awake(self) -> bool:
        return self._model is not None and str(self._model.device) == self._config.device

    @property
    def max_piece(self) -> int:
        return self.memory.max_piece

    @property
    def can_rewind(self) -> bool:
        return self.memory.can_rewind

    def run(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """What comes after each piece: [pieces, vocabulary], numbers before softmax. Raises UpstreamError
        `out_of_memory`."""
        with torch.inference_mode():
            return guarded(lambda: self.memory.run(self._model, pieces))

    def hidden(self, piece: Piece) -> torch.Tensor:
        """[tokens, width], float32."""
        with torch.inference_mode():
            return guarded(lambda: self.memory.hidden(self._model, piece)).float()

    # ------------------------------------------------------------ asleep

    def sleep(self) -> None:
        """Give the memory back: on a GPU the weights go to the host's; on the CPU they are dropped, for the file they
        came from is as near as memory once it was read."""
        self.memory.forget()
        if self._config.device == "cpu":
            self._model = None
        else:
            self._model.to("cpu")
        collect()

    def wake(self) -> None:
        """Make it ready to run. Raises UpstreamError `out_of_memory`."""
        if self._model is None:
            self._model = guarded(self._load)
            if isinstance(self.memory, Slots):
                self._model.set_attn_implementation(self.memory.name)
        else:
            guarded(lambda: self._model.to(self._config.device))

    def _load(self) -> Any:
        transformers.utils.logging.disable_progress_bar()
        model = transformers.AutoModelForCausalLM.from_pretrained(
            self._config.path,
            dtype=self._dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        return model.eval().to(self._config.device)

    # ------------------------------------------------------------ which memory suits

    def _proven(self) -> Memory:
        """Slots where a trial gives the same answer as the model does alone."""
        config, model = self._config, self._model
        if could_use_slots(self._language):
            tokens = tuple(token % self.n_vocabulary for token in TRIAL)
            expected = Alone().run(model, [Piece(slot=0, start=0, tokens=tokens)])[0].float()
            own = model.config._attn_implementation
            slots = Slots(config.slots, config.n_ctx, CPU_PIECE if config.device == "cpu" else GPU_PIECE)
            transformers.AttentionInterface.register(slots.name, slots.attend)
            try:
                model.set_attn_implementation(slots.name)
                answer = tried(model, slots, tokens)
                tolerance = TOLERANCE if self._dtype == torch.float32 else ROUGH_TOLERANCE
                is_same = float((answer - expected).abs().max()) <= tolerance * float(expected.abs().max())
                if is_same and slots.saw_window == has_window(self._language):
                    return slots
            except (Unsuitable, ValueError, TypeError, AttributeError, LookupError):
                pass  # the model does not speak to its cache or its attention in the usual words
            model.set_attn_implementation(own)
        log.warning("%s: its attention is not the usual one; conversations are run one by one", config.model_id)
        return Alone()

    def __repr__(self) -> str:
        state = "awake" if self.is_awake else "asleep"
        return f"Weights({Path(self._config.path).name}, {self._config.device}, {self._config.dtype}, {state})"


def tried(model: Any, slots: Slots, tokens: tuple[int, ...]) -> torch.Tensor:
    """The answer to `tokens` where they come in three pieces, beside another conversation where there is room."""
    last, half, end = slots.count - 1, len(tokens) // 2, len(tokens) - 1
    other = [Piece(slot=0, start=0, tokens=tokens[::-1])] if last else []
    slots.run(model, [*other, Piece(slot=last, start=0, tokens=tokens[:half])])
    slots.run(model, [Piece(slot=last, start=half, tokens=tokens[half:end])])
    return slots.run(model, [Piece(slot=last, start=end, tokens=tokens[end:])])[0].float()


def could_use_slots(config: Any) -> bool:
    """Whether a trial of a few tokens says enough about a model of this configuration."""
    kinds = getattr(config, "layer_types", None) or ("full_attention",)
    rope = getattr(config, "rope_parameters", None) or {}
    ropes = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    return WINDOWED.issuperset(kinds) and not any(part.get("rope_type") in UNSTEADY_ROPE for part in ropes)


def has_window(config: Any) -> bool:
    kinds = getattr(config, "layer_types", None)
    return "sliding_attention" in kinds if kinds else getattr(config, "sliding_window", None) is not None


# ---------------------------------------------------------------- memory


def guarded(work: Callable[[], T]) -> T:
    """Run it. Raises UpstreamError `out_of_memory` where memory ran out; what half of it took is free again."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        said = str(error).splitlines()[0][:200] if str(error) else "MemoryError"
    collect()
    log.error("out of memory: %s", said)
    raise UpstreamError(f"The engine ran out of memory: {said}", code="out_of_memory")


def collect() -> None:
    """Give what nobody uses back to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc has it, musl does not
        trim(0)
