"""Model cards from settings: what each configured model can do, defaults by backend.

Knows: which wire shapes and modalities a backend speaks. Does not know: where a model runs; which deployments belong
to it comes from `World` (`DeploymentView.model_id`). What the settings say of a model outweighs every default here.
"""

from typing import NamedTuple

from pointsman.settings import LlamaCppModel, Model, Settings, TransformersModel
from pointsman.types import Kind, Modality, ModelCard

TEXT, IMAGE, AUDIO, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO, Modality.VIDEO


class Defaults(NamedTuple):
    """What a backend's models can do unless configured. A reader answers only what carries something for it to read."""

    kinds: tuple[Kind, ...]
    inputs: tuple[Modality, ...] = (TEXT,)
    outputs: tuple[Modality, ...] = (TEXT,)
    is_reader: bool = False


DEFAULTS: dict[str, Defaults] = {
    "command": Defaults((Kind.CHAT,)),
    "custom": Defaults((Kind.CHAT,)),
    "e5": Defaults((Kind.EMBEDDING,)),
    "llama_cpp": Defaults((Kind.CHAT, Kind.COMPLETION)),
    "max_serve": Defaults((Kind.CHAT, Kind.COMPLETION)),
    "stt": Defaults((Kind.TRANSCRIPTION, Kind.CHAT), inputs=(AUDIO, TEXT), is_reader=True),
    "tts": Defaults((Kind.SPEECH,), outputs=(AUDIO,)),
    "ocr": Defaults((Kind.CHAT,), inputs=(TEXT, IMAGE, VIDEO), is_reader=True),
    "openai": Defaults((Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING)),
    "transformers": Defaults((Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING)),
    "vllm": Defaults((Kind.CHAT, Kind.COMPLETION)),
}


def cards_of(settings: Settings) -> tuple[ModelCard, ...]:
    """One card per configured model, in the file's order."""
    return tuple(_card(model) for model in settings.models)


def default_model_of(settings: Settings) -> str:
    """The model for `auto` where nothing else speaks: as configured; with routing off, the large one of a small/large
    pair; else the first that chats about plain text."""
    routing = settings.routing
    if routing.default_model is not None:
        return routing.default_model
    large = large_of(settings)
    if large and not routing.enabled:
        return large
    cards = cards_of(settings)
    return next((card.id for card in cards if Kind.CHAT in card.kinds and not card.requires), cards[0].id)


def large_of(settings: Settings) -> str:
    """The large one of a small/large pair; empty where there is no pair."""
    return next((one.control for one in settings.experiments if one.kind == "small_large"), "")


def _card(model: Model) -> ModelCard:
    defaults = DEFAULTS[model.backend]
    kinds = defaults.kinds if model.kinds is None else model.kinds
    inputs = _with(defaults.inputs, AUDIO, Kind.TRANSCRIPTION in kinds) if model.inputs is None else model.inputs
    return ModelCard(
        id=model.id,
        name=model.name or model.id,
        kinds=kinds,
        inputs=inputs,
        outputs=_with(defaults.outputs, AUDIO, Kind.SPEECH in kinds) if model.outputs is None else model.outputs,
        requires=tuple(modality for modality in inputs if modality != TEXT) if defaults.is_reader else (),
        languages=tuple(primary_language(language) for language in model.languages),
        context_tokens=model.context_tokens
        or (model.n_ctx if isinstance(model, LlamaCppModel | TransformersModel) else 0),
        tools=model.tools,
        quality=tuple(sorted(model.quality.items())),
        cost_per_mtok=model.cost_per_mtok,
        tokens_per_s=model.tokens_per_s,
    )


def _with(modalities: tuple[Modality, ...], more: Modality, is_needed: bool) -> tuple[Modality, ...]:
    """What transcribes hears, what speaks gives sound, whatever else the backend's models do."""
    return (*modalities, more) if is_needed and more not in modalities else modalities


def primary_language(tag: str) -> str:
    """`hi` of `hi-IN`, `HI` or `hi_Latn`: cards and signals meet on the primary subtag (BCP 47)."""
    return tag.replace("_", "-").split("-", 1)[0].lower()
