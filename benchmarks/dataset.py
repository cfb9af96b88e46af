"""Variants of photos by stage: what a scene costs, what a variant costs, and how near a variant is to its photo.

    python benchmarks/dataset.py PHOTO... [--size 224] [--count 30] [--backend numpy] [--save RESULTS.json]

Seconds are of the process, of one thread. Without a photo it takes the packaged one.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numba
import numpy as np

import faceinv
from faceinv.generate import Scene, VariantConfig, Variants
from faceinv.generate.draws import posed_face
from faceinv.generate.picture import draw_pictures
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.photo.resample import crop_square


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    numba.set_num_threads(1)
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as packaged:
        photos = arguments.photos or [packaged]
        results = [faceinv.fit(photo) for photo in photos]
    rows = [
        measured(result, photo.stem, arguments.size, arguments.count, arguments.backend)
        for result, photo in zip(results, photos, strict=True)
    ]
    names = list(rows[0])
    print("  ".join(f"{name:>16}" for name in names))
    for row in rows:
        print("  ".join(f"{row[name]:>16}" for name in names))
    if arguments.save:
        arguments.save.write_text(json.dumps({"size": arguments.size, "rows": rows}, indent=1) + "\n")


def measured(result: faceinv.FitResult, name: str, size: int, count: int, backend: str) -> dict[str, Any]:
    """Of one photo: seconds and differences."""
    variants = Variants([result], count=count, size=size, backend=backend, batch=1)
    variants.sample(0, 0)  # kernels are compiled
    start = time.process_time()
    Scene.of(result, size / 290, backend)
    scene = time.process_time() - start
    start = time.process_time()
    made = list(variants)
    whole = time.process_time() - start
    same = own_view(result, size)
    yaws = [abs(variant.draw.yaw) for variant in made]
    return {
        "photo": name,
        "scene_ms": round(1000 * scene),
        "variant_ms": round(1000 * whole / count, 1),
        "picture": round(same[0], 4),
        "head": round(same[1], 4),
        "undefined_px": undefined(variants, count),
        "mean_yaw": round(float(np.mean(yaws))),
    }


def undefined(variants: Variants, count: int) -> int:
    """Pixels of variants of the first photo that show neither head nor ground: before white ground, what is no head is
    bright."""
    scene, result = variants.scene(0), variants.results[0]
    white = np.ones_like(scene.ground.filled)
    bright = replace(scene, ground=replace(scene.ground, filled=white, photo=white, shorn=white))
    found = 0
    for index in range(count):
        face, turn = posed_face(result, variants.draws(0, index)[0], variants.size)
        picture = draw_pictures(bright, [face], variants.size, variants.config.samples, [turn])[0]
        least = 0.7 * (1 - picture.cover)
        found += int((~(picture.linear.min(axis=2) >= least - 1e-5)).sum())
    return found


def own_view(result: faceinv.FitResult, size: int) -> tuple[float, float]:
    """Mean differences of sRGB values between photo and variant at the same pose, expression and light: of the picture
    and of the head."""
    scene = Scene.of(result, size / 290)
    zoom = size / 290 / float(result.camera.scale)
    offset = np.full(2, (size - 1) / 2) - zoom * result.camera.project(scene.regions.pivot[None])[0, :2]
    face = replace(result.face, camera=result.camera.moved(zoom, offset))
    picture = draw_pictures(scene, [face], size, VariantConfig().samples)[0]
    assert result.photo is not None
    corner = -(0.5 + offset) / zoom + 0.5
    photo, on_photo = crop_square(srgb_to_linear(result.photo), corner[0], corner[1], size / zoom, size)
    ours, theirs = (linear_to_srgb(np.clip(light, 0, 1)) for light in (picture.linear, photo))
    apart = np.abs(ours - theirs).mean(axis=2)
    return float(apart[on_photo].mean()), float(apart[on_photo & (picture.cover > 0.99)].mean())


if __name__ == "__main__":
    main()
