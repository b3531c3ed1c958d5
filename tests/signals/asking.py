"""Requests to measure, with everything unsaid at its most ordinary."""

from pointsman.settings import RoutingSettings, RuleSettings
from pointsman.signals.classifier import Classifier
from pointsman.types import FormPayload, Hints, JsonPayload, Kind, Limits, Media, Modality, Request, Signals, Turn

CLASSIFIER = Classifier(RoutingSettings())


def asked(
    text: str = "",
    *media: Modality | Media,
    kind: Kind = Kind.CHAT,
    turns: tuple[Turn, ...] | None = None,
    hints: Hints | None = None,
    limits: Limits | None = None,
    outputs: tuple[Modality, ...] = (Modality.TEXT,),
    has_tools: bool = False,
    tools: bytes = b"",
) -> Request:
    """A request with one user turn, unless `turns` says otherwise."""
    form = kind is Kind.TRANSCRIPTION
    members = (("tools", tools),) if tools else ()
    return Request(
        id="r1",
        kind=kind,
        model="auto",
        payload=FormPayload(fields=()) if form else JsonPayload(members=members),
        turns=((Turn(role="user", text=text),) if text else ()) if turns is None else turns,
        media=tuple(one if isinstance(one, Media) else Media(kind=one) for one in media),
        hints=hints or Hints(),
        limits=limits or Limits(),
        outputs=outputs,
        has_tools=has_tools,
    )


def conversation(*said: tuple[str, str]) -> Request:
    """Turns as (role, text)."""
    return asked(turns=tuple(Turn(role=role, text=text) for role, text in said))


def measured(text: str, *media: Modality | Media) -> Signals:
    return CLASSIFIER.measure(asked(text, *media))


def ruled(*rules: RuleSettings, builtin: bool = True, abstain_below: float = 0.4) -> Classifier:
    return Classifier(RoutingSettings(rules=rules, builtin_rules=builtin, abstain_below=abstain_below))
