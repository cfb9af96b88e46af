"""Path-traced portraits of wrinkled people who are in no model of ours, with the true normals of every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from portraits.scene import camera_of, compose, described, developed, tracing
from scipy.spatial import cKDTree

from relief.wrinkles import draw_wrinkles

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from portraits.head import IctHead

    Array = NDArray[np.float64]

__all__ = ["SPLITS", "VERSION", "trace"]

VERSION: Final = 1
"""Of the recipe, with `portraits.scene.VERSION`."""
SPLITS: Final = {"tune": (51, 6), "test": (67, 8)}
"""First number of the seeds, and how many faces there are."""
_NEAR: Final = 4.0
"""mm between a pixel's place and the nearest scored vertex of the face."""
_ZOOM: Final = 1.5
_BEHIND: Final = 4.0
"""mm of relief that no wrinkle has: there, one of the two surfaces is seen behind its own outline."""
_AREAS: Final = "nn:sh_normal,pp:position"


def trace(mi: Any, head: IctHead, seeds: tuple[int, int], size: int, samples: int) -> dict[str, Any]:
    """Portray one random person. Of each four, the last has no relief: what is found there is false.

    Args:
        mi: from `portraits.scene.load_mitsuba`.
        head: ICT's.
        seeds: of the split, and number within it.
        size: side of the picture, px.
        samples: rays for each pixel.

    Returns:
        Arrays by name: what `portraits.scene.described` says; `image` (S, S, 3) uint8 sRGB; `fine_normals` and
        `smooth_normals` (S, S, 3) float32 unit, camera frame, with and without relief; `relief` (S, S) float32 mm
        towards the viewer; `measured` (S, S) bool, where skin of the face is seen.
    """
    shape = np.random.default_rng([VERSION, *seeds])
    wrinkled = seeds[1] % 4 != 3

    def sculpt(place: Array, normals: Array) -> Array:
        return draw_wrinkles(shape, head, place, normals)

    def smoothed(place: Array, normals: Array) -> Array:
        return np.zeros(len(place))

    made = compose(mi, head, seeds, size, _ZOOM, sculpt if wrinkled else smoothed)
    smooth = compose(mi, head, seeds, size, _ZOOM, smoothed).bodies["skin"] if wrinkled else None
    camera = camera_of(mi, made.person.pose, samples)
    whole = mi.load_dict(tracing(5) | made.bodies | made.surroundings | {"camera": camera})
    linear = np.array(mi.render(whole, spp=samples, seed=seeds[1]))[..., :3].astype(np.float64)

    seen = _surface(mi, {**made.bodies, **made.surroundings}, made.person.pose)
    fine = _surface(mi, {"skin": made.bodies["skin"]}, made.person.pose)
    bare = _surface(mi, {"skin": smooth}, made.person.pose) if wrinkled else fine
    vertices = made.person.pose.to_camera(made.person.vertices)[head.scored]
    near = cKDTree(vertices).query(bare[1], distance_upper_bound=_NEAR)[0] < np.inf
    measured = near & (np.abs(seen[1] - fine[1]).max(axis=-1) < 1e-2) & (bare[0][..., 2] > 0.1)
    relief = (fine[1] - bare[1])[..., 2]
    measured &= np.abs(relief) < _BEHIND
    y, x = np.nonzero(measured)
    image = developed(made.rng, linear, np.stack([x, y], axis=1), float(made.person.tone[1]))
    return {
        "image": image,
        **described(head, made),
        "fine_normals": fine[0].astype(np.float32),
        "smooth_normals": bare[0].astype(np.float32),
        "relief": relief.astype(np.float32),
        "measured": measured,
    }


def _surface(mi: Any, bodies: dict[str, Any], pose: Any) -> tuple[Array, Array]:
    """(S, S, 3) unit normals and (S, S, 3) mm places in the camera frame, means over each pixel."""
    camera = camera_of(mi, pose, 16, "box")
    # Nothing behind is hit, or hit at a known place.
    scene = {"type": "scene", "integrator": {"type": "aov", "aovs": _AREAS}, **bodies, "camera": camera}
    values = np.array(mi.render(mi.load_dict(scene), spp=16, seed=7)).astype(np.float64)
    normals, places = values[..., -6:-3], values[..., -3:]
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9), places
