"""A model's own chat template, from the settings: a file, or the text itself.

Knows: how the two are told apart. Does not know: what an engine does with it.
"""

from pathlib import Path

from pointsman.errors import UpstreamError
from pointsman.settings_models import WeightsBase

JINJA = ("{{", "{%")
"""One of these stands in every template that says anything, and in no sane path."""


def path_of(model: WeightsBase) -> Path | None:
    """The file that it names; None where it names none, or is the template itself."""
    said = model.chat_template
    return None if said is None or any(sign in said for sign in JINJA) else Path(said).expanduser().absolute()


def text_of(model: WeightsBase) -> str:
    """The template; empty: the weights' own. Blocks. Raises UpstreamError `loading_failed`."""
    path = path_of(model)
    if path is None:
        return model.chat_template or ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"no UTF-8 at byte {error.start}"
        raise UpstreamError(
            f"models.{model.id}.chat_template: {path}: cannot be read ({why}); name a Jinja file, or write the "
            "template itself there",
            code="loading_failed",
        ) from None
