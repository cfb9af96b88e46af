"""A fitted face as a GLB: pieces with materials that look like skin, eyes, teeth; on request a rig and the camera.

Without a rig it is one node `face` with one mesh. With one:

    head                the face's frame
      face              skin, mouth, teeth, lashes; the morph targets that move them
      eyeLeft           pivoted at the eyeball's centre; the morph targets that move this eye
      eyeRight          (left and right are the subject's own)

Morph targets have the names of the model's units, 0 at rest and 1 at full strength; the weights that the file sets are
those of the fitted face (a fit may give slightly negative ones). Setting a name in every mesh that has it makes just
what `Face.with_units` makes. The `eyeLook...` targets of `face` move the lids. Those of an eye turn it as the linear
model does; a program that turns the nodes instead, which is exact at every angle, leaves these at 0, so that an eye is
not turned twice. `extras` of an eye's node says by how many degrees its units turn it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.face.eyes import eye_centre
from faceinv.face.mesh import vertex_normals
from faceinv.face.tangents import vertex_tangents
from faceinv.output.gltf import Material, Mesh, Node, Picture, Primitive, Target, glb_bytes
from faceinv.output.gltf_camera import camera_node
from faceinv.output.rig import Motion, Rig
from faceinv.output.surfaces import Piece, pieces_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["face_glb"]

AXES: Final = "x to the image's right, y up, z towards the viewer"

_M: Final = 1e-3
"""Metres in a millimetre."""
_ROUGHNESS: Final = {"skin": 0.65, "mouth": 0.45, "teeth": 0.3, "eyes": 0.1, "lashes": 1.0}
_EYES: Final = {"left_eye": "eyeLeft", "right_eye": "eyeRight"}
_LOOKS: Final = ("eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp")


def face_glb(
    model: MorphableModel,
    face: Face,
    image: NDArray[np.uint8],
    texture: str = "albedo",
    *,
    unlit: bool = False,
    normal_map: NDArray[np.uint8] | None = None,
    rig: bool = False,
    image_size: tuple[int, int] | None = None,
    vertices: NDArray[np.float64] | None = None,
) -> bytes:
    """The file's bytes.

    Args:
        model: the model.
        face: the face.
        image: (S, S, 3) sRGB base colour in `texture_layout`, row 0 is v = 1.
        texture: what the image is, for `asset.extras`.
        unlit: whether the light is painted in, so that viewers must not add their own.
        normal_map: (S, S, 3) of the skin, `(n + 1) / 2 * 255` in the frame of `faceinv.face.tangents`, laid out like
            the image.
        rig: with morph targets, and the eyes as nodes; the base is then the face without expression.
        image_size: (width, height) px of the photo: with it the file holds the photo's camera.
        vertices: (N, 3) mm of the face, where they are known already; not used by a rig.

    Raises:
        InputError: for a rig of a model without named units.
    """
    materials = _materials(model, image, unlit, normal_map)
    nodes = [
        _rigged(model, Rig.of(model, face), materials)
        if rig
        else _still(model, face.vertices(model) if vertices is None else vertices, materials)
    ]
    if image_size is not None:
        nodes.append(camera_node(face.camera, image_size))
    return glb_bytes(nodes, {"unit": "metre", "axes": AXES, "texture": texture, "model": model.name})


def _materials(
    model: MorphableModel, image: NDArray[np.uint8], unlit: bool, normal_map: NDArray[np.uint8] | None
) -> dict[str, Material]:
    base = Picture(image)
    relief = None if normal_map is None else Picture(normal_map, lossless=True)
    return {
        name: Material(name, base, relief if name == "skin" else None, unlit, roughness)
        for name, roughness in _ROUGHNESS.items()
    }


def _still(model: MorphableModel, vertices: NDArray[np.float64], materials: dict[str, Material]) -> Node:
    normals = vertex_normals(vertices, model.triangles)
    pieces = pieces_of(model)
    return Node("face", Mesh("face", [_primitive(piece, vertices, normals, materials) for piece in pieces]))


def _rigged(model: MorphableModel, rig: Rig, materials: dict[str, Material]) -> Node:
    pieces = pieces_of(model, single_eyes=True)
    head = [piece for piece in pieces if piece.surface != "eyes"]
    names = [motion.name for motion in rig.motions]
    targets = [_targets(piece, rig, range(len(names))) for piece in head]
    primitives = [
        _primitive(piece, rig.base, rig.base_normals, materials, moved)
        for piece, moved in zip(head, targets, strict=True)
    ]
    nodes = [Node("face", Mesh("face", primitives, names, rig.weights.tolist()))]
    for piece in pieces:
        if piece.surface == "eyes":
            nodes.append(_eye(piece, rig, materials))
    return Node("head", children=nodes)


def _eye(piece: Piece, rig: Rig, materials: dict[str, Material]) -> Node:
    name = _EYES[piece.part]
    centre = eye_centre(rig.base[np.unique(piece.vertices)])
    moving = [k for k, motion in enumerate(rig.motions) if np.isin(motion.vertices, piece.vertices).any()]
    primitive = _primitive(piece, rig.base, rig.base_normals, materials, _targets(piece, rig, moving), centre)
    mesh = Mesh(name, [primitive], [rig.motions[k].name for k in moving], rig.weights[moving].tolist())
    turns = {
        motion.name: round(angle, 1)
        for motion in (rig.motions[k] for k in moving)
        if motion.name.startswith(_LOOKS) and (angle := _turn(piece, rig, motion, centre)) > 0.5
    }
    return Node(name, mesh, translation=(centre * _M).tolist(), extras={"eyeLookDegrees": turns} if turns else {})


def _turn(piece: Piece, rig: Rig, motion: Motion, centre: NDArray[np.float64]) -> float:
    """By how many degrees a unit turns an eye at full strength."""
    here = np.isin(motion.vertices, piece.vertices)
    before = rig.base[motion.vertices[here]] - centre
    after = before + motion.displacement[here]
    # The rotation that is nearest (Kabsch).
    left, _, right = np.linalg.svd(after.T @ before)
    trace = float(np.trace(left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right))
    return float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))


def _targets(piece: Piece, rig: Rig, chosen: Sequence[int]) -> list[Target]:
    """What units move of a piece."""
    targets = []
    place = np.full(len(rig.base), -1, np.intp)
    for k in chosen:
        motion = rig.motions[k]
        place[motion.vertices] = np.arange(len(motion.vertices))
        row = place[piece.vertices]
        own = np.flatnonzero(row >= 0)
        rows = row[own]
        targets.append(Target(own, motion.displacement[rows] * _M, rig.normals[k][rows]))
        place[motion.vertices] = -1
    return targets


def _primitive(
    piece: Piece,
    vertices: NDArray[np.float64],
    normals: NDArray[np.float64],
    materials: dict[str, Material],
    targets: Sequence[Target] = (),
    origin: NDArray[np.float64] | None = None,
) -> Primitive:
    material = materials[piece.surface]
    positions, upright = vertices[piece.vertices], normals[piece.vertices]
    if origin is not None:
        positions = positions - origin
    tangents: NDArray[Any] | None = None
    if material.normal_map is not None:
        tangents = vertex_tangents(positions, upright, piece.uv, piece.triangles)
    return Primitive(material, positions * _M, upright, piece.uv, piece.triangles, tangents, targets)
