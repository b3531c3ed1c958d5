"""The closed sets of words that values are labelled with. `types` hands them on."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal


class Kind(StrEnum):
    """What an endpoint asks of a model; the wire shape that a backend must speak."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"


class Modality(StrEnum):
    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class UseCase(StrEnum):
    AVATAR = "avatar"
    STT = "stt"
    TTS = "tts"
    AGENT = "agent"
    MULTIMODAL = "multimodal"
    VIDEO = "video"


class Intent(StrEnum):
    CODE = "code"
    REASONING = "reasoning"
    GENERAL = "general"


TASKS = frozenset((*Intent, *UseCase)) - {UseCase.AGENT}
"""What requests are counted under: an agent's is known by its intent."""


class Complexity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


ComplexityName = Literal["low", "simple", "medium", "high", "complex"]
COMPLEXITY_NAMES: Mapping[str, Complexity] = {
    **{str(one): one for one in Complexity},
    "simple": Complexity.LOW,
    "complex": Complexity.HIGH,
}
"""What callers and settings may call it; two of three have a second name."""


class Tier(StrEnum):
    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


class Breaker(StrEnum):
    """Words of resilience4j."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
