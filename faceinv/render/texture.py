"""Colours of a fitted face, at its vertices and as a texture image.

| texture | what it is |
| --- | --- |
| `albedo` | what was fitted: reflectance without light; eyes in the colours that the photo shows |
| `photo` | the photo's own colours, as photographed, where it shows the surface; completed elsewhere |
| `photo-delit` | the same divided by the fitted light: reflectance, with all the detail of the photo |

See `faceinv.render.photo_texture` for how a photo is completed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.errors import InputError
from faceinv.photo.color import linear_to_srgb
from faceinv.render.atlas import atlas_of
from faceinv.render.eye_colour import eye_colours, with_eye_colours
from faceinv.render.photo_texture import PhotoTexture
from faceinv.render.seen import PosedHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face
    from faceinv.render.atlas import Atlas

__all__ = ["TEXTURE_SIZE", "Texture", "check_texture", "texture_image", "vertex_colours"]

Texture: TypeAlias = Literal["albedo", "photo", "photo-delit"]

TEXTURE_SIZE: Final = 1024
"""Texels along each side of a texture image, where nothing else is asked for."""


def check_texture(texture: str, photo: NDArray[np.float32] | None) -> None:
    """See that a texture can be made.

    Raises:
        InputError: for another texture, or one of a photo that is not given.
    """
    if texture not in get_args(Texture):
        names = ", ".join(f"'{name}'" for name in get_args(Texture))
        raise InputError(f"texture is {texture!r}; expected one of {names}.")
    if texture != "albedo" and photo is None:
        raise InputError("a photo texture needs the photo; give it.")


@one_blas_thread()
def vertex_colours(
    model: MorphableModel,
    face: Face,
    texture: Texture = "albedo",
    photo: NDArray[np.float32] | None = None,
    vertices: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """(N, 3) sRGB-encoded colours in [0, 1] of the vertices.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        texture: which.
        photo: (H, W, 3) sRGB-encoded in [0, 1]; needed for a texture from it.
        vertices: (N, 3) mm of the face, where they are known already.

    Raises:
        InputError: for another texture, or one of a photo that is not given.
    """
    check_texture(texture, photo)
    if texture == "albedo" or photo is None:
        return _encoded(model, _albedo(model, face, photo))
    index = np.repeat(np.arange(model.vertex_count, dtype=np.int32)[:, None], 3, axis=1)
    weights = np.tile(np.array([1, 0, 0], np.float32), (len(index), 1))
    made = PhotoTexture.of(_head(model, face, vertices), photo, eye_colours(model, face, photo))
    return made.at(index, model.mirror[index], weights, texture == "photo") / 255.0


@one_blas_thread()
def texture_image(
    model: MorphableModel,
    face: Face,
    texture: Texture = "albedo",
    photo: NDArray[np.float32] | None = None,
    size: int | None = None,
    vertices: NDArray[np.float64] | None = None,
    *,
    moving: bool = False,
) -> NDArray[np.uint8]:
    """(size, size, 3) sRGB texture for `texture_layout`; row 0 is v = 1. Gaps hold the nearest colour.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        texture: which.
        photo: (H, W, 3) sRGB-encoded in [0, 1]; needed for a texture from it.
        size: texels along each side; None for `TEXTURE_SIZE`.
        vertices: (N, 3) mm of the face, where they are known already.
        moving: for a head whose eyes and mouth are to move: these, and lids that open eyes fold away, are painted, and
            not as the photo shows them, which is from one side and half under the lids.

    Raises:
        InputError: for another texture, one of a photo that is not given, or a size out of range.
    """
    check_texture(texture, photo)
    atlas = atlas_of(model, TEXTURE_SIZE if size is None else size)
    if texture == "albedo" or photo is None:
        colours = atlas.at_texels(255 * _encoded(model, _albedo(model, face, photo)) + 0.5)
        image: NDArray[np.uint8] = atlas.picture(colours.astype(np.uint8))
        return image
    head = _head(model, face, vertices)
    made = PhotoTexture.of(head, photo, eye_colours(model, face, photo), moving=moving)
    mirrored = model.mirror[atlas.corners]
    image = atlas.picture(made.at(atlas.corners, mirrored, atlas.weights, texture == "photo", _reduction(head, atlas)))
    return image


def _head(model: MorphableModel, face: Face, vertices: NDArray[np.float64] | None) -> PosedHead:
    return PosedHead(model, face, face.vertices(model) if vertices is None else vertices)


def _albedo(model: MorphableModel, face: Face, photo: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """(N, 3) in the model's albedo space, not clipped."""
    albedo = face.vertex_albedo(model)
    colours = None if photo is None else eye_colours(model, face, photo)
    return albedo if colours is None else with_eye_colours(model, albedo, colours)


def _encoded(model: MorphableModel, albedo: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(albedo, 0.0, 1.0)
    return linear_to_srgb(clipped) if model.albedo_space == "linear" else clipped


def _reduction(head: PosedHead, atlas: Atlas) -> int:
    """How many pixels of the photo, along each side, one texel of the face shows."""
    skin = head.model.face_mask
    texels = _area(atlas.xy, atlas.uv_triangles[skin])
    pixels = _area(head.projected[:, :2], head.model.triangles[skin])
    ratio = pixels / max(texels, 1e-9)
    return max(1, int(np.sqrt(ratio))) if np.isfinite(ratio) else 1


def _area(xy: NDArray[np.float64], triangles: NDArray[Any]) -> float:
    a, b, c = (xy[triangles[:, k]] for k in range(3))
    double = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return float(np.abs(double).sum()) / 2
