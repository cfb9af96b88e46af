"""What is made once for a photo: its head with hair, what the photo tells of it, and what lies behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import map_coordinates

from faceinv.engine.blas import one_blas_thread
from faceinv.engine.records import EngineSettings
from faceinv.engine.registry import build_engine
from faceinv.errors import InputError
from faceinv.face.mesh import vertex_normals
from faceinv.generate.canvas import Canvas, canvas_of
from faceinv.generate.glasses import frames
from faceinv.generate.ground import GROUND_REACH, Ground, ground_of, person_of
from faceinv.generate.hair import Hair, hair_region, lifted, nearer, thickness, without_ears
from faceinv.generate.light import HAIR_FRONT, soft_light
from faceinv.generate.mouth import gap, mouth_depth
from faceinv.generate.polar import ANGLES, angle_grid, head_outline
from faceinv.generate.regions import Regions, ramp, regions_of
from faceinv.generate.rim import Rim
from faceinv.generate.strands import hair_patch, strand_places, strand_tile
from faceinv.generate.surface import SLACK_MM, DepthMap, Seen, depth_map, seen_by, visible_from
from faceinv.render.lids import Lids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.interface import Engine
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face
    from faceinv.fitting.result import FitResult

__all__ = ["Scene"]

_HEAD_REACH: Final = 190.0
_MAP_PX_PER_MM: Final = 1.25
_LIFTS: Final = 4
"""Rounds in which hair grows by what its outline lacks still."""
_EDGE_MM: Final = 4.0
"""Inside of a person's outline: what is further out may be mixed with the ground."""
_GROWTH: Final = 1.0
_MOST_GROWTH: Final = 35.0
"""mm: thick hair starts from a skull that is that much narrower than the ears; thin hair lies close to it."""
_OPEN_MM: Final = 5.0
"""Between the inner lips: a fit of closed lips may leave 4 mm, a smile that shows teeth has 6 or more."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One photo and its fit, ready to be drawn otherwise; some 30 MB.

    Make one with `Scene.of`.
    """

    result: FitResult
    regions: Regions
    drawn: MorphableModel
    """The person with hair: identity, albedo and the scalp's lift are part of its mean; expression is left."""
    kept: NDArray[np.int64]
    """(T',) the model's triangle for each one of `drawn`."""
    rigid: NDArray[np.bool_]
    """(T',) triangles of `drawn` that are the model's own surface: no hair, no wider ears, no fading neck."""
    rim: Rim
    drawn_face: NDArray[np.bool_]
    """(T',) its face mask, writable."""
    lift: NDArray[np.float64]
    """(N, 3) mm: by how much hair lifts the model's vertices."""
    engine: Engine
    """Of `drawn`."""
    head: Canvas
    photo: NDArray[np.float32]
    """(S, S, 5): pixels of `head`, and where they are frames of glasses."""
    seen: Seen
    strands: NDArray[np.float32]
    """(T, T, 3): how much brighter than their mean pixels of hair are that the photo does not show."""
    table: NDArray[np.float32]
    """(N, 10) what `kernels.compose` takes of vertices: places px (here and mirrored, of `head`; of `strands`), trust
    in each, opacity."""
    calm: NDArray[np.float64]
    """(N,) the share of hair."""
    moments: NDArray[np.float32]
    """(N, 10) of the model's occlusion, or (0, 10)."""
    mirror: NDArray[np.int32]
    """(N,) the model's, writable as kernels want it."""
    triangles: NDArray[np.int32]
    """(T', 3) of `drawn`, writable."""
    ground: Ground
    outline: NDArray[np.float64]
    """(ANGLES,) mm from the pivot: the head with hair in the photo."""
    rim_normals: NDArray[np.float64]
    """(ANGLES, 3) camera frame: of the head at its outline."""
    neck_ring: NDArray[np.float64]
    """(M, 3) mm from the pivot, camera frame of the photo: around the neck."""
    lids: Lids
    mouth_depth: NDArray[np.float64]
    """(N,) the share of light that reaches the inside of the mouth, 0 for all else."""
    gap: float
    """mm between the photo's inner lips."""

    @classmethod
    @one_blas_thread()
    def of(
        cls,
        result: FitResult,
        px_per_mm: float = 1.0,
        backend: str = "numpy",
        matte: NDArray[np.float32] | None = None,
    ) -> Scene:
        """Prepare a fitted photo.

        Args:
            result: with its photo (`FitResult.with_photo`).
            px_per_mm: of the pictures that will be drawn; the photo is kept about this fine.
            backend: the engine that draws.
            matte: (H, W) from 0, the ground, to 1, a person; None to find it.

        Raises:
            InputError: for a result without its photo.
        """
        if result.photo is None:
            raise InputError(
                "variants need the photo, and this result was read from a file. Use result.with_photo(photo) first."
            )
        if matte is None:
            from faceinv.photo.matte import person_matte

            matte = person_matte(result.photo)
        model, face = result.model, result.face
        regions = regions_of(model)
        camera, unit = face.camera, regions.unit
        at_rest = _blend(model.mean, model.identity_basis, face.identity)
        vertices = _blend(at_rest, model.expression_basis, face.expression)
        at = camera.project(regions.pivot[None])[0, :2]
        photo_px_per_mm = float(camera.scale) * float(camera.magnification(regions.pivot[None])[0])
        zoom = 1.5 * px_per_mm / photo_px_per_mm
        head = canvas_of(result.photo, matte, at, _HEAD_REACH * unit * photo_px_per_mm, zoom)
        around = canvas_of(result.photo, matte, at, GROUND_REACH * unit * photo_px_per_mm, zoom)
        triangles = np.ascontiguousarray(model.triangles[regions.drawn])
        kept = np.flatnonzero(regions.drawn)

        def drawn_depths(surface: NDArray[np.float64]) -> DepthMap:
            return depth_map(camera, surface, triangles, regions.pivot, _MAP_PX_PER_MM / unit, _HEAD_REACH * unit)

        def outline_of(depths: DepthMap) -> NDArray[np.float64]:
            seen_by_map = (depths.triangle, depths.barycentric, triangles, regions.opacity)
            return head_outline(*seen_by_map, depths.centre, depths.px_per_mm)

        bald = drawn_depths(vertices)
        person = person_of(bald, triangles, around, photo_px_per_mm)
        beyond = thickness(outline_of(bald), person, bald.centre, bald.px_per_mm)
        albedo = _blend(model.mean_albedo, model.albedo_basis, face.albedo)
        edge = _edge(head, bald, outline_of(bald) + beyond)
        hair = _hair(model, regions, face, vertices, head, bald, triangles, beyond, edge)
        hairy, rooted = hair.depth, hair.rooted
        first = thick = without_ears(beyond)
        most = first + _MOST_GROWTH * ramp(beyond, 20.0, 30.0)
        lift = lifted(vertices, model, hairy, rooted, camera.rotation, thick, beyond) + regions.throat
        for _ in range(_LIFTS):
            outline = outline_of(drawn_depths(vertices + lift))
            lacking = thickness(outline, person, bald.centre, bald.px_per_mm, signed=True)
            thick = np.clip(thick + _GROWTH * lacking, 0.0, most)
            lift = lifted(vertices, model, hairy, rooted, camera.rotation, thick, beyond) + regions.throat
        haired = vertices + lift
        depths = drawn_depths(haired)
        solid = depths.of(triangles, regions.opacity) > 0.5
        outline = outline_of(depths)
        landmarks = result.landmarks3d
        mouth_open = gap(landmarks) > _OPEN_MM * unit
        worn = frames(head.pixels, head.place(result.landmarks2d), photo_px_per_mm * head.zoom)
        if worn is None:
            worn = np.zeros(head.pixels.shape[:2], np.float32)
        seen = seen_by(
            head,
            result.image_size,
            camera,
            face.lighting,
            model,
            regions,
            haired,
            albedo,
            depths,
            triangles,
            mouth_open,
            hair,
            worn,
        )
        bare = depths.of(triangles, ((regions.face | regions.ear) & (hairy == 0)).astype(np.float64)) > 0.5
        px = photo_px_per_mm * head.zoom
        middle = head.place(at[None])[0]
        hair_map = _hair_pixels(head, depths, person & ~bare, hair, face)
        tile, chart = strand_tile(hair_patch(head, hair_map, middle, depths.px_per_mm, px), px)
        drawn = _person_model(model, at_rest + lift, albedo, regions.drawn)
        glasses = _on_map(worn, depths) > 0.3
        ground = ground_of(around, depths, solid, person, hair_map, hair.long, glasses, outline, at, photo_px_per_mm)
        normals = vertex_normals(haired, triangles) @ camera.rotation.T
        return cls(
            result=result,
            regions=regions,
            drawn=drawn,
            kept=kept,
            rigid=_rigid(lift, regions, triangles),
            rim=Rim.of(model, regions.drawn, lift),
            drawn_face=model.face_mask[regions.drawn],
            lift=lift,
            engine=build_engine(backend, drawn, EngineSettings()),
            head=head,
            photo=np.ascontiguousarray(np.concatenate([head.pixels, worn[..., None]], axis=2)),
            seen=seen,
            strands=tile,
            table=_table(head, seen, model, regions, hairy, strand_places(haired, regions, px, chart)),
            calm=ramp(hairy, 0.0, 0.3),
            moments=np.zeros((0, 10), np.float32) if model.occlusion is None else model.occlusion.copy(),
            mirror=model.mirror.copy(),
            triangles=triangles,
            ground=ground,
            outline=outline,
            rim_normals=_rim_normals(depths, triangles, normals, outline),
            neck_ring=(vertices[regions.neck_ring] - regions.pivot) @ camera.rotation.T,
            lids=Lids.of(regions.lids, triangles, vertices, camera.rotation),
            mouth_depth=mouth_depth(model, regions),
            gap=gap(landmarks),
        )


