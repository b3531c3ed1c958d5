"""Signals of a gateway whose routing is off: what the endpoint says, and nothing read from the words."""

from pointsman.types import Kind, Modality, Request, Scored, Signals, UseCase

BY_KIND = {Kind.TRANSCRIPTION: UseCase.STT, Kind.SPEECH: UseCase.TTS}
UNREAD = ("routing is off",)


class Unread:
    """Satisfies the gateway's Classifier at the cost of one value."""

    def measure(self, request: Request) -> Signals:
        """The safe defaults, with the modalities that the request carries."""
        inputs = (
            Modality.TEXT,
            *dict.fromkeys(medium.kind for medium in request.media if medium.kind is not Modality.TEXT),
        )
        return Signals(
            use_case=_unread(BY_KIND.get(request.kind, UseCase.AGENT)),
            intent=_unread("general"),
            language=_unread("und"),
            complexity=_unread("medium"),
            inputs=inputs,
            outputs=request.outputs,
            needs_tools=request.has_tools,
        )


def _unread(label: str) -> Scored:
    return Scored(label=label, p=0.0, evidence=UNREAD)
