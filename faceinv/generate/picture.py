"""One picture of a scene: the head through the engine, over the ground that follows its outline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.face.camera import Camera
from faceinv.face.self_shadow import shadow_matrix
from faceinv.generate.ground import GROUND_REACH
from faceinv.generate.labels import Labels, labels_of
from faceinv.generate.light import HAIR_FRONT, HAIR_LIMITS, RATIO_LIMITS, lowest_light, soft_light
from faceinv.generate.mouth import gap, mouth_light
from faceinv.generate.neck import neck_shift
from faceinv.generate.polar import angle_grid, at_directions, head_outline, source_radii
from faceinv.generate.regions import ramp
from faceinv.generate.scene import Scene
from faceinv.photo.color import linear_to_srgb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.records import Geometry
    from faceinv.face.state import Face
    from faceinv.generate.relief import Relief

__all__ = ["Picture", "draw_pictures"]

_GROUND_GAIN: Final = (0.75, 1.35)
_NEAR_TURN: Final = (4.0, 20.0)
"""Degrees between the view and the photo's up to which the photo is believed wherever it shows something, and from
which only where it shows it well."""
_GROUND_TURN: Final = (3.0, 10.0)
"""Degrees up to which what the photo shows beside the head is left there, be it hair or ears, and from which on the
ground has closed."""
_SHORN_TURN: Final = (7.5, 8.5)
"""Degrees up to which hair hangs where it does in the photo, and from which on it is hidden by the face: half of it
would be a second outline."""
_SHORN_SIDE: Final = (-0.2, 0.2)
"""Cosines between directions and that of the turn from which on this is so."""
_WORN_TURN: Final = (7.5, 8.5)
"""Degrees up to which glasses are shown as in the photo, and from which on they are left out."""
_THIN_TURN: Final = (4.0, 14.0)
"""Degrees up to which soft edges of hair show what is behind them, and from which the hair is closed."""


_RELIT: Final = (0.02, 0.15)
"""The largest change of a light's coefficient, over the constant one, from which on light counts as another, and from
which it is wholly so."""
_LEVELS: Final = 2**14 - 1
"""Of linear light, each with its sRGB value: four to one in the darkest."""


@cache
def _encoded() -> NDArray[np.uint8]:
    """(_LEVELS + 1,) sRGB values of even steps of linear light."""
    return np.asarray(np.rint(255 * linear_to_srgb(np.linspace(0.0, 1.0, _LEVELS + 1))), np.uint8)


@dataclass(frozen=True, eq=False)
class Picture:
    """What was drawn."""

    linear: NDArray[np.float32]
    """(H, W, 3) linear RGB, not clipped."""
    cover: NDArray[np.float32]
    """(H, W) from 0 to 1: the head's share of each pixel."""
    scene: Scene
    face: Face
    body_turn: float
    geometry: Geometry
    """Of `Scene.drawn`, a batch in the picture's frame; arrays of the engine."""
    item: int
    """Which of the batch."""
    relief: Relief | None = None
    """Of another face, which `linear` has already."""

    @property
    def srgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB-encoded."""
        steps = np.clip(self.linear, 0.0, 1.0) * np.float32(_LEVELS) + np.float32(0.5)
        return _encoded()[steps.astype(np.uint16)]

    def labels(self) -> Labels:
        """What is known of the picture."""
        size = self.cover.shape[0]
        labels = labels_of(self.scene, self.face, self.geometry, self.item, size, self.cover, self.body_turn)
        if self.relief is None:
            return labels
        mask = labels.face_mask
        normal = np.where(mask[..., None], self.relief.normal, labels.normal)
        return replace(labels, normal=normal, displacement=np.where(mask, self.relief.displacement, np.float32(np.nan)))

    def with_relief(self, relief: Relief) -> Picture:
        """The picture with the detail of another face."""
        return replace(self, linear=self.linear * relief.ratio, relief=relief)


@one_blas_thread()
def draw_pictures(
    scene: Scene, faces: Sequence[Face], size: int, samples: int = 2, body_turns: Sequence[float] | None = None
) -> list[Picture]:
    """Draw the person of a scene several times: one batch on the engine.

    Args:
        scene: the scene.
        faces: expression, camera and lighting count; identity and albedo are the scene's own.
        size: of the pictures, px.
        samples: along each side of a pixel.
        body_turns: radians by which body and ground turn in each picture's plane, anticlockwise; None for none.
    """
    from faceinv.generate.kernels import compose

    renderer, triangles = scene.engine.renderer, scene.triangles
    chi = np.stack([_own_face(face).pack(renderer.layout) for face in faces])
    geometry = renderer.geometry(chi)
    visibility = renderer.rasterize(_finer(geometry, samples), (size * samples, size * samples))
    seen = [renderer.to_host(a) for a in (visibility.triangle, visibility.barycentric)]
    surfaces = [renderer.to_host(a) for a in (geometry.normals, geometry.vertices)]
    pictures = []
    for item, face in enumerate(faces):
        turn = 0.0 if body_turns is None else float(body_turns[item])
        triangle, barycentric = (array[item] for array in seen)
        table, turned = _table(scene, face, *(array[item] for array in surfaces))
        linear, cover = np.empty((size, size, 3), np.float32), np.empty((size, size), np.float32)
        thin = float(1 - ramp(np.array(turned), *_THIN_TURN))
        photo, strands = scene.photo, scene.strands
        worn = float(1 - ramp(np.array(turned), *_WORN_TURN))
        compose(triangle, barycentric, triangles, table, photo, strands, thin, worn, samples, linear, cover)
        _add_ground(scene, face, triangle, barycentric, samples, turn, turned, linear, cover)
        pictures.append(Picture(linear, cover, scene, face, turn, geometry, item))
    return pictures


def _add_ground(
    scene: Scene,
    face: Face,
    triangle: NDArray[np.int32],
    barycentric: NDArray[np.float64],
    samples: int,
    body_turn: float,
    turned: float,
    linear: NDArray[np.float32],
    cover: NDArray[np.float32],
) -> None:
    """Puts what is behind the head into a picture."""
    from faceinv.generate.kernels import ground

    centre, px_per_mm = _pivot(scene, face)
    fine_centre = (centre + 0.5) * samples - 0.5
    triangles, opacity = scene.triangles, scene.regions.opacity
    fine = px_per_mm * samples
    outline = head_outline(triangle, barycentric, triangles, opacity, fine_centre, fine, -body_turn)
    reach = GROUND_REACH * scene.regions.unit
    cosine, sine = np.cos(body_turn), np.sin(body_turn)
    upright = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    motion = upright @ face.camera.rotation @ scene.result.camera.rotation.T
    shift = neck_shift(scene.neck_ring, motion)
    radii = source_radii(at_directions(scene.outline, angle_grid() + shift), outline, reach)
    gains = _ground_gains(scene, face)
    behind = scene.ground
    near = float(1 - ramp(np.array(turned), *_GROUND_TURN))
    # Hair that hangs down on the side to which the face turns is hidden by it.
    away = float(ramp(np.array(turned), *_SHORN_TURN)) if behind.shorn is not behind.filled else 0.0
    towards = np.arctan2(-motion[1, 2], motion[0, 2])
    shorn = away * ramp(np.cos(angle_grid() - towards), *_SHORN_SIDE)
    where = (
        behind.filled,
        behind.photo,
        near,
        behind.shorn,
        shorn,
        behind.place,
        behind.px_per_mm,
        centre,
        px_per_mm,
        -body_turn,
    )
    ground(*where, outline, reach, radii, shift, *gains, cover, linear)


def _own_face(face: Face) -> Face:
    """What is left to say of a face whose identity and albedo are its model's own."""
    none = np.zeros(0)
    return replace(face, identity=none, albedo=none)