def _hair(
    model: MorphableModel,
    regions: Regions,
    face: Face,
    vertices: NDArray[np.float64],
    head: Canvas,
    bald: DepthMap,
    triangles: NDArray[np.int32],
    thick: NDArray[np.float64],
    edge: NDArray[np.float64],
) -> Hair:
    camera = face.camera
    normals = vertex_normals(vertices, triangles) @ camera.rotation.T
    facing = (normals * camera.to_viewer(vertices)).sum(axis=1)
    hidden_by, _ = visible_from(vertices, regions, bald, triangles)
    light = soft_light(normals, face.lighting, model.occlusion, camera.rotation)
    colour = head.sample(camera.project(vertices)[:, :2])[:, :3]
    return hair_region(model, regions, colour, light, (hidden_by <= SLACK_MM) & (facing > 0.1), thick, edge)


def _at_map(head: Canvas, depths: DepthMap, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4) what the photo shows at points (N, 2) px of a map around the same pivot."""
    per_px = head.pixels.shape[0] / depths.triangle.shape[0]
    at = (places + 0.5) * per_px - 0.5
    channels = [map_coordinates(head.pixels[..., c], [at[:, 1], at[:, 0]], order=1, mode="nearest") for c in range(4)]
    return np.stack(channels, axis=1).astype(np.float64)


def _on_map(image: NDArray[np.float32], depths: DepthMap) -> NDArray[np.float32]:
    """(H, W) of an image (S, S) of the canvas, in the pixels of a map around the same pivot."""
    size = depths.triangle.shape[0]
    at = (np.arange(size) + 0.5) * (image.shape[0] / size) - 0.5
    rows, columns = np.meshgrid(at, at, indexing="ij")
    return np.asarray(map_coordinates(image, [rows, columns], order=1, mode="nearest"), np.float32)


def _edge(head: Canvas, depths: DepthMap, reached: NDArray[np.float64]) -> NDArray[np.float64]:
    """(ANGLES, 4) the photo `_EDGE_MM` inside of the person's outline (ANGLES,) mm."""
    angle = angle_grid()
    radius = (reached - _EDGE_MM) * depths.px_per_mm
    places = depths.centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _at_map(head, depths, places)


