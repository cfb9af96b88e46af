"""Relief in the texture: how well normals come back from it, and how quickly a face is drawn with another's.

    python benchmarks/relief_texture.py [PHOTO...] [--size 256] [--faces 40]

For each photo (the packaged one by default): the face is fitted and its detail found; the detail is baked at each size
of texture and drawn back in the photo's frame. `r` is the correlation of the changes of normals, drawn back against
found, over skin that is seen at less than 63 degrees; `gain` the slope; `*` marks the size that is chosen. Then random
faces of the model are drawn with the relief: milliseconds of one face, all of it (surface, rasteriser, normals, relief)
and without the surface, by the clock and by the processor.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion

import faceinv
from faceinv.detail.relief_map import SIZES, ReliefMap, texture_size
from faceinv.detail.transfer import drape, relit
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.state import Face

_STEEPEST = 0.45
_log = logging.getLogger(__name__)


def main() -> None:
    """Print what the module says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--size", type=int, default=256, help="px of the drawings")
    parser.add_argument("--faces", type=int, default=40)
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    photos = given.photos or [Path(str(resources.files("faceinv") / "data" / "sample.jpg"))]
    fitter = faceinv.Fitter(config={"detail": True})
    for photo in photos:
        result = fitter.fit(photo)
        if result.detail is None or not result.detail.status.success:
            _log.info("%s: no detail", photo.name)
            continue
        _log.info("%s: %d px of skin", photo.name, int(result.detail.mask.sum()))
        _round_trips(result)
        _speed(result, given.size, given.faces)


def _round_trips(result: faceinv.FitResult) -> None:
    detail, face = result.detail, result.face
    assert detail is not None
    width, height = result.image_size
    seen = binary_erosion(detail.mask, iterations=int(float(face.camera.scale)) + 2)
    seen &= np.nan_to_num(detail.coarse_normals[..., 2]) > _STEEPEST
    wanted = (detail.normals - detail.coarse_normals)[seen]
    chosen = texture_size(result.model, face)
    for size in SIZES:
        began = time.process_time()
        relief = ReliefMap.of(result.model, face, detail, size)
        took = time.process_time() - began
        back = (drape(relief, result.model, face, (height, width)).normals - detail.coarse_normals)[seen]
        r = float(np.corrcoef(wanted.ravel(), back.ravel())[0, 1])
        gain = float((wanted * back).sum() / (wanted**2).sum())
        mark = " *" if size == chosen else ""
        _log.info("  %d texels: r %.4f, gain %.3f, baked in %.2f s of the processor%s", size, r, gain, took, mark)


def _speed(result: faceinv.FitResult, size: int, count: int) -> None:
    model, rng = result.model, np.random.default_rng(0)
    relief = result.relief().without_rims(model)
    faces = []
    for _ in range(count + 1):
        pitch, yaw = rng.uniform(-0.3, 0.3), rng.uniform(-0.6, 0.6)
        camera = Camera(
            size / 230, rotation_from_euler(pitch, yaw, 0.0), np.full(2, size / 2), 1 / 900, np.full(2, size / 2)
        )
        light = result.lighting
        identity, expression = rng.normal(0, 0.7, model.identity_count), rng.normal(0, 0.5, model.expression_count)
        faces.append(Face(identity, expression, result.face.albedo, camera, light))
    drape(relief, model, faces[0], (size, size))
    # The surface of the last face is remembered, so that drawing it again is the relief and the rasteriser alone.
    for name, prepare in (("whole", False), ("surface known", True)):
        clock, processor = [], []
        for face in faces[1:]:
            if prepare:
                drape(relief, model, replace(face), (size, size))
            began = time.perf_counter(), time.process_time()
            draped = drape(relief, model, face, (size, size))
            clock.append(time.perf_counter() - began[0])
            processor.append(time.process_time() - began[1])
        times = (1e3 * statistics.median(values) for values in (clock, processor))
        _log.info("  a face at %d px, %s: %.1f ms by the clock, %.1f ms of the processor", size, name, *times)
    start = time.process_time()
    relit(draped)
    _log.info("  lighting it: %.1f ms of the processor", 1e3 * (time.process_time() - start))


if __name__ == "__main__":
    main()
