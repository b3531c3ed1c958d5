"""`pointsman explain`: who would answer this, and why, without calling anybody."""

from typing import Annotated

import typer
from rich.console import Console

from pointsman.cli.common import ConfigOption, complain, load_or_exit, profile_or_exit
from pointsman.settings import Settings
from pointsman.types import Explanation, JsonPayload, Kind, Limits, Media, Modality, Request, Turn


def explain(
    text: Annotated[str, typer.Argument(help="What the user says.")],
    config: ConfigOption = None,
    model: Annotated[str, typer.Option(help="What the caller names: auto, an alias or a model id.")] = "auto",
    kind: Annotated[Kind, typer.Option(help="The endpoint.")] = Kind.CHAT,
    attach: Annotated[list[Modality] | None, typer.Option(help="An attachment: image, audio or video.")] = None,
    key: Annotated[str | None, typer.Option(help="Whose API key it comes with: a name under `keys`.")] = None,
    tools: Annotated[bool, typer.Option("--tools", help="The request carries tools.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, like /v1/route.")] = False,
) -> None:
    """Explain a routing decision as it would be right after start, preloaded models hot.

    For a running server's own view, ask its /v1/route.
    """
    from pointsman.cli.explain_text import render
    from pointsman.edge.decode import as_json as encode
    from pointsman.edge.site import Explained

    settings = load_or_exit(config)
    owner = next((one for one in settings.keys if one.name == key), None)
    if key is not None and owner is None:
        complain(
            [f"--key: there is no key of `{key}`; keys are {', '.join(one.name for one in settings.keys) or 'none'}"]
        )
    request = Request(
        id="explain",
        kind=kind,
        model=model,
        payload=JsonPayload(members=()),
        turns=(Turn(role="user", text=text),),
        media=tuple(Media(kind=medium) for medium in attach or ()),
        outputs=(Modality.AUDIO,) if kind is Kind.SPEECH else (Modality.TEXT,),
        has_tools=tools,
        tenant=owner.name if owner else "",
        limits=Limits(models=owner.models if owner else ()),
    )
    explanation = _explained(settings, request)
    if as_json:
        typer.echo(encode(Explained.of(request, explanation)))
    else:
        Console(highlight=False).print(render(explanation))
    if not explanation.plan.candidates:
        raise typer.Exit(1)


def _explained(settings: Settings, request: Request) -> Explanation:
    """As the gateway would, but with all the time the encoder needs."""
    from pointsman.app import world_after_start
    from pointsman.clock import SystemClock
    from pointsman.encoder.e5 import E5
    from pointsman.encoder.service import SecondStage
    from pointsman.policy.experiments import Assigner
    from pointsman.policy.router import Router
    from pointsman.signals.classifier import Classifier
    from pointsman.signals.off import Unread
    from pointsman.signals.opinion import load_opinion

    routing, world = settings.routing, world_after_start(settings)
    router = Assigner(Router(settings, profile_or_exit(settings)), settings.routing)
    second = SecondStage(E5, load_opinion(routing.abstain_below), routing.encoder, SystemClock())
    classifier = Classifier(routing) if routing.enabled else Unread()
    signals = second.refine_now(request, classifier.measure(request))
    return Explanation(
        signals=signals,
        plan=router.decide(request, signals, world),
        would_change=router.what_if(request, signals, world),
    )
