"""The files that a result with detail has beside the others, and what its JSON says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from faceinv.detail.record import Detail
    from faceinv.detail.relief_map import ReliefMap
    from faceinv.fitting.result import FitResult

__all__ = ["DETAIL_FILES", "detail_record", "write_detail_files"]

DETAIL_FILES: Final = {
    "normals": "_normals.png",
    "depth": "_depth.png",
    "displacement": "_displacement.png",
    "dense_mesh": "_dense.ply",
}
"""By kind, what a result's stem is followed by."""


def write_detail_files(
    result: FitResult, folder: Path, stem: str, step: int | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write the pictures and the dense mesh of a result's detail, each whole or not at all.

    Where there is no relief none of them is written.

    Args:
        result: with its photo and detail.
        folder: made when it is missing.
        stem: what the files' names begin with.
        step: pixels between vertices of the mesh; None for the smallest that gives at most 300,000.

    Returns:
        what the JSON says of the detail, and the files' names by kind.

    Raises:
        InputError: when a file cannot be written.
    """
    from PIL import Image

    from faceinv.output.picture import save_image
    from faceinv.output.relief_mesh import relief_mesh, write_relief_mesh
    from faceinv.output.relief_pictures import depth_picture, displacement_picture, normals_picture

    detail = result.detail
    assert detail is not None
    if not detail.status.success:
        return detail_record(result, detail), {}
    paths = {kind: folder / f"{stem}{suffix}" for kind, suffix in DETAIL_FILES.items()}
    relief = result.relief()
    depth, displacement = depth_picture(detail), displacement_picture(relief)
    mesh = relief_mesh(detail, result.camera, result.photo, step)
    save_image(paths["normals"], normals_picture(detail))
    save_image(paths["depth"], Image.fromarray(depth.values))
    save_image(paths["displacement"], Image.fromarray(displacement.values))
    write_relief_mesh(paths["dense_mesh"], mesh)
    record = {
        **detail_record(result, detail),
        "depth_image": {**depth.scale(), "outside": 0},
        "displacement_image": {**displacement.scale(), "texels": relief.size, **_reach(relief)},
        "dense_mesh": {"vertices": len(mesh.vertices), "triangles": len(mesh.triangles), "step_px": mesh.step},
    }
    return record, {kind: path.name for kind, path in paths.items()}


def detail_record(result: FitResult, detail: Detail) -> dict[str, Any]:
    """What the JSON says of a detail: how it was found, and how large it is."""
    maps = detail.maps
    relief = maps.displacement[maps.mask]
    seen = _skin_pixels(result, detail)
    return {
        "status": detail.status.name.lower(),
        "message": detail.status.value,
        "success": detail.status.success,
        "warnings": list(detail.warnings),
        "formulation": detail.formulation,
        "iterations": detail.iterations,
        "cost": dict(detail.cost),
        "pixel_mm": detail.pixel,
        "colour_direction": None if detail.colour_direction is None else detail.colour_direction.tolist(),
        "pixels": int(maps.mask.sum()),
        "share_of_face": min(1.0, float(maps.mask.sum()) / seen) if seen else 0.0,
        "displacement_mm": {
            "least": float(relief.min()),
            "most": float(relief.max()),
            "rms": float(np.sqrt(np.mean(relief.astype(np.float64) ** 2))),
        }
        if len(relief)
        else None,
    }


def _reach(relief: ReliefMap) -> dict[str, float]:
    return {"least_mm": float(relief.offset.min()), "most_mm": float(relief.offset.max())}


def _skin_pixels(result: FitResult, detail: Detail) -> int:
    """How many pixels of the detail's window show skin of the fitted face, whatever stands before it."""
    from dataclasses import replace

    from faceinv.render.scene import draw_faces

    top, left, bottom, right = detail.window
    if bottom <= top or right <= left:
        return 0
    face = replace(result.face, camera=result.camera.moved(1.0, (-left, -top)))
    scene = draw_faces(result.model, [face], (bottom - top, right - left), result.shading)[0]
    return int((scene.covered & result.model.face_mask[scene.triangle]).sum())
