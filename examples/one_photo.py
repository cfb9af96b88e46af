"""One photo in, a 3D face out: numbers, files, and the same face with another pose and another smile.

python examples/one_photo.py [PHOTO] [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np

import faceinv
from faceinv.face.camera import rotation_from_euler
from faceinv.output.picture import save_image
from faceinv.render.scene import draw_faces


def main(photo: str, folder: Path) -> None:
    """Fit a photo and write what there is to see."""
    result = faceinv.fit(photo)
    print(result.status.value)
    print(f"landmarks off by {result.landmark_error:.1%} of the eye distance")
    print(f"nose tip: {np.round(result.landmarks2d[30], 1)} px of the photo, {np.round(result.landmarks3d[30], 1)} mm")

    folder.mkdir(parents=True, exist_ok=True)
    result.save(folder / "face.npz")  # every number; faceinv.load_result reads it
    result.export(folder / "face.glb", texture="photo")
    save_image(folder / "overlay.png", result.overlay())

    # A face is a record: replace what is to differ, and draw it again.
    left = replace(result.camera, rotation=rotation_from_euler(0.0, -0.6, 0.0))
    calm = replace(result.face, expression=np.zeros_like(result.expression))
    faces = [result.face, calm, replace(result.face, camera=left)]
    width, height = result.image_size
    scenes = draw_faces(result.model, faces, (height, width))
    for name, scene in zip(("as_seen", "calm", "turned"), scenes, strict=True):
        save_image(folder / f"{name}.png", scene.srgb)


if __name__ == "__main__":
    sample = str(resources.files("faceinv") / "data" / "sample.jpg")
    main(sys.argv[1] if len(sys.argv) > 1 else sample, Path(sys.argv[2] if len(sys.argv) > 2 else "faceinv-out"))
