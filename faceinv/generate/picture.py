"""One picture of a scene: the head through the engine, over the ground that follows its outline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.face.camera import Camera
from faceinv.face.lighting import SH_CONSTANTS
from faceinv.face.self_shadow import shadow_matrix
from faceinv.generate.labels import Labels, labels_of
from faceinv.generate.light import RATIO_LIMITS, calm, soft_light
from faceinv.generate.mouth import gap, mouth_light
from faceinv.generate.neck import neck_shift
from faceinv.generate.polar import angle_grid, at_directions, first_exit, source_radii
from faceinv.generate.regions import ramp
from faceinv.generate.scene import GROUND_REACH, Scene
from faceinv.photo.color import linear_to_srgb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.records import Geometry
    from faceinv.face.state import Face

__all__ = ["Picture", "draw_pictures"]

_GROUND_GAIN: Final = (0.75, 1.35)
_NEAR_TURN: Final = (4.0, 20.0)
"""Degrees between the view and the photo's up to which the photo is believed wherever it shows something, and from
which only where it shows it well."""
_THIN_TURN: Final = (8.0, 35.0)
"""Degrees up to which soft edges of hair show what is behind them, and from which the hair is closed."""


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

    @property
    def srgb(self) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB-encoded."""
        encoded = linear_to_srgb(np.clip(self.linear, 0.0, 1.0))
        return np.asarray(np.rint(255 * encoded), np.uint8)

    def labels(self) -> Labels:
        """What is known of the picture."""
        size = self.cover.shape[0]
        return labels_of(self.scene, self.face, self.geometry, self.item, size, self.cover, self.body_turn)


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

    renderer, triangles, opacity = scene.engine.renderer, scene.drawn.triangles, scene.regions.opacity
    chi = np.stack([_own_face(face).pack(renderer.layout) for face in faces])
    geometry = renderer.geometry(chi)
    visibility = renderer.rasterize(_finer(geometry, samples), (size * samples, size * samples))
    seen = [renderer.to_host(a) for a in (visibility.triangle, visibility.barycentric)]
    surfaces = [renderer.to_host(a) for a in (geometry.normals, geometry.vertices)]
    pictures = []
    for item, face in enumerate(faces):
        turn = 0.0 if body_turns is None else float(body_turns[item])
        triangle, barycentric = (array[item] for array in seen)
        solid = (triangle >= 0) & ((barycentric * opacity[triangles[triangle]]).sum(axis=2) > 0.5)
        behind = _ground(scene, face, solid, size, samples, turn)
        table, turned = _table(scene, face, *(array[item] for array in surfaces))
        linear, cover = np.empty((size, size, 3), np.float32), np.empty((size, size), np.float32)
        thin = float(1 - ramp(np.array(turned), *_THIN_TURN))
        photo, pattern = scene.head.pixels, scene.pattern
        compose(triangle, barycentric, triangles, table, photo, pattern, thin, behind, samples, linear, cover)
        pictures.append(Picture(linear, cover, scene, face, turn, geometry, item))
    return pictures


def _ground(
    scene: Scene, face: Face, solid: NDArray[np.bool_], size: int, samples: int, body_turn: float
) -> NDArray[np.float32]:
    """(size, size, 3) what is behind the head, whose samples are `solid`."""
    from faceinv.generate.kernels import ground

    centre, px_per_mm = _pivot(scene, face)
    fine_centre = (centre + 0.5) * samples - 0.5
    outline = first_exit(solid, fine_centre, px_per_mm * samples, -body_turn)
    reach = GROUND_REACH * scene.regions.unit
    cosine, sine = np.cos(body_turn), np.sin(body_turn)
    upright = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    shift = neck_shift(scene.neck_ring, upright @ face.camera.rotation @ scene.result.camera.rotation.T)
    radii = source_radii(at_directions(scene.outline, angle_grid() + shift), outline, reach)
    near, far = _ground_gains(scene, face)
    behind = np.empty((size, size, 3), np.float32)
    place, zoom = scene.ground_place, scene.ground_px_per_mm
    ground(
        scene.ground, place, zoom, centre, px_per_mm, -body_turn, outline, reach, radii, shift, near, far, behind
    )
    return behind


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
    from faceinv.generate.kernels import COLUMNS, light_vertices

    seen, model, regions = scene.seen, scene.result.model, scene.regions
    before, rotation = scene.result.camera.rotation, face.camera.rotation
    turn = np.degrees(np.arccos(np.clip(rotation[2] @ before[2], -1, 1)))
    near = float(1 - ramp(np.array(turn), *_NEAR_TURN))
    count = len(normals)
    light = np.empty((count, 3))
    moments = np.zeros((0, 10), np.float32) if model.occlusion is None else model.occlusion
    floor = np.maximum(0.15 * face.lighting[0] * SH_CONSTANTS[0], 1e-4)
    light_vertices(
        normals, rotation, face.lighting, shadow_matrix(rotation) @ face.lighting, np.array(moments), floor, light
    )
    light = calm(light, ramp(scene.hairy, 0.0, 0.3), face.lighting)
    light[regions.mouth] = (mouth_light(face.lighting) * scene.mouth_depth[:, None])[regions.mouth]
    landmarks = model.landmarks(vertices - scene.lift)
    spoken = float(ramp(np.array(abs(gap(landmarks) - scene.gap)), 0.5 * regions.unit, 3.0 * regions.unit))
    table = np.empty((count, COLUMNS), np.float32)
    table[:, 0:2] = scene.head.place(seen.xy)
    table[:, 2:4] = table[model.mirror, 0:2]
    table[:, 4:6] = scene.band_xy
    same = np.where(regions.mouth, near * (1 - spoken), near)
    table[:, 6] = seen.trust + same * (seen.shown - seen.trust)
    usable = scene.lids.usable(vertices)
    table[scene.lids.vertices, 6] *= usable
    table[:, 7] = scene.mirrored
    table[scene.lids.vertices, 7] *= usable
    table[:, 8] = scene.band_sure
    table[:, 9] = regions.opacity
    table[:, 10:13] = np.clip(light / seen.light, *RATIO_LIMITS)
    table[:, 13:16] = np.clip(light / seen.light[model.mirror], *RATIO_LIMITS)
    table[:, 19:22] = seen.reflectance * light
    table[:, 16:19] = table[:, 19:22]  # hair has its pattern from the band and its colour from all around
    return table, float(turn)


def _ground_gains(scene: Scene, face: Face) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much brighter the ground is than in the photo: (ANGLES, 3) at the head's outline, (3,) far from it."""
    from scipy.ndimage import gaussian_filter1d

    before, after = scene.result.lighting, face.lighting
    ratio = np.log(soft_light(scene.rim_normals, after) / soft_light(scene.rim_normals, before))
    near = np.clip(np.exp(gaussian_filter1d(ratio, 15.0, axis=0, mode="wrap")), *_GROUND_GAIN)
    far = np.clip(np.abs(after[0]) / np.maximum(np.abs(before[0]), 1e-6), *_GROUND_GAIN)
    return near, far
