"""What a photo tells of each vertex: where it shows it, how far it is to be trusted, and colours for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import distance_transform_edt, grey_erosion, map_coordinates, minimum_filter

from faceinv.face.mesh import vertex_normals
from faceinv.generate.eyes import eyeball_reflectance
from faceinv.generate.fill import Spread
from faceinv.generate.light import calm, soft_light
from faceinv.generate.mouth import mouth_depth, mouth_light, teeth_of_photo
from faceinv.generate.regions import ramp
from faceinv.generate.residual import smoothed, unexplained_light
from faceinv.render.raster import rasterize_triangles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.camera import Camera
    from faceinv.face.model import MorphableModel
    from faceinv.generate.canvas import Canvas
    from faceinv.generate.hair import Hair
    from faceinv.generate.regions import Regions

__all__ = ["SLACK_MM", "DepthMap", "Seen", "depth_map", "seen_by", "visible_from"]

_JUMP_MM: Final = 6.0
"""Steps in depth of more than this between neighbouring pixels are edges behind which something is hidden."""
SLACK_MM: Final = 2.5
_SLACK_SHOWN_MM: Final = 12.0
"""From the photo's own view what is drawn is seen; of a triangle that is, no corner is far behind."""
_SLACK_INSIDE_MM: Final = 1.0
"""Of eyeballs and teeth, which lie close behind lids and lips."""
_FACING: Final = (0.05, 0.3)
"""The cosine between normal and view from which on the photo counts, and from which it counts fully."""
_FACING_HAIR: Final = (0.15, 0.4)
_FACING_EAR: Final = (0.1, 0.35)
_RIM: Final = (0.5, 3.0)
"""mm inside of outlines over which the photo fades in."""
_RIM_HAIR: Final = (2.0, 7.0)
_DARKEST: Final = 2e-3
_LIDS: Final = (8.0, 13.0)
"""mm from the eyes' rims: what is nearer is in the shade of a fold, and no example for a lid that closes."""
_ENDS: Final = (0.25, 0.6)
"""The cosine between normal and view where the photo's wide shades have given way to those of what goes on, and where
they begin to."""
_HAIR_SPREAD: Final = 0.7
"""Of logarithms: hair that is not seen is not further from the typical colour."""
_ODD: Final = (0.4, 0.8)
"""Near its outline a face's colours may be those of a collar or of hair: how far their logarithm is from the skin's
further in, where they begin to be refused, and where they are."""
_ODD_FACING: Final = (0.25, 0.45)
"""What is seen that much from the side is refused by the same rule: shade of a cheek that no light of the model has."""
_ODD_WITHIN: Final = (3.0, 6.0)
"""mm inside of the outline from which on no colour is refused."""


