"""How well are photos explained: landmark error, photometric error and the size of coefficients, photo by photo.

Landmark errors are mean distances of the 51 inner landmarks in percent of the distance between the outer eye corners.
They are measured against what the detector found, and against the `.pts` files of other networks beside a photo.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image
from report import save, table

from faceinv import FitConfig
from faceinv.fitting.fitter import Fitter
from faceinv.photo.pts import read_pts

if TYPE_CHECKING:
    from faceinv.fitting.result import FitResult

__all__ = ["PHOTOS", "find_photos", "measure", "summarise"]

PHOTOS: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
OTHERS: Final = ("mediapipe68", "faceapi")
"""Endings of landmark files of other origin, `<photo>.<ending>.pts`."""
_SUFFIXES: Final = (".jpg", ".jpeg", ".png")


def find_photos(folder: Path) -> list[Path]:
    """The pictures in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def measure(result: FitResult, photo: Path) -> dict[str, Any]:
    """The quality of one fit."""
    others = {}
    for ending in OTHERS:
        file = photo.with_name(f"{photo.stem}.{ending}.pts")
        others[f"{ending}_percent"] = _percent(result, read_pts(file)) if file.is_file() else float("nan")
    return {
        "landmark_percent": _percent(result, result.landmarks_target),
        **others,
        "rmse": result.photometric_rmse,
        "max_identity": float(np.abs(result.identity).max(initial=0.0)),
        "max_expression": float(np.abs(result.expression).max(initial=0.0)),
        "max_albedo": float(np.abs(result.albedo_coefficients).max(initial=0.0)),
        "iterations": len(result.history),
    }


def _percent(result: FitResult, target: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    gap = np.linalg.norm(result.landmarks2d - target, axis=1)[17:].mean()
    return float(100 * gap / np.linalg.norm(target[36] - target[45]))


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and largest value of every number over the photos."""
    keys = [key for key, value in rows[0].items() if isinstance(value, float | int) and not isinstance(value, bool)]
    columns = {key: np.array([row[key] for row in rows], np.float64) for key in keys}
    return {
        "mean": {key: float(np.nanmean(values)) for key, values in columns.items()},
        "worst": {key: float(np.nanmax(values)) for key, values in columns.items()},
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of photos")
    parser.add_argument("--backend", default="numpy", help="engine (default %(default)s)")
    parser.add_argument("--model", default="default", help="face model (default: the package's own)")
    parser.add_argument("--config", type=Path, help="TOML file of the fits' settings")
    parser.add_argument("--overview", type=Path, help="folder to write photos.png into: one overlay under another")
    parser.add_argument("--save", action="store_true", help="write results/photos.json beside this file")
    options = parser.parse_args()
    photos = find_photos(options.photos) if options.photos.is_dir() else []
    if not photos:
        parser.error(f"no photos in '{options.photos}'; give a folder with --photos")
    config = FitConfig.from_toml(options.config) if options.config else FitConfig()
    fitter = Fitter(options.model, options.backend, config)
    rows: list[dict[str, Any]] = []
    overlays: list[Image.Image] = []
    fitter.fit(photos[0])  # compiles what the first fit compiles, so that times are a fit's own
    for photo in photos:
        began = time.perf_counter()
        result = fitter.fit(photo)
        seconds = time.perf_counter() - began
        state = {"success": result.status.success, "status": result.status.name}
        rows.append({"photo": photo.stem, **measure(result, photo), "seconds": seconds, **state})
        if options.overview:
            overlay = result.overlay().convert("RGB")
            overlays.append(overlay.resize((1400, round(overlay.height * 1400 / overlay.width))))
    summary = summarise(rows)
    blank = {"success": all(row["success"] for row in rows), "status": ""}
    total = [{"photo": name, **{k: numbers[k] for k in numbers}, **blank} for name, numbers in summary.items()]
    print(table([{key: row[key] for key in rows[0]} for row in [*rows, *total]]))
    if options.overview:
        options.overview.mkdir(parents=True, exist_ok=True)
        sheet = Image.new("RGB", (1400, sum(picture.height for picture in overlays)), "white")
        top = 0
        for picture in overlays:
            sheet.paste(picture, (0, top))
            top += picture.height
        sheet.save(options.overview / "photos.png")
        print("wrote photos.png")
    if options.save:
        content = {
            "config": dataclasses.asdict(config),
            "backend": options.backend,
            "model": fitter.model.fingerprint,
            "summary": summary,
            "photos": rows,
        }
        print(f"saved {save('photos', content).name}")


if __name__ == "__main__":
    main()