def _hair_pixels(
    head: Canvas, depths: DepthMap, may_be: NDArray[np.bool_], hair: Hair, face: Face
) -> NDArray[np.bool_]:
    """(H, W) pixels of the map that are hair by their colour, out of those that may be."""
    found = np.zeros(may_be.shape, np.bool_)
    if hair.colour is None:
        return found
    rows, columns = np.nonzero(may_be)
    seen = _at_map(head, depths, np.stack([columns, rows], axis=1).astype(np.float64))
    front = soft_light(HAIR_FRONT, face.lighting)[0]
    own = np.log(np.maximum(seen[:, :3] / front, 1e-3))
    found[rows, columns] = nearer(own, np.log(hair.colour), np.log(hair.skin)) & (seen[:, 3] > 0.9)
    return found


def _table(
    head: Canvas,
    seen: Seen,
    model: MorphableModel,
    regions: Regions,
    hairy: NDArray[np.float64],
    strands_xy: NDArray[np.float64],
) -> NDArray[np.float32]:
    table = np.empty((model.vertex_count, 10), np.float32)
    table[:, 0:2] = head.place(seen.xy)
    table[:, 2:4] = table[model.mirror, 0:2]
    table[:, 4:6] = strands_xy
    table[:, 6] = seen.trust
    bare = (hairy == 0) & (regions.face | regions.ear)
    table[:, 7] = (seen.trust * bare)[model.mirror] * bare
    table[:, 8] = ramp(hairy, 0.0, 0.15)
    table[:, 9] = regions.opacity
    return table


