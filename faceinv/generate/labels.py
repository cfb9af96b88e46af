"""What is known of a variant, exactly: parameters, landmarks, and what every pixel shows of the face model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.engine.jaw_outline import JawOutline
from faceinv.face.camera import euler_angles
from faceinv.face.landmarks68 import JAW
from faceinv.face.lighting import pack_lighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.records import Geometry
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face
    from faceinv.generate.scene import Scene

__all__ = ["Labels", "labels_of", "paper_vector", "pncc_colours"]

_SLACK_MM: Final = 2.0
"""A landmark is visible where nothing is nearer by more than this."""
_COVERED: Final = 0.5
"""The share of a pixel that the head must have."""
_known_outlines: WeakKeyDictionary[MorphableModel, JawOutline] = WeakKeyDictionary()
_known_colours: WeakKeyDictionary[MorphableModel, NDArray[np.float32]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Labels:
    """Of one variant of H x W px. Positions are px of its image: x right, y down, from 0, pixel centres at integers."""

    face: Face
    """Identity, expression, albedo, camera and lighting, as for a fit: with the model they draw the face again."""
    landmarks: NDArray[np.float64]
    """(68, 2) px: the model's landmarks; those of the jaw on the silhouette as this view has it."""
    landmarks3d: NDArray[np.float64]
    """(68, 3) mm, model space: the same points."""
    landmark_visible: NDArray[np.bool_]
    """(68,) in the image and not hidden by the head itself."""
    vertices_xy: NDArray[np.float32]
    """(N, 2) px of all the model's vertices, hidden ones as well."""
    vertices_depth: NDArray[np.float32]
    """(N,) px, larger is nearer."""
    triangle: NDArray[np.int32]
    """(H, W) the model's triangle that a pixel's middle shows, -1 for none. What hair moves is no surface of the
    model's, and not among them."""
    barycentric: NDArray[np.float32]
    """(H, W, 3) its weights, on the surface."""
    depth: NDArray[np.float32]
    """(H, W) px, larger is nearer; NaN for none."""
    normal: NDArray[np.float32]
    """(H, W, 3) unit, camera frame: x right, y up, z to the viewer; zeros for none."""
    uv: NDArray[np.float32]
    """(H, W, 2) the model's own texture coordinates; NaN for none."""
    face_mask: NDArray[np.bool_]
    """(H, W) triangles of the model's face mask."""
    skin_mask: NDArray[np.bool_]
    """(H, W) of these, where the photo's colours are those of skin, or skin was put for what it does not show: no hair,
    glasses or their like."""
    body_turn: float
    """Radians by which body and ground turned in the picture's plane, anticlockwise."""
    displacement: NDArray[np.float32] | None = None
    """(H, W) mm towards the viewer, by which a transferred detail stands off the model's surface on the face mask, NaN
    elsewhere; None without one. `normal` has it, `depth` is the model's."""

    @cached_property
    def euler(self) -> NDArray[np.float64]:
        """(3,) pitch, yaw and roll in degrees."""
        return np.degrees(euler_angles(self.face.camera.rotation))

    @property
    def vector(self) -> NDArray[np.float64]:
        """The parameters in the paper's order, see `paper_vector`."""
        return paper_vector(self.face)

    def pncc(self, model: MorphableModel) -> NDArray[np.float32]:
        """(H, W, 3) projected normalised coordinate code (Zhu et al., "Face alignment across large poses", CVPR 2016):
        where on the mean face a pixel's point is, each coordinate from 0 to 1 over the head; zeros for none."""
        return pncc_image(model, self.triangle, self.barycentric)


def paper_vector(face: Face) -> NDArray[np.float64]:
    """(Ki + Ke + Ka + 33,) as Guo et al. 2018 list their parameters: identity, expression, albedo, the pose (scale px
    per mm; pitch, yaw, roll in radians; translation x, y px), and lighting, nine of red, then green, then blue."""
    camera = face.camera
    pose = [float(camera.scale), *euler_angles(camera.rotation), *np.asarray(camera.translation)]
    return np.concatenate([face.identity, face.expression, face.albedo, pose, pack_lighting(face.lighting)])


def pncc_colours(model: MorphableModel) -> NDArray[np.float32]:
    """(N, 3) the mean surface's coordinates, each from 0 to 1 over all vertices."""
    if model not in _known_colours:
        low, high = model.mean.min(axis=0), model.mean.max(axis=0)
        _known_colours[model] = ((model.mean - low) / (high - low)).astype(np.float32)
    return _known_colours[model]


