"""`pointsman classify`: what each request of a file is, as the gateway would see it; nobody is called.

Knows: the batch format, line by line in and out. Does not know: how anything is told apart.
In, a line each: `{"id", "text" or "messages", "attachments": ["image" | "audio" | "video" | "document"]}`; `messages`
as in a chat completion. Out, in the same order: `{"id", "use_case", "intent", "language", "script", "complexity",
"modality", "novelty", "stage", "time_us"}` and more; labels as `{"label", "p"}`, where `p` gives every label's
probability. OUT appears whole or not at all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pointsman.cli.common import ConfigOption, complain, lines_of, load_or_exit, written_whole
from pointsman.edge.openai import Message, media_of, turns_of
from pointsman.errors import RequestError
from pointsman.types import JsonPayload, Kind, Media, Modality, Request, Scored, Signals

DOCUMENT = "document"
_MIME = {DOCUMENT: "application/pdf"}


class Asked(msgspec.Struct):
    """One line of IN."""

    id: str | int | float
    text: str | None = None
    messages: list[Message] | None = None
    attachments: list[str] | None = None


class Label(msgspec.Struct):
    label: str
    p: dict[str, float]


class Classified(msgspec.Struct):
    """One line of OUT."""

    id: str | int | float
    use_case: Label
    intent: Label
    language: Label
    script: str
    complexity: Label
    modality: list[str]
    novelty: float
    stage: int
    time_us: int
    needs_tools: bool
    degraded: str


def classify(
    source: Annotated[
        Path, typer.Argument(metavar="IN.jsonl", help="Requests, a line each.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="Where the answers go; replaced.", dir_okay=False)],
    config: ConfigOption = None,
    encoder: Annotated[bool, typer.Option(help="Ask the encoder where the fast classifier is unsure.")] = True,
) -> None:
    """Classify a file of requests: use case, intent, language, complexity, novelty, each with probabilities."""
    from pointsman.clock import SystemClock
    from pointsman.encoder.e5 import E5
    from pointsman.encoder.service import SecondStage
    from pointsman.signals.classifier import Classifier
    from pointsman.signals.opinion import load_opinion

    routing = load_or_exit(config).routing
    requests = list(_requests(source))
    clock, classifier = SystemClock(), Classifier(routing)
    second = SecondStage(E5, load_opinion(routing.abstain_below), routing.encoder, clock)
    with written_whole(out) as file:
        for asked, request in requests:
            began_s = clock.now()
            signals = classifier.measure(request)
            if encoder and signals.unsure:
                signals = second.refine_now(request, signals)
            line = _classified(asked, signals, round((clock.now() - began_s) * 1e6))
            file.write(msgspec.json.encode(line) + b"\n")
    counted = second.statistics()
    asked_note = f", {counted.answered} by the encoder" if counted.answered else ""
    missed = (
        f"; the encoder is not installed, {sum(n for _, n in counted.degraded)} were unsure" if counted.degraded else ""
    )
    typer.echo(f"{len(requests)} classified{asked_note}{missed}: {out}")


def _requests(source: Path) -> Iterator[tuple[Asked, Request]]:
    """Every line, read before the first is classified; exit 2 where one is wrong."""
    problems = []
    for number, line in enumerate(lines_of(source), 1):
        if not line.strip():
            continue
        try:
            asked = msgspec.json.decode(line, type=Asked)
            yield asked, request_of(asked)
        except (msgspec.MsgspecError, ValueError, RequestError) as error:
            problems.append(f"{source}:{number}: {error}")
    if problems:
        complain(problems)


def request_of(asked: Asked) -> Request:
    """A chat request as the edge would decode it. Raises ValueError where the line says too little or too much."""
    if (asked.text is None) == (asked.messages is None):
        raise ValueError("give either `text` or `messages`")
    kinds = {*map(str, Modality), DOCUMENT}
    if unknown := [name for name in asked.attachments or () if name not in kinds]:
        raise ValueError(f"attachments: {unknown[0]!r} is none of image, audio, video, document")
    said = asked.messages if asked.messages is not None else [Message(role="user", content=asked.text)]
    media = (
        Media(kind=Modality.TEXT if name == DOCUMENT else Modality(name), mime=_MIME.get(name, ""))
        for name in asked.attachments or ()
        if name != Modality.TEXT
    )
    return Request(
        id=str(asked.id),
        kind=Kind.CHAT,
        model="auto",
        payload=JsonPayload(members=()),
        turns=turns_of(said),
        media=(*media_of(said), *media),
    )


def _classified(asked: Asked, signals: Signals, time_us: int) -> Classified:
    return Classified(
        id=asked.id,
        use_case=_label(signals.use_case),
        intent=_label(signals.intent),
        language=_label(signals.language),
        script=signals.script,
        complexity=_label(signals.complexity),
        modality=[*map(str, signals.inputs), *([DOCUMENT] if DOCUMENT in (asked.attachments or ()) else [])],
        novelty=round(signals.novelty, 4),
        stage=signals.stage,
        time_us=time_us,
        needs_tools=signals.needs_tools,
        degraded=signals.degraded,
    )


def _label(scored: Scored) -> Label:
    return Label(label=scored.label, p={scored.label: scored.p, **dict(scored.alternatives)})
