"""What kinds of content a request carries and asks for, and what its attachments and endpoint say about its use case.

Knows: media, endpoints, how an attachment changes what words mean. Does not know: words (the rules do).

1 The audio endpoints settle the use case. 2 The richest attachment is one strong vote: a video has pictures and sound
in it. 3 Words that are a mere hint alone ("make her speak", "word for word") are strong beside what they speak of: a
photo, a recording. So a video whose words are wanted is speech to text, a photo that shall speak an avatar, a recording
with a question to answer a matter for an agent, and an attachment that came "by mistake" nothing at all.
"""

from collections.abc import Iterator, Sequence

from pointsman.signals.evidence import Vote
from pointsman.types import Kind, Media, Modality, Request, UseCase

GATES = {
    Kind.TRANSCRIPTION: (UseCase.STT, "the transcription endpoint"),
    Kind.SPEECH: (UseCase.TTS, "the speech endpoint"),
    Kind.EMBEDDING: (UseCase.AGENT, "the embeddings endpoint"),
}
ATTACHED = {Modality.VIDEO: UseCase.VIDEO, Modality.IMAGE: UseCase.MULTIMODAL, Modality.AUDIO: UseCase.STT}
STRENGTH, DOCUMENT_STRENGTH = 0.93, 0.7
# Use case → what must be attached for its hints to be meant.
_MEANT_BY = {
    UseCase.AVATAR: {Modality.IMAGE, Modality.AUDIO, Modality.VIDEO},
    UseCase.STT: {Modality.AUDIO, Modality.VIDEO},
    UseCase.TTS: {Modality.TEXT},
    UseCase.AGENT: {Modality.AUDIO},
}
DOUBT_LEFT = 0.04  # of a hint's doubt, beside what it speaks of
MADE = {UseCase.TTS: Modality.AUDIO, UseCase.AVATAR: Modality.VIDEO}
SURE_ENOUGH = 0.7  # to say that something other than text is asked for
_PLAIN = ("text/", "application/json", "application/xml", "application/x-")


def inputs_of(request: Request) -> tuple[Modality, ...]:
    """Kinds of content that a model must take. A recording to be transcribed comes without text."""
    first = Modality.AUDIO if request.kind is Kind.TRANSCRIPTION else Modality.TEXT
    return tuple(dict.fromkeys((first, *(medium.kind for medium in request.media))))


def outputs_of(request: Request, use_case: str, p: float) -> tuple[Modality, ...]:
    """Kinds of content asked for: by the endpoint and `modalities`, and by the words where they are clear."""
    if request.kind is Kind.SPEECH:
        return (Modality.AUDIO,)
    made = MADE.get(UseCase(use_case)) if p >= SURE_ENOUGH else None
    return tuple(dict.fromkeys((*request.outputs, *((made,) if made else ()))))


def attached(request: Request) -> frozenset[Modality]:
    """The kinds of what is attached; `text` is a document: files of plain text are read as text."""
    return frozenset(one.kind for one in request.media if one.kind is not Modality.TEXT or _is_document(one))


def votes_of(request: Request, worded: Sequence[Vote]) -> Iterator[Vote]:
    """The votes of the words, weighed by what is attached, and the attachment's own."""
    kinds = {medium.kind for medium in request.media}
    for vote in worded:
        meant = kinds & _MEANT_BY.get(UseCase(vote.label), set())
        if meant:
            strength = 1.0 - (1.0 - vote.strength) * DOUBT_LEFT
            yield Vote(vote.label, strength, f"{vote.why}, with {min(meant)} attached")
        else:
            yield vote
    for kind, use_case in ATTACHED.items():
        if kind in kinds:
            yield Vote(use_case, STRENGTH, f"{kind} attached")
            return
    if any(_is_document(medium) for medium in request.media):
        yield Vote(UseCase.MULTIMODAL, DOCUMENT_STRENGTH, "a document attached")
    if Modality.VIDEO in request.outputs:
        yield Vote(UseCase.AVATAR, STRENGTH, "video asked for")


def _is_document(medium: Media) -> bool:
    """A file with pages: text and data files are read as text."""
    return medium.kind is Modality.TEXT and not medium.mime.startswith(_PLAIN)