def _rigid(lift: NDArray[np.float64], regions: Regions, triangles: NDArray[np.int32]) -> NDArray[np.bool_]:
    still = (np.abs(lift).max(axis=1) < 1e-6) & (regions.opacity == 1)
    return np.asarray(still[triangles].all(axis=1))


def _blend(
    mean: NDArray[np.floating], basis: NDArray[np.float32], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 3) mean plus basis (N, 3, K) times coefficients, to float32's precision."""
    moved = basis.reshape(-1, basis.shape[2]) @ coefficients.astype(np.float32)
    return np.asarray(mean + moved.reshape(mean.shape).astype(np.float64))


def _person_model(
    model: MorphableModel,
    at_rest: NDArray[np.float64],
    albedo: NDArray[np.float64],
    drawn: NDArray[np.bool_],
) -> MorphableModel:
    """The model of one person: the surface at rest is the mean, and expression alone is left."""
    count = model.vertex_count
    none = np.zeros((count, 3, 0), np.float32)
    return replace(
        model,
        mean=at_rest.astype(np.float32),
        identity_basis=none,
        mean_albedo=albedo.astype(np.float32),
        albedo_basis=none,
        field_count=0,
        triangles=model.triangles[drawn],
        face_mask=model.face_mask[drawn],
        uv_triangles=model.uv_triangles[drawn],
        triangle_parts=None if model.triangle_parts is None else model.triangle_parts[drawn],
        jaw_band=np.zeros((len(model.jaw_band), 0), np.int32),
        occlusion=None,
    )


def _rim_normals(
    depths: DepthMap, triangles: NDArray[np.int32], normals: NDArray[np.float64], outline: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(ANGLES, 3) unit normals of the head 4 mm inside of its outline."""
    angle = angle_grid()
    radius = np.maximum(outline - 4.0, 1.0) * depths.px_per_mm
    column = np.rint(depths.centre[0] + radius * np.cos(angle)).astype(np.int64)
    row = np.rint(depths.centre[1] + radius * np.sin(angle)).astype(np.int64)
    size = depths.triangle.shape[0]
    row, column = np.clip(row, 0, size - 1), np.clip(column, 0, size - 1)
    triangle, weights = depths.triangle[row, column], depths.barycentric[row, column]
    mixed = np.einsum("ak,akd->ad", weights, normals[triangles[triangle]])
    mixed[triangle < 0] = [0.0, 0.0, 1.0]
    length = np.linalg.norm(mixed, axis=1, keepdims=True)
    assert len(mixed) == ANGLES
    return np.where(length > 1e-6, mixed / np.maximum(length, 1e-6), [0.0, 0.0, 1.0])