def _finer(geometry: Geometry, samples: int) -> Geometry:
    """The same surfaces in pictures `samples` times as large."""
    if samples == 1:
        return geometry
    shift = (samples - 1) / 2
    camera = geometry.camera
    fine = Camera(
        camera.scale * samples,
        camera.rotation,
        samples * camera.translation + shift,
        camera.kappa,
        samples * camera.centre + shift,
    )
    xy = samples * geometry.image_xy + shift
    return replace(geometry, image_xy=xy, depth=geometry.depth * samples, camera=fine)


def _pivot(scene: Scene, face: Face) -> tuple[NDArray[np.float64], float]:
    """Where the pivot is in the picture, px, and px per mm there."""
    pivot = scene.regions.pivot[None]
    at: NDArray[np.float64] = face.camera.project(pivot)[0, :2]
    return at, float(face.camera.scale) * float(face.camera.magnification(pivot)[0])


def _table(
    scene: Scene, face: Face, normals: NDArray[np.float64], vertices: NDArray[np.float64]
) -> tuple[NDArray[np.float32], float]:
    """The table of vertices for `kernels.compose`, and the degrees between the view and the photo's."""
    from faceinv.generate.kernels import COLUMNS, fill_table, light_vertices

    seen, model, regions = scene.seen, scene.result.model, scene.regions
    rotation = face.camera.rotation
    turn = np.degrees(np.arccos(np.clip(rotation[2] @ scene.result.camera.rotation[2], -1, 1)))
    near = float(1 - ramp(np.array(turn), *_NEAR_TURN))
    count = len(normals)
    light, table = np.empty((count, 3)), np.empty((count, COLUMNS), np.float32)
    gamma = np.array(face.lighting, np.float64)
    front = soft_light(HAIR_FRONT, gamma)[0]
    light_vertices(
        np.ascontiguousarray(normals),
        np.ascontiguousarray(rotation),
        gamma,
        shadow_matrix(rotation) @ gamma,
        scene.moments,
        lowest_light(gamma),
        scene.calm,
        front,
        *HAIR_LIMITS,
        scene.mouth_depth,
        mouth_light(gamma),
        light,
    )
    # The photo's own view under its own light is the photo; else only what is skin is carried.
    relit = float(ramp(np.array(np.abs(gamma - scene.result.lighting).max() / np.abs(gamma[0]).max()), *_RELIT))
    away = max(1 - near, relit)
    before = seen.all_light if away == 1 else seen.light + away * (seen.all_light - seen.light)
    landmarks = model.landmarks(vertices - scene.lift)
    spoken = float(ramp(np.array(abs(gap(landmarks) - scene.gap)), 0.5 * regions.unit, 3.0 * regions.unit))
    table[:, :10] = scene.table
    same = np.where(regions.mouth, near * (1 - spoken), near)
    table[:, 6] += same * (seen.shown - seen.trust)
    usable = scene.lids.usable(vertices)
    table[scene.lids.vertices, 6] *= usable
    table[scene.lids.vertices, 7] *= usable
    fill_table(light, before, scene.mirror, seen.reflectance, *RATIO_LIMITS, table)
    return table, float(turn)


def _ground_gains(scene: Scene, face: Face) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much brighter the ground is than in the photo: (ANGLES, 3) at the head's outline, (3,) far from it."""
    from scipy.ndimage import gaussian_filter1d

    before, after = scene.result.lighting, face.lighting
    ratio = np.log(soft_light(scene.rim_normals, after) / soft_light(scene.rim_normals, before))
    near = np.clip(np.exp(gaussian_filter1d(ratio, 15.0, axis=0, mode="wrap")), *_GROUND_GAIN)
    far = np.clip(np.abs(after[0]) / np.maximum(np.abs(before[0]), 1e-6), *_GROUND_GAIN)
    return near, far
