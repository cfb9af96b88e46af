"""Variants of photos: what they cost by stage, how near they are to their photo, and whether their labels are right.

    python benchmarks/dataset.py PHOTO... [--size 224] [--count 30] [--poses 30] [--backend numpy] [--no-runs] [--save]

Without photos it takes those of `photos.py`. Of each: milliseconds of one thread for its fit, its scene and a variant;
mean differences of sRGB values between photo and variant in the photo's own view, of the picture and the head; pixels
of variants that show nothing; of `--poses` random poses (yaw to 80, pitch to 25 degrees, any roll, weak or near
cameras) the share of the labels' face pixels at which the whole model, drawn from the labels alone, shows the same
triangle, and the share of that drawing's face pixels that the labels leave out, as hair covers them.

Then `faceinv dataset` makes `--count` variants of each, with labels and shards, by 2 processes, after the fits, and the
same of ten times as many photos: pictures a second from start to end, processor time, bytes of a picture, and the most
memory of all processes together. From these follows what a million photos cost, on paper.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from dataset_executors import memory_of
from photos import PHOTOS, find_photos
from report import save, table

import faceinv
from faceinv.generate import Scene, VariantConfig, Variants
from faceinv.generate.draws import own_draw, posed_face
from faceinv.generate.picture import draw_pictures
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.photo.resample import crop_square
from faceinv.render.scene import draw_faces

PROCESSES: Final = 2
MORE: Final = 10
GPU_FITS: Final = 500.0
"""Photos a second that a GPU shall fit (`results/gpu.md`): a target, not measured."""
GPU_CORES: Final = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--poses", type=int, default=30, help="of each photo, for labels")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--no-runs", action="store_true", help="leave `faceinv dataset` out")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    numba.set_num_threads(1)
    photos = arguments.photos or find_photos(PHOTOS)
    faceinv.fit(photos[0])  # kernels are compiled
    results, fits = [], []
    for photo in photos:
        start = time.process_time()
        results.append(faceinv.fit(photo))
        fits.append(time.process_time() - start)
    rows = [
        {"photo": photo.stem, "fit_ms": round(1000 * seconds)}
        | measured(result, arguments.size, arguments.count, arguments.backend)
        | labels_right(result, arguments.size, arguments.poses, number)
        for number, (result, photo, seconds) in enumerate(zip(results, photos, fits, strict=True))
    ]
    print(table(rows))
    content: dict[str, Any] = {"size": arguments.size, "variants": arguments.count, "rows": rows}
    if not arguments.no_runs:
        runs = [run(results, photos, times, arguments) for times in (1, MORE)]
        print(table(runs))
        content |= {"processes": PROCESSES, "runs": runs, "on_paper": on_paper(rows, runs, arguments.count)}
        print(json.dumps(content["on_paper"], indent=1))
    if arguments.save:
        save("dataset", content)


def labels_right(result: faceinv.FitResult, size: int, poses: int, seed: int) -> dict[str, float]:
    """Percent of face pixels: those whose triangle is right, and those that labels leave out."""
    rng = np.random.default_rng(seed)
    scene = Scene.of(result, size / 290)
    # Lashes are not drawn in variants; what they hide is not wrong.
    lashes = result.model.part("lashes")
    right = asked = shown = left_out = 0
    for _ in range(poses):
        yaw, pitch, roll = rng.uniform(-80, 80), rng.uniform(-25, 25), rng.uniform(-180, 180)
        near = float(np.exp(rng.uniform(np.log(400), np.log(2500))))
        draw = replace(own_draw(result), yaw=yaw, pitch=pitch, roll=roll, tilt=0.0)
        draw = replace(draw, distance=near if rng.random() < 0.7 else np.inf, span=float(rng.uniform(250, 360)))
        face, turn = posed_face(result, draw, size)
        labels = draw_pictures(scene, [face], size, 1, [turn])[0].labels()
        again = draw_faces(result.model, [labels.face], (size, size))[0].triangle
        same, mask = again == labels.triangle, labels.face_mask
        open_ = mask & ~((again >= 0) & lashes[again])
        right += int((same & open_).sum())
        asked += int(open_.sum())
        face_again = (again >= 0) & result.model.face_mask[again]
        shown += int(face_again.sum())
        left_out += int((face_again & ~mask).sum())
    return {"label_right": round(100 * right / asked, 3), "label_left_out": round(100 * left_out / shown, 2)}


def run(
    results: list[faceinv.FitResult], photos: list[Path], times: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """`faceinv dataset` of so many copies of all results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "results"
        folder.mkdir()
        for copy in range(times):
            for result, photo in zip(results, photos, strict=True):
                path = folder / f"{photo.stem}_{copy}.npz"
                result.save(path)
                shutil.copy(photo, path.with_suffix(photo.suffix))
                record = {"image": f"{path.stem}{photo.suffix}", "status": "success", "files": {"result": path.name}}
                path.with_suffix(".json").write_text(json.dumps(record))
        words = ["-m", "faceinv", "dataset", str(folder), "-o", str(Path(name) / "out"), "--quiet"]
        words += ["--variants", str(arguments.count), "--size", str(arguments.size), "--workers", str(PROCESSES)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *words, "--backend", arguments.backend])
        peak, stop = [0.0], threading.Event()

        def watch() -> None:
            while not stop.wait(0.2):
                peak[0] = max(peak[0], memory_of(process.pid))

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        status = process.wait()
        seconds = time.perf_counter() - start
        stop.set()
        watching.join()
        if status:
            raise SystemExit(f"faceinv dataset ended with status {status}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        size = sum(path.stat().st_size for path in (Path(name) / "out" / "shards").glob("*.tar"))
    pictures = times * len(results) * arguments.count
    return {
        "photos": times * len(results),
        "pictures": pictures,
        "seconds": round(seconds, 1),
        "pictures_per_second": round(pictures / seconds, 1),
        "processor_seconds": round(processor, 2),
        "kb_per_picture": round(size / 1000 / pictures),
        "peak_mb": round(peak[0]),
    }


def on_paper(rows: list[dict[str, Any]], runs: list[dict[str, Any]], count: int, photos: float = 1e6) -> dict[str, Any]:
    """What a million photos cost by the rates measured here; what runs take to start is left out."""
    fit = float(np.median([row["fit_ms"] for row in rows])) / 1000
    few, many = runs
    one_more = (many["processor_seconds"] - few["processor_seconds"]) / (many["pictures"] - few["pictures"])
    pictures = count * one_more
    return {
        "photos": int(photos),
        "pictures": int(photos * count),
        "core_seconds_per_photo": {"fit": round(fit, 2), "pictures": round(pictures, 2)},
        "hours_on_100_cores": round(photos * (fit + pictures) / 100 / 3600, 1),
        "terabytes": round(photos * count * many["kb_per_picture"] / 1e9, 1),
        "gpu_target": {
            "assumed_fits_per_second": GPU_FITS,
            "hours_of_fits_on_one_gpu": round(photos / GPU_FITS / 3600, 1),
            f"hours_of_pictures_on_its_{GPU_CORES}_cores": round(photos * pictures / GPU_CORES / 3600, 1),
            "measured": False,
        },
    }


def measured(result: faceinv.FitResult, size: int, count: int, backend: str) -> dict[str, Any]:
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
