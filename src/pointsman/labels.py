"""The closed sets of words that values are labelled with. `types` hands them on."""

from enum import StrEnum


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
