"""One picture of a scene: the head through the engine, over the ground that follows its outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.face.lighting import SH_CONSTANTS
from faceinv.face.self_shadow import shadow_matrix
from faceinv.generate.light import RATIO_LIMITS, calm, soft_light
from faceinv.generate.mouth import gap, mouth_light
from faceinv.generate.neck import neck_shift
from faceinv.generate.polar import angle_grid, at_directions, first_exit, source_radii
from faceinv.generate.regions import ramp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.records import Geometry
    from faceinv.face.state import Face
    from faceinv.generate.scene import Scene

__all__ = ["Picture", "draw"]

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
    geometry: Geometry
    """Of `Scene.drawn`, in the picture's frame; arrays of the engine."""


@one_blas_thread()
def draw(scene: Scene, face: Face, size: int, samples: int = 2, body_turn: float = 0.0) -> Picture:
    """Draw the person of a scene.

    Args:
        scene: the scene.
        face: expression, camera and lighting count; identity and albedo are the scene's own.
        size: of the picture, px.
        samples: along each side of a pixel.
        body_turn: radians by which body and ground turn in the picture's plane, anticlockwise.
    """
    from faceinv.generate.kernels import compose, ground

    renderer = scene.engine.renderer
    chi = _own_face(scene, face).pack(renderer.layout)
    geometry = renderer.geometry(chi[None])
    fine = _finer(geometry, chi, renderer, samples)
    visibility = renderer.rasterize(fine, (size * samples, size * samples))
    triangle = renderer.to_host(visibility.triangle)[0]
    barycentric = renderer.to_host(visibility.barycentric)[0]
    table, turned = _table(scene, face, renderer.to_host(geometry.normals)[0], renderer.to_host(geometry.vertices)[0])
    centre, px_per_mm = _pivot(scene, face)
    triangles, opacity = scene.drawn.triangles, scene.regions.opacity
    solid = (triangle >= 0) & ((barycentric * opacity[triangles[triangle]]).sum(axis=2) > 0.5)
    fine_centre = (centre + 0.5) * samples - 0.5
    outline = first_exit(solid, fine_centre, px_per_mm * samples, -body_turn)
    from faceinv.generate.scene import GROUND_REACH

    reach = GROUND_REACH * scene.regions.unit
    roll = np.array([[np.cos(body_turn), np.sin(body_turn), 0], [-np.sin(body_turn), np.cos(body_turn), 0], [0, 0, 1]])
    shift = neck_shift(scene.neck_ring, roll @ face.camera.rotation @ scene.result.camera.rotation.T)
    radii = source_radii(at_directions(scene.outline, angle_grid() + shift), outline, reach)
    near, far = _ground_gains(scene, face)
    behind = np.empty((size, size, 3), np.float32)
    ground(
        scene.ground,
        scene.ground_place,
        scene.ground_px_per_mm,
        centre,
        px_per_mm,
        -body_turn,
        outline,
        reach,
        radii,
        shift,
        near,
        far,
        behind,
    )
    out, cover = np.empty((size, size, 3), np.float32), np.empty((size, size), np.float32)
    thin = float(1 - ramp(np.array(turned), *_THIN_TURN))
    compose(triangle, barycentric, triangles, table, scene.head.pixels, scene.pattern, thin, behind, samples, out, cover)
    return Picture(out, cover, geometry)


def _own_face(scene: Scene, face: Face) -> Face:
    from dataclasses import replace

    none = np.zeros(0)
    return replace(face, identity=none, albedo=none)


def _finer(geometry: Geometry, chi: NDArray[np.float64], renderer: object, samples: int) -> Geometry:
    """The same surface in a picture `samples` times as large."""
    from dataclasses import replace

    if samples == 1:
        return geometry
    camera = geometry.camera
    xy = (geometry.image_xy + 0.5) * samples - 0.5
    return replace(geometry, image_xy=xy, depth=geometry.depth * samples, camera=camera.moved(samples, ((samples - 1) / 2,) * 2))


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
