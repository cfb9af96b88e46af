"""What a fit adds to a model that its file does not hold: an albedo field, and the light that the face blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from faceinv.face.albedo_field import has_rich_albedo, with_albedo_field
from faceinv.render.occlusion import with_occlusion

if TYPE_CHECKING:
    from faceinv.face.model import MorphableModel

__all__ = ["extended", "field_amplitude"]

_known: WeakKeyDictionary[MorphableModel, dict[tuple[float, bool], MorphableModel]] = WeakKeyDictionary()


def field_amplitude(model: MorphableModel, wanted: float | Literal["auto"]) -> float:
    """The albedo field's amplitude on a model: what is asked for, or what `auto` means."""
    if wanted == "auto":
        return 0.0 if has_rich_albedo(model) else 1.0
    return float(wanted)


def extended(model: MorphableModel, albedo_field: float, self_occlusion: bool) -> MorphableModel:
    """The model as a fit uses it; the same object at every call, for as long as the model lives.

    Args:
        model: the model; a field or occlusion that it has already is replaced by what is asked for.
        albedo_field: the field's amplitude, 0 for none.
        self_occlusion: whether the face blocks its own light.

    Raises:
        ModelError: when the face mask is too small for a field.
    """
    known = _known.setdefault(model, {})
    key = (albedo_field, self_occlusion)
    if key not in known:
        made = with_occlusion(model) if self_occlusion else model
        if not self_occlusion and model.occlusion is not None:
            made = replace(model, occlusion=None)
        made = with_albedo_field(made, albedo_field)
        if made is model:
            return model  # a value that held its own key would live for ever
        known[key] = made
    return known[key]
