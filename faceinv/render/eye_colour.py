"""What colour a person's eyes are, from the photo.

Few models know of eye colours, and none is told by landmarks. But where the lids are open the photo shows iris and
sclera: the pixels in which the fitted head shows an eyeball. First it is found where the eyes look (both alike), by how
well a dark disc of the iris's size, somewhere on the eyeballs, explains what is seen; the lids' shade, which grows
upwards, is taken off first. Then the colours inside and outside of it, without the darkest (pupil, lashes, shade) and
the brightest (glints), are divided by the fitted light that falls there. A photo in which the disc is not told from
what is around it, since eyes are closed, hidden or too small, says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.face.eyes import Eyeball, eye_centre, eyeballs_of
from faceinv.face.lighting import sh_basis
from faceinv.face.self_shadow import shadows
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.render.raster import rasterize_triangles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["EyeColours", "albedo_with_eyes", "eye_colours", "with_eye_colours"]

_LARGEST_IRIS_PX: Final = 24.0
"""The radius of an iris to which photos are reduced: finer detail says nothing about a colour."""
_SMALLEST_IRIS_PX: Final = 2.0
_FEWEST_PIXELS: Final = 12
_YAW, _PITCH = np.radians(np.arange(-28.0, 29.0, 4.0)), np.radians(np.arange(-16.0, 17.0, 4.0))
"""Where eyes may look, from straight ahead."""
_USUAL: Final = np.radians((18.0, 12.0))
"""How far eyes look aside and up or down, one standard deviation."""
_CERTAIN: Final = 0.12
"""The least share of the variance that the disc must explain, beyond what a usual gaze is worth."""
_INSIDE: Final = (1.5, 0.85)
"""The part of an iris whose colour counts: from this multiple of the pupil to this share of the iris."""
_AROUND: Final = (1.2, 2.6)
_IRIS_SHARE, _SCLERA_SHARE = (0.25, 0.65), (0.5, 0.85)
"""Which pixels count, of those ordered by brightness."""
_IRIS_RANGE: Final = (0.012, 0.30)
"""Reflectances (luminance) of irises, from nearly black to pale grey."""
_SCLERA_TRUST: Final = 0.5
"""The sclera is white, and what little is seen of it lies in the lids' shade: so much of the difference counts."""
_SCLERA_GAIN: Final = (0.6, 1.15)
_SHADE_TRUST, _SHADE = 0.7, (0.4, 1.0)
"""The same of the light on the iris, and within which range."""
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True, eq=False)
class EyeColours:
    """Linear reflectances, and where the eyes look."""

    iris: NDArray[np.float64]
    """(3,) RGB between pupil and limbus."""
    sclera: NDArray[np.float64]
    """(3,) RGB."""
    gaze: tuple[float, float]
    """Yaw to the image's right, and pitch upwards, radians from the model's own gaze."""
    shade: float
    """How much of the fitted light reaches the eyes, by the sclera's brightness; lids and brows keep off the rest."""
    pixels: int
    """How many of the photo's pixels the iris was seen in."""


