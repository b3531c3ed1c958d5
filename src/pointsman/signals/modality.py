"""What kinds of content a request carries, and what its attachments and endpoint say about its use case.

Knows: media, endpoints. Does not know: words.
"""

from pointsman.signals.evidence import Vote
from pointsman.types import Kind, Modality, Request, UseCase

GATES = {
    Kind.TRANSCRIPTION: (UseCase.STT, "the transcription endpoint"),
    Kind.SPEECH: (UseCase.TTS, "the speech endpoint"),
}
ATTACHED = {Modality.VIDEO: UseCase.VIDEO, Modality.IMAGE: UseCase.MULTIMODAL, Modality.AUDIO: UseCase.STT}
STRENGTH = 0.93  # an attachment outweighs a keyword, not two of them and a block of code


def inputs_of(request: Request) -> tuple[Modality, ...]:
    """Kinds of content that a model must take. A recording to be transcribed comes without text."""
    kinds = dict.fromkeys(medium.kind for medium in request.media)
    with_text = request.kind is not Kind.TRANSCRIPTION
    return tuple(dict.fromkeys((*((Modality.TEXT,) if with_text else ()), *kinds)))


def votes_of(request: Request) -> list[Vote]:
    """What attachments say, the richest kind alone: a video has pictures and sound in it."""
    kinds = {medium.kind for medium in request.media}
    for kind, use_case in ATTACHED.items():
        if kind in kinds:
            return [Vote(use_case, STRENGTH, f"{kind.value} attached")]
    return []