def pncc_image(
    model: MorphableModel, triangle: NDArray[np.int32], barycentric: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """(H, W, 3) of triangles (H, W) and weights (H, W, 3)."""
    image = np.zeros((*triangle.shape, 3), np.float32)
    shown = triangle >= 0
    corners = pncc_colours(model)[model.triangles[triangle[shown]]]
    image[shown] = np.einsum("mk,mkd->md", barycentric[shown].astype(np.float32), corners)
    return image


def labels_of(
    scene: Scene, face: Face, geometry: Geometry, item: int, size: int, cover: NDArray[np.float32], body_turn: float
) -> Labels:
    """The labels of one picture.

    Args:
        scene: the scene.
        face: what was drawn; identity and albedo are taken from the photo's fit.
        geometry: of `scene.drawn` in the picture's frame, a batch.
        item: which of the batch.
        size: of the picture, px.
        cover: (H, W) the head's share of each pixel.
        body_turn: radians.
    """
    from faceinv.generate.kernels import fill_labels

    renderer, model = scene.engine.renderer, scene.result.model
    one = _item(geometry, item)
    visibility = renderer.rasterize(one, (size, size))
    pixels = renderer.interpolate(one, visibility, ["depth", "uv"])
    triangle, barycentric = (renderer.to_host(a)[0] for a in (visibility.triangle, visibility.barycentric))
    depth, uv = (renderer.to_host(pixels.needed(name))[0] for name in ("depth", "uv"))
    ids, weights = np.empty((size, size), np.int32), np.empty((size, size, 3), np.float32)
    depths, normals = np.empty((size, size), np.float32), np.empty((size, size, 3), np.float32)
    coordinates = np.empty((size, size, 2), np.float32)
    on_face, on_skin = np.empty((size, size), np.bool_), np.empty((size, size), np.bool_)
    vertices = renderer.to_host(one.vertices)[0] - scene.lift
    own = scene.rim.own_normals(renderer.to_host(one.normals)[0], vertices)
    turned = (own, np.ascontiguousarray(face.camera.rotation))
    drawn = (scene.rigid, scene.kept, scene.drawn_face, scene.seen.skin, scene.triangles)
    out = (ids, weights, depths, normals, coordinates, on_face, on_skin)
    fill_labels(triangle, barycentric, cover, *drawn, *turned, depth, uv, *out)
    projected = face.camera.project(vertices)
    points = _landmarks(model, face, vertices)
    behind = np.where((triangle >= 0) & (cover > _COVERED), depth, -np.inf)
    return Labels(
        face=face,
        landmarks=face.camera.project(points)[:, :2],
        landmarks3d=points,
        landmark_visible=_visible(face, points, behind, scene.regions.unit, size),
        vertices_xy=projected[:, :2].astype(np.float32),
        vertices_depth=projected[:, 2].astype(np.float32),
        triangle=ids,
        barycentric=weights,
        depth=depths,
        normal=normals,
        uv=coordinates,
        face_mask=on_face,
        skin_mask=on_skin,
        body_turn=body_turn,
    )


def _item(geometry: Geometry, item: int) -> Geometry:
    """One of a batch, as a batch."""
    from dataclasses import replace

    one = slice(item, item + 1)
    camera = geometry.camera
    chosen = type(camera)(
        np.asarray(camera.scale)[one],
        camera.rotation[one],
        camera.translation[one],
        np.broadcast_to(np.asarray(camera.kappa), np.shape(camera.scale))[one],
        camera.centre[one],
    )
    names = ("vertices", "normals", "albedo", "image_xy", "depth")
    return replace(geometry, camera=chosen, **{name: getattr(geometry, name)[one] for name in names})


def _landmarks(model: MorphableModel, face: Face, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(68, 3) mm, model space: the inner landmarks, and those of the jaw moved to the silhouette.

    Each goes to the place of the silhouette that is nearest to it in the image, as in fits, so that they keep their
    distances: where the head turns towards the viewer they stay on the jaw's edge.
    """
    points = model.landmarks(vertices)
    if model.jaw_band.shape[1] == 0:
        return points
    outline = _outline(model)
    marks = face.camera.project(points[JAW])[:, :2]
    chosen, weights, _, _ = outline.points(face.camera, vertices[outline.vertices], marks)
    points[JAW] = np.einsum("lk,lkd->ld", weights, vertices[chosen])
    return points


def _outline(model: MorphableModel) -> JawOutline:
    """The one of a model; remembered for as long as the model lives."""
    if model not in _known_outlines:
        _known_outlines[model] = JawOutline(model)
    return _known_outlines[model]


def _visible(
    face: Face, points: NDArray[np.float64], depth: NDArray[np.floating[Any]], unit: float, size: int
) -> NDArray[np.bool_]:
    """(68,) whether landmarks are in the image, and no pixel around them is nearer by more than the slack."""
    from scipy.ndimage import minimum_filter

    projected = face.camera.project(points)
    inside = ((projected[:, :2] > -0.5) & (projected[:, :2] < size - 0.5)).all(axis=1)
    column, row = (np.clip(np.rint(projected[:, k]).astype(np.int64), 0, size - 1) for k in (0, 1))
    nearest = minimum_filter(depth, 3)[row, column]
    slack = _SLACK_MM * unit * float(face.camera.scale) * face.camera.magnification(points) ** 2
    return np.asarray(inside & (projected[:, 2] >= nearest - slack))