def albedo_with_eyes(model: MorphableModel, face: Face, photo: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """(N, 3) reflectance in the model's albedo space, not clipped: the face's, with eyes as the photo shows them.

    Args:
        model: the model; one without eyes has its own albedo.
        face: the face, in the frame of the photo.
        photo: (H, W, 3) sRGB-encoded in [0, 1]; None for the model's own eyes.
    """
    albedo = face.vertex_albedo(model)
    colours = None if photo is None else eye_colours(model, face, photo)
    return albedo if colours is None else with_eye_colours(model, albedo, colours)


def with_eye_colours(model: MorphableModel, albedo: NDArray[np.float64], colours: EyeColours) -> NDArray[np.float64]:
    """An albedo (N, 3) whose eyes have other colours; what the model paints in them, such as streaks and the dark rim
    of the iris, stays."""
    linear = model.albedo_space == "linear"
    result = albedo.copy()
    for eye in eyeballs_of(model):
        own = result[eye.vertices] if linear else srgb_to_linear(np.clip(result[eye.vertices], 0, 1))
        iris = (eye.angle > eye.pupil) & (eye.angle <= eye.iris)
        white = eye.angle > eye.iris
        usual_iris, usual_sclera = _usual(eye, own)
        own[iris] *= colours.iris / usual_iris
        own[white] *= colours.sclera / usual_sclera
        result[eye.vertices] = own if linear else linear_to_srgb(np.clip(own, 0, 1))
    return result


def eye_colours(model: MorphableModel, face: Face, photo: NDArray[np.float32]) -> EyeColours | None:
    """The colours of the eyes in a photo; None where it does not show them, or the model has no eyes.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        photo: (H, W, 3) sRGB-encoded in [0, 1].
    """
    eyes = eyeballs_of(model)
    if not eyes:
        return None
    seen = [view for eye in eyes if (view := _seen(model, face, photo, eye)) is not None]
    if not seen:
        return None
    iris_size = float(np.mean([np.radians(view.eye.iris) for view in seen]))
    found = _gaze(seen, iris_size)
    if found is None:
        return None
    yaw, pitch = found
    inside, around = [], []
    for view in seen:
        angle = np.degrees(np.arccos(np.clip(view.directions @ _turned(view.eye.gaze, yaw, pitch), -1, 1)))
        low, high = max(_INSIDE[0] * view.eye.pupil, 0.3 * view.eye.iris), _INSIDE[1] * view.eye.iris
        inside.append(view.reflectance[(angle > low) & (angle < high)])
        around.append(view.reflectance[(angle > _AROUND[0] * view.eye.iris) & (angle < _AROUND[1] * view.eye.iris)])
    irises, whites = np.concatenate(inside), np.concatenate(around)
    if len(irises) < _FEWEST_PIXELS:
        return None
    iris = _middle(irises, _IRIS_SHARE)
    usual = np.mean([_usual(eye, _linear_albedo(model, face, eye))[1] for eye in eyes], axis=0)
    sclera, shade = usual, 1.0
    if len(whites) >= _FEWEST_PIXELS:
        ratio = np.maximum(_middle(whites, _SCLERA_SHARE), 1e-3) / usual
        sclera = usual * np.clip(ratio**_SCLERA_TRUST, *_SCLERA_GAIN)
        # What the sclera lacks, by lids and brows that keep light off, the iris lacks too.
        shade = float(np.clip(float(ratio @ _LUMINANCE) ** _SHADE_TRUST, *_SHADE))
        iris = iris / shade
    bright = float(iris @ _LUMINANCE)
    iris = np.maximum(iris * np.clip(bright, *_IRIS_RANGE) / max(bright, 1e-9), _IRIS_RANGE[0] / 3)
    return EyeColours(iris, sclera, (yaw, pitch), shade, len(irises))


@dataclass(frozen=True, eq=False)
class _View:
    """The pixels in which a photo shows an eyeball."""

    eye: Eyeball
    directions: NDArray[np.float64]
    """(M, 3) unit, model space: from the eye's centre to what each pixel shows."""
    light: NDArray[np.float64]
    """(M, 3) linear: what the photo shows."""
    reflectance: NDArray[np.float64]
    """(M, 3) that over the fitted light."""


def _seen(model: MorphableModel, face: Face, photo: NDArray[np.float32], eye: Eyeball) -> _View | None:
    from scipy.ndimage import binary_erosion

    vertices = _surface(model, face, eye.around)
    surface = vertices[np.searchsorted(eye.around, eye.vertices)]
    centre = eye_centre(surface)
    projected = face.camera.project(surface)[:, :2]
    iris_px = float(np.ptp(projected[:, 0])) / 2 * np.sin(np.radians(eye.iris))
    if not iris_px >= _SMALLEST_IRIS_PX:
        return None
    zoom = min(1.0, _LARGEST_IRIS_PX / iris_px)
    low, high = np.floor(projected.min(axis=0)) - 2, np.ceil(projected.max(axis=0)) + 2
    width, height = (int(n) for n in np.ceil((high - low) * zoom) + 1)
    window = face.camera.moved(zoom, tuple(-low * zoom)).project(vertices)
    triangle, weights = rasterize_triangles(window[:, :2], window[:, 2], eye.triangles, (height, width))
    visible = (triangle >= 0) & eye.own[triangle]
    # Off the lids' edges, where the fit may be off and lashes are.
    visible = binary_erosion(visible, iterations=max(1, round(0.12 * iris_px * zoom)))
    if visible.sum() < _FEWEST_PIXELS:
        return None
    row, column = np.nonzero(visible)
    place = np.stack([column, row], axis=1) / zoom + low
    inside = ((place >= 0) & (place <= np.array(photo.shape[1::-1]) - 1)).all(axis=1)
    if inside.sum() < _FEWEST_PIXELS:
        return None
    row, column, place = row[inside], column[inside], place[inside]
    corners, mixed = eye.triangles[triangle[row, column]], weights[row, column]

    def at_pixels(values: NDArray[Any]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = np.einsum("mk,mkd->md", mixed, np.asarray(values, np.float64)[corners])
        return result

    directions = at_pixels(vertices) - centre
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    basis = sh_basis(directions @ face.camera.rotation.T)
    if model.occlusion is not None:
        basis = basis - shadows(at_pixels(model.occlusion[eye.around]), face.camera.rotation)
    fallen = basis @ face.lighting
    fallen = np.maximum(fallen, 0.15 * np.median(fallen, axis=0))
    colours = _sampled(photo, place, zoom)
    if not (np.median(fallen, axis=0) > 1e-3).all():
        return None
    if model.albedo_space == "srgb":  # the fit's light is one of encoded colours
        reflectance = srgb_to_linear(np.clip(linear_to_srgb(colours) / fallen, 0, 1))
    else:
        reflectance = colours / fallen
    return _View(eye, directions, colours, reflectance)


def _surface(model: MorphableModel, face: Face, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """(A, 3) mm: some of the face's vertices."""
    identity = model.identity_basis[chosen].astype(np.float64) @ face.identity
    surface: NDArray[np.float64] = (
        model.mean[chosen] + identity + model.expression_basis[chosen].astype(np.float64) @ face.expression
    )
    return surface


def _sampled(photo: NDArray[np.float32], place: NDArray[np.float64], zoom: float) -> NDArray[np.float64]:
    """(M, 3) linear colours around places (M, 2) px, averaged over a pixel of the zoomed picture."""
    from scipy.ndimage import map_coordinates, uniform_filter

    size = max(1, round(1 / zoom))
    low = np.maximum(np.floor(place.min(axis=0)).astype(int) - size, 0)
    high = np.ceil(place.max(axis=0)).astype(int) + size + 1
    window = srgb_to_linear(np.clip(photo[low[1] : high[1], low[0] : high[0]].astype(np.float64), 0, 1))
    if size > 1:
        window = uniform_filter(window, (size, size, 0), mode="nearest")
    where = (place - low)[:, ::-1].T
    return np.stack([map_coordinates(window[..., c], where, order=1, mode="nearest") for c in range(3)], axis=1)


def _gaze(seen: list[_View], iris: float) -> tuple[float, float] | None:
    """Yaw and pitch at which a disc of a radius (radians) explains best which pixels are dark."""
    darkness, directions, home, trend = [], [], [], []
    for number, view in enumerate(seen):
        # In each channel: the iris of a brown eye is told from the white by blue, that of a blue eye by red.
        darkness.append(-np.log(np.maximum(view.light, 2e-3)))
        directions.append(view.directions)
        home.append(np.full(len(view.light), number))
        own = np.zeros((len(view.light), 2 * len(seen)))
        own[:, 2 * number], own[:, 2 * number + 1] = 1.0, view.directions[:, 1]
        trend.append(own)
    values, points, eye = np.concatenate(darkness), np.concatenate(directions), np.concatenate(home)
    basis = np.linalg.qr(np.concatenate(trend))[0]
    values = values - basis @ (basis.T @ values)
    spread = (values**2).sum(axis=0)
    best, found = _CERTAIN, None
    for yaw in _YAW:
        for pitch in _PITCH:
            centres = np.stack([_turned(view.eye.gaze, yaw, pitch) for view in seen])
            disc = ((points * centres[eye]).sum(axis=1) > np.cos(iris)).astype(np.float64)
            if not _FEWEST_PIXELS <= disc.sum() <= len(disc) - _FEWEST_PIXELS:
                continue
            disc -= basis @ (basis.T @ disc)
            along = disc @ values
            explained = float((np.where(along > 0, along, 0) ** 2 / np.maximum(spread, 1e-12)).mean() / (disc @ disc))
            score = explained - 0.05 * ((yaw / _USUAL[0]) ** 2 + (pitch / _USUAL[1]) ** 2)
            if score > best:
                best, found = score, (float(yaw), float(pitch))
    return found


def _turned(gaze: NDArray[np.float64], yaw: float, pitch: float) -> NDArray[np.float64]:
    """A gaze (3,) turned to the image's right and upwards."""
    from faceinv.face.camera import rotation_from_euler

    turned: NDArray[np.float64] = rotation_from_euler(-pitch, yaw, 0.0) @ gaze
    return turned


def _middle(colours: NDArray[np.float64], share: tuple[float, float]) -> NDArray[np.float64]:
    """(3,) the mean of those between two quantiles of brightness."""
    order = np.argsort(colours @ _LUMINANCE, kind="stable")
    low, high = (round(part * len(order)) for part in share)
    mean: NDArray[np.float64] = colours[order[low : max(high, low + 1)]].mean(axis=0)
    return mean


def _usual(eye: Eyeball, albedo: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The model's own iris and sclera (3,) each, of an eye's linear albedo (M, 3), where photos are looked at."""
    low, high = max(_INSIDE[0] * eye.pupil, 0.3 * eye.iris), _INSIDE[1] * eye.iris
    iris = albedo[(eye.angle > low) & (eye.angle < high)]
    if not len(iris):
        iris = albedo[(eye.angle > eye.pupil) & (eye.angle <= eye.iris)]
    white = albedo[(eye.angle > _AROUND[0] * eye.iris) & (eye.angle < _AROUND[1] * eye.iris)]
    return np.maximum(iris.mean(axis=0), 1e-3), np.maximum(white.mean(axis=0), 1e-3)


def _linear_albedo(model: MorphableModel, face: Face, eye: Eyeball) -> NDArray[np.float64]:
    basis = model.albedo_basis[eye.vertices].astype(np.float64)
    albedo: NDArray[np.float64] = model.mean_albedo[eye.vertices] + basis @ face.albedo
    return albedo if model.albedo_space == "linear" else srgb_to_linear(np.clip(albedo, 0, 1))
