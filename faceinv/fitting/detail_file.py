"""Detail in the `.npz` of a result, and back.

The window of the face is written, under keys that begin with `detail_`. Displacement and depth are float32, rounded to
1/8192 mm and 1/256 px, which compresses them to half; normals are float16, good to .04 degrees. 140,000 pixels take two
megabytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

import numpy as np

from faceinv.detail.record import Detail, DetailMaps, DetailStatus, Formulation
from faceinv.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.camera import Camera

__all__ = ["detail_fields", "read_detail"]

_PREFIX: Final = "detail_"
_STEPS: Final = {"displacement": 8192, "coarse_depth": 256}
_NORMALS: Final = ("coarse_normals", "normals")
_SMALLEST: Final = 1e-9


def detail_fields(detail: Detail) -> dict[str, Any]:
    """What the file holds of it, by key. Its history is left out, as that of the fit is."""
    maps = detail.maps
    fields: dict[str, Any] = {
        "window": np.array(detail.window),
        "mask": maps.mask,
        **{name: _rounded(getattr(maps, name), steps) for name, steps in _STEPS.items()},
        **{name: getattr(maps, name).astype(np.float16) for name in _NORMALS},
        "formulation": detail.formulation,
        "status": detail.status.name,
        "cost_names": np.array(list(detail.cost), np.str_),
        "cost_values": np.array(list(detail.cost.values()), np.float64),
        "pixel": detail.pixel,
        "colour_direction": np.zeros(0) if detail.colour_direction is None else detail.colour_direction,
        "warnings": np.array(detail.warnings, np.str_),
    }
    return {_PREFIX + name: value for name, value in fields.items()}


def read_detail(
    path: Path, stored: dict[str, NDArray[Any]], camera: Camera, image_size: tuple[int, int]
) -> Detail | None:
    """The detail that a file holds, without its history; None for a file without one.

    Args:
        path: the file, for messages.
        stored: its arrays.
        camera: the result's.
        image_size: (width, height) px of the photo.

    Raises:
        InputError: when the detail in the file is damaged.
    """
    found = {key.removeprefix(_PREFIX): value for key, value in stored.items() if key.startswith(_PREFIX)}
    if "status" not in found:
        return None
    try:
        return _detail(found, camera, image_size)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"result '{path}': its detail cannot be read ({error}); the file is damaged.") from None


def _detail(found: dict[str, NDArray[Any]], camera: Camera, image_size: tuple[int, int]) -> Detail:
    top, left, bottom, right = (int(n) for n in found["window"])
    shape, (width, height) = (bottom - top, right - left), image_size
    if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):
        raise ValueError(f"its window {top, left, bottom, right} is not in the photo")
    mask = found["mask"]
    if mask.shape != shape or mask.dtype != np.bool_:
        raise ValueError(f"its mask is {mask.dtype} of shape {mask.shape}, expected bool of {shape}")
    maps: dict[str, NDArray[np.float32]] = {}
    for name in (*_STEPS, *_NORMALS):
        values = found[name]
        expected = (*shape, 3) if name in _NORMALS else shape
        if values.shape != expected or values.dtype.kind != "f" or not np.isfinite(values[mask]).all():
            raise ValueError(f"'{name}' is {values.dtype} of shape {values.shape}, expected numbers of {expected}")
        values = values.astype(np.float32)
        if name in _NORMALS:
            length = np.linalg.norm(values, axis=2, keepdims=True)
            values = values / np.maximum(length, np.float32(_SMALLEST))
        maps[name] = np.where(mask[..., None] if name in _NORMALS else mask, values, np.float32(np.nan))
    formulation, direction = str(found["formulation"]), found["colour_direction"]
    if formulation not in get_args(Formulation) or direction.shape not in ((0,), (3,)):
        raise ValueError("its formulation or colour direction cannot be")
    names, values = found["cost_names"], found["cost_values"]
    return Detail(
        maps=DetailMaps(mask=mask, **maps),
        window=(top, left, bottom, right),
        image_size=image_size,
        scale=float(camera.scale),
        kappa=float(camera.kappa),
        formulation=cast("Formulation", formulation),
        status=DetailStatus[str(found["status"])],
        cost={str(name): float(value) for name, value in zip(names, values, strict=True)},
        pixel=float(found["pixel"]),
        colour_direction=direction.astype(np.float64) if len(direction) else None,
        warnings=tuple(str(line) for line in found["warnings"]),
    )


def _rounded(values: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    rounded: NDArray[np.float32] = np.round(values * np.float32(steps)) / np.float32(steps)
    return rounded
