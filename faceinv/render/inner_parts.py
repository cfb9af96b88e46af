"""Parts of a head that move under others, painted for a texture as photographed.

A photo shows an eye in one direction and with the lids' edges over it, and hardly ever a tongue. Put on the surface as
it is, the picture of an eye would tear as soon as the eye turns. So in a head that shall move these parts have the
model's own paint, in the colours of the photo's eyes, under the light that the photo shows there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.eyes import eyeballs_of
from faceinv.face.lighting import sh_basis
from faceinv.face.mesh import vertex_normals
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.render.atlas import atlas_of
from faceinv.render.eye_colour import eye_colours, with_eye_colours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["with_painted_parts"]

_LIGHT_SHARE: Final = {"mouth_inside": 0.5, "tongue": 0.75, "left_eye": 0.8, "right_eye": 0.8}
"""The parts that are painted, and how much of the face's light reaches them."""
_LID_SHADE: Final = 0.35
"""How much less of it there is on top of an eyeball, under the upper lid, than in its middle."""


def with_painted_parts(
    model: MorphableModel, face: Face, photo: NDArray[np.float32], image: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """A texture (S, S, 3) as photographed with eyes, tongue and the mouth's inside painted; the same for a model
    without these parts.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        photo: (H, W, 3) sRGB-encoded in [0, 1].
        image: (S, S, 3) sRGB, in `texture_layout`.
    """
    chosen = [part for part in _LIGHT_SHARE if part in model.part_names]
    if not chosen:
        return image
    eyes = eye_colours(model, face, photo)
    albedo = face.vertex_albedo(model)
    if eyes is not None:
        albedo = with_eye_colours(model, albedo, eyes)
    if model.albedo_space == "srgb":
        albedo = srgb_to_linear(np.clip(albedo, 0, 1))
    share = np.zeros(model.vertex_count)
    for part in chosen:
        share[model.triangles[model.part(part)]] = _LIGHT_SHARE[part]
    for eye in eyeballs_of(model):
        height = model.mean[eye.vertices, 1].astype(np.float64)
        height = (height - height.mean()) / max(float(np.ptp(height)) / 2, 1e-9)
        share[eye.vertices] *= (1.0 if eyes is None else eyes.shade) * (1 - _LID_SHADE * np.clip(height, 0, 1))
    colours = linear_to_srgb(np.clip(albedo * share[:, None] * _light(model, face), 0.0, 1.0))
    atlas = atlas_of(model, len(image))
    painted = model.part(*chosen)[atlas.triangle.ravel()[atlas.texels]]
    everywhere = atlas.at_texels(colours)
    texels = image.reshape(-1, 3)[atlas.texels].copy()
    texels[painted] = np.rint(255 * np.clip(everywhere[painted], 0, 1)).astype(np.uint8)
    result: NDArray[np.uint8] = atlas.picture(texels)
    return result


def _light(model: MorphableModel, face: Face) -> NDArray[np.float64]:
    """(3,) linear: the light on the part of the face that the camera sees."""
    skin = np.unique(model.triangles[model.face_mask])
    normals = vertex_normals(face.vertices(model), model.triangles)[skin] @ face.camera.rotation.T
    light = np.median(sh_basis(normals[normals[:, 2] > 0.3]) @ face.lighting, axis=0)
    if model.albedo_space == "srgb":
        light = srgb_to_linear(np.clip(light, 0, 1))
    result: NDArray[np.float64] = np.maximum(light, 0.02)
    return result
