"""The photos of a folder in batches, and a table of what was found. One bad photo does not cost the others.

    python examples/folder.py FOLDER [TABLE.csv [ENGINE]]

`faceinv fit FOLDER` does more: a process for each core, files for each photo, and a stopped run goes on.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import faceinv
from faceinv.face.camera import euler_angles

SUFFIXES = (".jpg", ".jpeg", ".png")
TOGETHER = 32  # photos that the cores share, or a GPU has as one batch
COLUMNS = ("photo", "status", "pitch", "yaw", "roll", "landmark_error", "photometric_rmse")


def main(folder: Path, table: Path, backend: str = "numpy") -> None:
    """Fit the largest face of every photo and write one row for each."""
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    fitter = faceinv.Fitter(backend=backend)  # one for all: the model and the engine are loaded once
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for first in range(0, len(photos), TOGETHER):
            batch = photos[first : first + TOGETHER]
            for photo, result in zip(batch, fitter.fit_batch(batch), strict=True):
                if isinstance(result, faceinv.FaceinvError):
                    writer.writerow([photo.name, result])
                    continue
                degrees = [round(math.degrees(angle), 1) for angle in euler_angles(result.camera.rotation)]
                errors = round(result.landmark_error, 4), round(result.photometric_rmse, 4)
                writer.writerow([photo.name, result.status.value, *degrees, *errors])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python folder.py FOLDER [TABLE.csv [ENGINE]]")
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "faces.csv"), *sys.argv[3:4])
