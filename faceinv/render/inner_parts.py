"""What lies inside of a mouth, painted for a texture as photographed.

A head that moves opens its mouth, and shows teeth and a tongue of which the photo says little: they lay in shade, or
behind lips. There they have the model's own paint, under as much of the face's light as reaches into an open mouth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.lighting import sh_basis
from faceinv.face.mesh import triangle_normals
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.render.atlas import atlas_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["with_painted_mouth"]

_LIGHT_SHARE: Final = {"mouth_inside": 0.5, "tongue": 0.75, "upper_teeth": 0.85, "lower_teeth": 0.85}
"""The parts that are painted, and how much of the face's light reaches them."""
_TINT: Final = 0.25
"""How much of the fitted light's colour is believed, of its logarithm: a photo of skin does not tell it from the
skin's, but cameras make white things white."""
_EXPOSED: Final = 1.1
"""The light in a photo that is well exposed."""
_BRIGHTNESS: Final = 0.25
"""How much of the fitted light's brightness is believed, of its logarithm: it trades off with the skin's, too."""
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])


def with_painted_mouth(
    model: MorphableModel, face: Face, vertices: NDArray[np.float64], image: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """A texture (S, S, 3) as photographed with teeth, tongue and the mouth's inside painted; the same for a model
    without these parts.

    Args:
        model: the model.
        face: the face.
        vertices: (N, 3) mm of the face.
        image: (S, S, 3) sRGB, in `texture_layout`.
    """
    chosen = [part for part in _LIGHT_SHARE if part in model.part_names]
    if not chosen:
        return image
    colours = np.zeros((model.vertex_count, 3))
    light = _light(model, face, vertices)
    for part in chosen:
        here = np.unique(model.triangles[model.part(part)])
        albedo = model.mean_albedo[here] + model.albedo_basis[here].astype(np.float64) @ face.albedo
        if model.albedo_space == "srgb":
            albedo = srgb_to_linear(np.clip(albedo, 0, 1))
        colours[here] = linear_to_srgb(np.clip(_LIGHT_SHARE[part] * albedo * light, 0.0, 1.0))
    atlas = atlas_of(model, len(image))
    texels = image.reshape(-1, 3)[atlas.texels]
    painted = model.part(*chosen)[atlas.shown]
    texels[painted] = np.rint(255 * np.clip(atlas.at_texels(colours)[painted], 0, 1)).astype(np.uint8)
    result: NDArray[np.uint8] = atlas.picture(texels)
    return result


def _light(model: MorphableModel, face: Face, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) linear: the light on what the camera sees of the face, between what was fitted and what is usual."""
    normals = triangle_normals(vertices, model.triangles[model.face_mask])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    normals = normals @ face.camera.rotation.T
    seen = normals[normals[:, 2] > 0.3]
    light = np.median(sh_basis(seen if len(seen) else normals) @ face.lighting, axis=0)
    if model.albedo_space == "srgb":  # the fit's light is one of encoded colours
        light = srgb_to_linear(np.clip(light, 0, 1))
    light = np.maximum(light, 0.02)
    luminance = float(light @ _LUMINANCE)
    result: NDArray[np.float64] = (light / luminance) ** _TINT * luminance**_BRIGHTNESS * _EXPOSED ** (1 - _BRIGHTNESS)
    return result
