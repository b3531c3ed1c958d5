"""Values to decide on, with everything unsaid at its most ordinary: for tests of policy and for trying out a setting.

Knows: what an everyday request, its signals and a healthy deployment look like. Does not know: any model.
"""

from collections.abc import Sequence

from pointsman.types import (
    DeploymentView,
    JsonPayload,
    Kind,
    Limits,
    Modality,
    Request,
    Scored,
    Signals,
    Tier,
    Turn,
    World,
)


def ask(
    text: str = "Hello!",
    model: str = "auto",
    kind: Kind = Kind.CHAT,
    limits: Limits | None = None,
    request_id: str = "r1",
) -> Request:
    """A request with one user turn."""
    turns = (Turn(role="user", text=text),) if text else ()
    payload = JsonPayload(members=())
    return Request(id=request_id, kind=kind, model=model, payload=payload, turns=turns, limits=limits or Limits())


def measured(
    label: str = "general",
    *,
    p: float = 0.9,
    language: str = "en",
    language_p: float = 0.95,
    complexity: str = "medium",
    inputs: Sequence[Modality] = (Modality.TEXT,),
    prompt_tokens: int = 20,
    output_tokens: int = 128,
    needs_tools: bool = False,
) -> Signals:
    """Signals for an agent's intent (`code`, `reasoning`, `general`) or, under any other label, for that use case."""
    is_intent = label in {"code", "reasoning", "general"}
    return Signals(
        use_case=Scored(label="agent" if is_intent else label, p=p),
        intent=Scored(label=label if is_intent else "general", p=p),
        language=Scored(label=language, p=language_p),
        complexity=Scored(label=complexity, p=0.8),
        inputs=tuple(inputs),
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        needs_tools=needs_tools,
    )


def hot(model_id: str, deployment_id: str = "") -> DeploymentView:
    """A ready, idle, managed deployment. `msgspec.structs.replace` makes it otherwise."""
    return DeploymentView(
        id=deployment_id or model_id, model_id=model_id, tier=Tier.HOT, state="ready", is_managed=True, slots=2
    )


def cold(model_id: str, deployment_id: str = "", ready_in_s: float = 20.0) -> DeploymentView:
    """A managed deployment that is not loaded."""
    return DeploymentView(
        id=deployment_id or model_id,
        model_id=model_id,
        tier=Tier.COLD,
        state="cold",
        ready_in_s=ready_in_s,
        is_managed=True,
        slots=2,
    )


def world(
    *deployments: DeploymentView,
    ticket: int = 0,
    budget_bytes: int = 0,
    used_bytes: int = 0,
    gpus: tuple[tuple[int, int, int], ...] = (),
) -> World:
    return World(deployments=deployments, ticket=ticket, budget_bytes=budget_bytes, used_bytes=used_bytes, gpus=gpus)
