"""The face of a photo as a dense mesh: a vertex for each pixel that has relief.

| file | unit | what it holds |
| --- | --- | --- |
| `.ply` | millimetres | binary: positions, normals, the photo's 8-bit sRGB colours |
| `.obj` | millimetres | the same as text, colours behind the positions, as most programs read them |

Axes are those of the model, as of all meshes that faceinv writes (`faceinv.output.export`), so the mesh lies on the
model's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.errors import InputError
from faceinv.files import write_whole
from faceinv.output.face_glb import AXES
from faceinv.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Detail
    from faceinv.face.camera import Camera

__all__ = ["SUFFIXES", "ReliefMesh", "relief_mesh", "write_relief_mesh"]

SUFFIXES: Final = (".ply", ".obj")

_MOST: Final = 300_000
"""Vertices, unless a step is given."""
_JUMP_MM: Final = 6.0
"""Between pixels whose depths differ by more, the surface is torn: one of them hides the other."""


@dataclass(frozen=True, eq=False)
class ReliefMesh:
    """A surface of V vertices."""

    vertices: NDArray[np.float32]
    """(V, 3) mm, model space."""
    normals: NDArray[np.float32]
    """(V, 3) unit, model space, with relief."""
    colours: NDArray[np.uint8]
    """(V, 3) sRGB; grey without a photo."""
    triangles: NDArray[np.int32]
    """(T, 3) counter-clockwise from outside."""
    step: int
    """Pixels of the photo between neighbours."""


def relief_mesh(
    detail: Detail, camera: Camera, photo: NDArray[np.float32] | None = None, step: int | None = None
) -> ReliefMesh:
    """The pixels' grid as a surface.

    Args:
        detail: with relief.
        camera: that of the face, in the frame of the photo.
        photo: (H, W, 3) sRGB-encoded in [0, 1].
        step: take every so manieth pixel; None for the smallest step that gives at most 300,000 vertices.

    Raises:
        InputError: for a step below 1, or a detail without any pixel.
    """
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 1):
        raise InputError(f"a mesh of every {step!r}th pixel; expected a whole number of at least 1.")
    maps = detail.maps
    if not maps.mask.any():
        raise InputError(f"there is no relief to make a mesh of. {detail.status.value}")
    if step is None:
        step = max(1, int(np.ceil(np.sqrt(int(maps.mask.sum()) / _MOST))))
    every = (slice(None, None, step), slice(None, None, step))
    top, left, bottom, right = detail.window
    mask = maps.mask[every]
    depth = detail.depth[top:bottom, left:right][every]
    normals = maps.normals[every]
    rows, columns = (axis * step for axis in np.nonzero(mask))
    image = np.stack([columns + left, rows + top, depth[mask]], axis=1)
    colours = np.full((len(image), 3), 204, np.uint8)
    if photo is not None:
        colours = np.rint(255 * np.clip(photo[rows + top, columns + left], 0, 1)).astype(np.uint8)
    return ReliefMesh(
        vertices=camera.unproject(image).astype(np.float32),
        normals=(normals[mask] @ camera.rotation).astype(np.float32),
        colours=colours,
        triangles=_triangles(mask, depth, _JUMP_MM * step**0.5 * detail.scale),
        step=int(step),
    )


def write_relief_mesh(path: Path, mesh: ReliefMesh) -> None:
    """Write a `.ply` or `.obj`, whole or not at all.

    Raises:
        InputError: for another suffix, or a place that cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"'{path.name}': dense meshes are written as {' or '.join(SUFFIXES)}.")
    content = _ply(mesh) if suffix == ".ply" else _obj(mesh)
    with write_whole(path) as temporary:
        temporary.write_bytes(content)


def _triangles(mask: NDArray[np.bool_], depth: NDArray[np.float32], jump: float) -> NDArray[np.int32]:
    """Two for each square of four pixels, split along the diagonal over which depth changes less."""
    index = np.cumsum(mask.ravel()).reshape(mask.shape) - 1
    corners = [(slice(None, -1), slice(None, -1)), (slice(1, None), slice(None, -1))]
    corners += [(slice(1, None), slice(1, None)), (slice(None, -1), slice(1, None))]
    known = np.logical_and.reduce([mask[corner] for corner in corners])
    z = np.stack([depth[corner][known] for corner in corners])
    whole = np.ptp(z, axis=0) <= jump
    a, b, c, d = (index[corner][known][whole] for corner in corners)
    z = z[:, whole]
    straight = np.abs(z[0] - z[2]) <= np.abs(z[1] - z[3])
    first = np.where(straight, [a, b, c], [a, b, d]).T
    second = np.where(straight, [a, c, d], [b, c, d]).T
    triangles: NDArray[np.int32] = np.stack([first, second], axis=1).reshape(-1, 3).astype(np.int32)
    return triangles


def _ply(mesh: ReliefMesh) -> bytes:
    names = ("x", "y", "z", "nx", "ny", "nz")
    vertex = np.empty(len(mesh.vertices), [(n, "<f4") for n in names] + [(n, "u1") for n in "rgb"])
    for k, axis in enumerate("xyz"):
        vertex[axis], vertex["n" + axis] = mesh.vertices[:, k], mesh.normals[:, k]
    for k, channel in enumerate("rgb"):
        vertex[channel] = mesh.colours[:, k]
    face = np.empty(len(mesh.triangles), [("count", "u1"), ("index", "<i4", 3)])
    face["count"], face["index"] = 3, mesh.triangles
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in _comments(mesh)),
        f"element vertex {len(vertex)}",
        *(f"property float {name}" for name in names),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        f"element face {len(face)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(header).encode("ascii") + vertex.tobytes() + face.tobytes()


def _obj(mesh: ReliefMesh) -> bytes:
    numbers = mesh.triangles + 1
    vertices = np.concatenate([mesh.vertices, mesh.colours / 255.0], axis=1)
    parts = [
        *(f"# {line}\n" for line in _comments(mesh)),
        "o face\n",
        _lines("v %.4f %.4f %.4f %.4f %.4f %.4f", vertices),
        _lines("vn %.4f %.4f %.4f", mesh.normals),
        _lines("f %d//%d %d//%d %d//%d", np.stack([numbers, numbers], axis=2).reshape(-1, 6)),
    ]
    return "".join(parts).encode("ascii")


def _comments(mesh: ReliefMesh) -> list[str]:
    return [
        f"faceinv {__version__}",
        f"unit: millimetre; axes: {AXES}",
        f"a vertex for every pixel of the photo that shows skin of the face, step {mesh.step} px; colours: photo, sRGB",
    ]


def _lines(pattern: str, rows: NDArray[Any]) -> str:
    return ((pattern + "\n") * len(rows)) % tuple(rows.ravel().tolist())
