"""`pointsman explain`: who would answer this, and why, without calling anybody."""

from typing import Annotated

import typer
from rich.console import Console

from pointsman.cli.common import ConfigOption, load_or_exit
from pointsman.types import JsonPayload, Kind, Media, Modality, Request, Turn


def explain(
    text: Annotated[str, typer.Argument(help="What the user says.")],
    config: ConfigOption = None,
    model: Annotated[str, typer.Option(help="What the caller names: auto, an alias or a model id.")] = "auto",
    kind: Annotated[Kind, typer.Option(help="The endpoint.")] = Kind.CHAT,
    attach: Annotated[list[Modality] | None, typer.Option(help="An attachment: image, audio or video.")] = None,
    tools: Annotated[bool, typer.Option("--tools", help="The request carries tools.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, like /v1/route.")] = False,
) -> None:
    """Explain a routing decision as it would be right after start, preloaded models hot.

    For a running server's own view, ask its /v1/route.
    """
    from pointsman.app import world_after_start
    from pointsman.cli.explain_text import render
    from pointsman.edge.decode import as_json as encode
    from pointsman.edge.site import Explained
    from pointsman.policy.router import Router
    from pointsman.signals.classifier import Classifier

    settings = load_or_exit(config)
    request = Request(
        id="explain",
        kind=kind,
        model=model,
        payload=JsonPayload(members=()),
        turns=(Turn(role="user", text=text),),
        media=tuple(Media(kind=medium) for medium in attach or ()),
        outputs=(Modality.AUDIO,) if kind is Kind.SPEECH else (Modality.TEXT,),
        has_tools=tools,
    )
    signals = Classifier(settings.routing).measure(request)
    plan = Router(settings).decide(request, signals, world_after_start(settings))
    if as_json:
        best = plan.candidates[0].model_id if plan.candidates else None
        typer.echo(encode(Explained(request_id=request.id, model=best, signals=signals, plan=plan)))
    else:
        Console(highlight=False).print(render(signals, plan))
    if not plan.candidates:
        raise typer.Exit(1)