@dataclass(frozen=True, eq=False)
class DepthMap:
    """The head as the photo's camera sees it."""

    triangle: NDArray[np.int32]
    """(H, W), -1 for none."""
    barycentric: NDArray[np.float64]
    """(H, W, 3)."""
    camera: Camera
    """Of the map."""
    centre: NDArray[np.float64]
    """(2,) px: the pivot."""
    px_per_mm: float

    def of(self, triangles: NDArray[np.int32], values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(H, W) values (N,) of vertices; 0 where there is no head."""
        mixed = (self.barycentric * np.asarray(values, np.float64)[triangles[self.triangle]]).sum(axis=2)
        return np.where(self.triangle >= 0, mixed, 0.0)


def depth_map(
    camera: Camera,
    vertices: NDArray[np.float64],
    triangles: NDArray[np.int32],
    pivot: NDArray[np.float64],
    px_per_mm: float,
    reach: float,
) -> DepthMap:
    """A head, vertices (N, 3) mm, from the photo's camera, in a square of `reach` mm to each side of the pivot."""
    at = camera.project(pivot[None])[0]
    photo_px_per_mm = float(camera.scale) * float(camera.magnification(pivot[None])[0])
    zoom = px_per_mm / photo_px_per_mm
    size = round(2 * reach * px_per_mm)
    moved = camera.moved(zoom, (size - 1) / 2 - zoom * at[:2])
    projected = moved.project(vertices)
    triangle, barycentric = rasterize_triangles(projected[:, :2], projected[:, 2], triangles, (size, size))
    centre = np.full(2, (size - 1) / 2)
    return DepthMap(triangle, barycentric, moved, centre, px_per_mm)


@dataclass(frozen=True, eq=False)
class Seen:
    """What the photo tells of vertices."""

    xy: NDArray[np.float64]
    """(N, 2) px of the photo."""
    facing: NDArray[np.float64]
    """(N,) cosine between normal and view."""
    visible: NDArray[np.float64]
    """(N,) 1 where nothing hides it and it lies on the photo."""
    shown: NDArray[np.float64]
    """(N,) how far the photo is to be believed from its own point of view."""
    trust: NDArray[np.float64]
    """(N,) how far the photo is to be believed whatever the new view."""
    light: NDArray[np.float64]
    """(N, 3) under which the photo shows it, by the fit."""
    all_light: NDArray[np.float64]
    """(N, 3) that with what light the photo has beside, and with what would show as a seam where the photo ends."""
    reflectance: NDArray[np.float64]
    """(N, 3) for what the photo does not show: the photo's colours without their light, continued."""
    skin: NDArray[np.float64]
    """(N,) from 0 to 1: whether what is carried there is skin, and no hair, glasses or beard."""


def seen_by(
    photo: Canvas,
    photo_size: tuple[int, int],
    camera: Camera,
    lighting: NDArray[np.float64],
    model: MorphableModel,
    regions: Regions,
    vertices: NDArray[np.float64],
    albedo: NDArray[np.float64],
    depths: DepthMap,
    triangles: NDArray[np.int32],
    mouth_open: bool,
    hair: Hair,
    worn: NDArray[np.float32],
) -> Seen:
    """What a photo tells of the vertices of a head with hair.

    Args:
        photo: the canvas of the head.
        photo_size: (width, height) px.
        camera: the photo's.
        lighting: (9, 3) the photo's.
        model: the model.
        regions: of the model.
        vertices: (N, 3) mm, with the hair's volume.
        albedo: (N, 3) fitted, linear.
        depths: of the head from the photo's camera.
        triangles: what is drawn.
        mouth_open: whether the photo shows teeth or what is behind them.
        hair: which vertices are hair.
        worn: (S, S) where pixels of the canvas are frames of glasses.
    """
    hairy = hair.depth
    projected = camera.project(vertices)
    xy = projected[:, :2]
    model_normals = vertex_normals(vertices, triangles)
    normals = model_normals @ camera.rotation.T
    facing = (normals * camera.to_viewer(vertices)).sum(axis=1)
    hidden_by, rim = visible_from(vertices, regions, depths, triangles)
    visible = (hidden_by <= SLACK_MM).astype(np.float64)
    width, height = photo_size
    inside = np.minimum.reduce([xy[:, 0], xy[:, 1], width - 1 - xy[:, 0], height - 1 - xy[:, 1]])
    on_photo = ramp(inside, 0.0, 2.0)
    nearly = (hidden_by <= np.where(regions.eyes | regions.mouth, SLACK_MM, _SLACK_SHOWN_MM)) * on_photo
    visible *= on_photo
    if not mouth_open:
        visible[regions.mouth] = nearly[regions.mouth] = 0.0
    sampled = photo.sample(xy)
    colour = sampled[:, :3]
    # What is next to the ground is mixed with it.
    inner_matte = minimum_filter(photo.pixels[..., 3], 3)
    place = photo.place(xy)
    person = map_coordinates(inner_matte, [place[:, 1], place[:, 0]], order=1, mode="nearest")
    light = soft_light(normals, lighting, model.occlusion, camera.rotation)
    light = calm(light, ramp(hairy, 0.0, 0.3), lighting)
    light[regions.mouth] = mouth_light(lighting) * mouth_depth(model, regions)[regions.mouth, None]
    inner = regions.eyes | regions.mouth
    scalp = hairy > 0
    low = np.select([scalp, regions.ear], [_FACING_HAIR[0], _FACING_EAR[0]], _FACING[0])
    high = np.select([scalp, regions.ear], [_FACING_HAIR[1], _FACING_EAR[1]], _FACING[1])
    t = np.clip((facing - low) / (high - low), 0.0, 1.0)
    trust = (
        visible * t * t * (3 - 2 * t) * np.where(inner, 1.0, np.where(scalp, ramp(rim, *_RIM_HAIR), ramp(rim, *_RIM)))
    )
    near = 1 - ramp(rim, *_ODD_WITHIN)
    # Hair lets the ground through anywhere, skin only where the fit is wider than the face.
    trust *= np.where(scalp, ramp(person, 0.6, 0.97), 1 - near * (1 - ramp(person, 0.6, 0.97)))
    if mouth_open:
        trust[regions.mouth] = teeth_of_photo(regions, colour, visible, facing)[regions.mouth]
    base = np.log(np.maximum(albedo, _DARKEST))
    spread = Spread.of(model)
    skin = ~scalp & ~inner & ~regions.ear
    bare = skin | (regions.ear & ~scalp)
    lashes = ramp(regions.from_eyes, *_LIDS) * (1 - map_coordinates(worn, [place[:, 1], place[:, 0]], order=1))
    own = np.log(np.maximum(colour / light, _DARKEST))
    extra = unexplained_light(model, regions, own, trust * skin * lashes * ramp(rim, 3.0, 8.0)) * bare[:, None]
    own -= extra
    ratio = np.clip(own - base, -3.5, 1.5)
    smooth = spread(ratio, trust * skin * ramp(rim, 6.0, 12.0))
    odd = ramp(np.abs(ratio - smooth).max(axis=1), *_ODD)
    trust = np.where(skin, trust * (1 - odd * np.maximum(near, 1 - ramp(facing, *_ODD_FACING))), trust)
    sure = trust * np.where(skin, 1.0, 0.02 * bare) * (0.02 + 0.98 * ramp(rim, 5.0, 14.0)) * (1 - odd) * lashes
    # A fit paints what it cannot see of cheeks and jaw as beards and sideburns; skin goes on there as it is seen.
    beside = ramp(np.abs(model.mean[:, 0]) / regions.unit, 45.0, 62.0)[:, None]
    spreads = spread(np.concatenate([ratio, ratio + base], axis=1), sure)
    fill = (1 - beside) * (base + spreads[:, :3]) + beside * spreads[:, 3:]
    # Where the photo ends, it fades into what goes on behind: first what is wide of it, what is fine last.
    wide, known = smoothed(model, regions, own, trust * skin * (1 - odd))
    ends = ((1 - ramp(facing, *_ENDS)) * ramp(known, 0.003, 0.03) * skin * lashes)[:, None]
    extra += ends * np.clip(wide - fill, -1.0, 1.0)
    fitted = np.exp(fill)
    own = np.maximum(colour / light, _DARKEST)
    share = ramp(hairy, 0.0, 0.1)[:, None]
    reflectance = (1 - share) * fitted + share * _hair_colours(spread, own, trust, hair)
    reflectance[regions.mouth] = albedo[regions.mouth]
    reflectance[regions.eyes] = eyeball_reflectance(regions, own, trust, albedo, model.mirror)[regions.eyes]
    shown = np.maximum(trust, nearly * ramp(facing, -0.1, 0.05) * ramp(person, 0.2, 0.6))
    return Seen(
        xy,
        facing,
        visible,
        shown,
        trust,
        light,
        light * np.exp(extra),
        reflectance,
        np.where(scalp, 0.0, 1 - odd * trust),
    )


def _hair_colours(
    spread: Spread, own: NDArray[np.float64], trust: NDArray[np.float64], hair: Hair
) -> NDArray[np.float64]:
    """(N, 3) of hair, without light: as hair nearby is seen to be, and the further away the more as all of it is."""
    if hair.colour is None:
        return np.broadcast_to(hair.skin, own.shape)
    typical = np.log(hair.colour)
    near = spread(np.log(own) - typical, ramp(trust, 0.5, 0.9) * hair.like, 1.5)
    limited = np.clip(near, -_HAIR_SPREAD, _HAIR_SPREAD)
    return np.exp(typical + limited)


def visible_from(
    vertices: NDArray[np.float64], regions: Regions, depths: DepthMap, triangles: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) mm by which something is before a vertex, `SLACK_MM` or less for none; (N,) mm from the nearest outline or
    edge in front."""
    projected = depths.camera.project(vertices)
    towards = (vertices @ depths.camera.rotation.T)[:, 2]
    depth = np.where(depths.triangle >= 0, depths.of(triangles, towards), -1e3)
    x, y = projected[:, 0], projected[:, 1]
    size = depth.shape[0]
    column, row = (np.clip(np.rint(v).astype(np.int64), 0, size - 1) for v in (x, y))
    lowest = minimum_filter(np.where(depths.triangle >= 0, depth, 1e3), 3)
    hidden_by = lowest[row, column] - towards
    hidden_by = (
        np.where(regions.eyes | regions.mouth, hidden_by + SLACK_MM - _SLACK_INSIDE_MM, hidden_by) / regions.unit
    )
    step = depth - grey_erosion(depth, (3, 3))
    edge = (depths.triangle >= 0) & (step < _JUMP_MM * regions.unit)
    rim = distance_transform_edt(edge) / depths.px_per_mm
    return hidden_by, map_coordinates(rim, [y, x], order=1, mode="nearest")
