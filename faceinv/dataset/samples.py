"""One picture of a data set as files: the image, an `.npz` of what is known of each pixel, a JSON of all else.

The bytes follow from the variant alone: no times, no names of machines, a fixed order.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.detail.relief_map import BANDS
from faceinv.generate.labels import paper_vector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from faceinv.dataset.settings import DatasetSettings
    from faceinv.face.model import MorphableModel
    from faceinv.generate.variants import Variant

__all__ = ["npz_bytes", "sample_files", "sample_key"]

_TIME: Final = (1980, 1, 1, 0, 0, 0)
_LEVEL: Final = 1
"""Of compression: higher ones cost more time than drawing does, for a few percent."""


def sample_key(photo: int, index: int, frame: int, pairs: bool) -> str:
    """What the names of a picture's files begin with."""
    return f"{photo:09d}_{index:05d}" + (f"_{frame}" if pairs else "")


def sample_files(variant: Variant, model: MorphableModel, name: str, settings: DatasetSettings) -> dict[str, bytes]:
    """The files of a picture by suffix, in the order in which they are written.

    Args:
        variant: the picture and its labels.
        model: the face model.
        name: of the photo.
        settings: of the data set.
    """
    image = ("jpg" if settings.image == "jpeg" else "png", _image(variant.image, settings))
    record = json.dumps(_record(variant, name), allow_nan=False, separators=(",", ":")).encode("ascii")
    return {image[0]: image[1], "json": record, "npz": npz_bytes(_arrays(variant, model, settings))}


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as `numpy.savez_compressed` writes them, faster, and the same whenever they are the same."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, array in arrays.items():
            one = io.BytesIO()
            np.lib.format.write_array(one, np.asarray(array, order="C"), allow_pickle=False)
            information = zipfile.ZipInfo(f"{name}.npy", _TIME)
            information.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(information, one.getvalue(), compresslevel=_LEVEL)
    return stream.getvalue()


def _image(pixels: NDArray[np.uint8], settings: DatasetSettings) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    picture = Image.fromarray(pixels)
    if settings.image == "jpeg":
        picture.save(stream, "JPEG", quality=settings.quality, subsampling=0)
    else:
        picture.save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def _arrays(variant: Variant, model: MorphableModel, settings: DatasetSettings) -> dict[str, NDArray[Any]]:
    labels = variant.labels
    face, camera = labels.face, labels.face.camera
    arrays: dict[str, NDArray[Any]] = {
        "landmarks": labels.landmarks.astype(np.float32),
        "landmarks3d": labels.landmarks3d.astype(np.float32),
        "landmark_visible": labels.landmark_visible,
        "identity": face.identity,
        "expression": face.expression,
        "albedo": face.albedo,
        "lighting": face.lighting,
        "scale": np.asarray(camera.scale, np.float64),
        "rotation": camera.rotation,
        "translation": np.asarray(camera.translation),
        "kappa": np.asarray(camera.kappa, np.float64),
        "principal_point": np.asarray(camera.centre),
        "parameters": paper_vector(face),
    }
    maps = settings.maps
    for name in ("triangle", "depth", "uv", "face_mask", "skin_mask"):
        if name in maps:
            arrays[name] = getattr(labels, name)
    for name in ("barycentric", "normal"):  # 11 bits are .03 degrees, or a hundredth of a pixel
        if name in maps:
            arrays[name] = getattr(labels, name).astype(np.float16)
    if "pncc" in maps:
        arrays["pncc"] = labels.pncc(model).astype(np.float16)
    if "displacement" in maps and labels.displacement is not None:
        arrays["displacement"] = labels.displacement.astype(np.float16)
    if "vertices" in maps:
        arrays["vertices"] = np.column_stack([labels.vertices_xy, labels.vertices_depth])
    if variant.previous_pncc is not None:
        arrays["previous_pncc"] = variant.previous_pncc.astype(np.float16)
    return arrays


def _record(variant: Variant, name: str) -> dict[str, Any]:
    """All that fits a row of the index."""
    labels, draw = variant.labels, variant.draw
    face, camera = labels.face, labels.face.camera
    pitch, yaw, roll = (float(angle) for angle in labels.euler)
    strengths = dict(zip(BANDS, draw.relief_strengths, strict=True))
    return {
        "source": name.encode("utf-8", "backslashreplace").decode("utf-8"),
        "photo": variant.photo,
        "kind": variant.kind,
        "seed": variant.seed,
        "index": variant.index,
        "frame": variant.frame,
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "scale": float(camera.scale),
        "rotation": _list(camera.rotation),
        "translation": _list(camera.translation),
        "kappa": float(np.asarray(camera.kappa)),
        "principal_point": _list(camera.centre),
        "distance_mm": None if np.isinf(draw.distance) else draw.distance,
        "span_mm": draw.span,
        "body_turn": float(labels.body_turn),
        "face_share": float(labels.face_mask.mean()),
        "skin_share": float(labels.skin_mask.mean()),
        "visible_landmarks": int(labels.landmark_visible.sum()),
        "expression_source": draw.expression_source,
        "lighting_source": draw.lighting_source,
        "relief_source": draw.relief_source,
        **{f"relief_{band}": float(value) for band, value in strengths.items()},
        "identity": _list(face.identity),
        "expression": _list(face.expression),
        "albedo": _list(face.albedo),
        "lighting": _list(face.lighting),
        "landmarks": _list(labels.landmarks),
        "landmark_visible": [bool(one) for one in labels.landmark_visible],
    }


def _list(values: Any) -> list[float]:
    return [float(value) for value in np.asarray(values, np.float64).ravel()]
