"""Photos' variants, a row for each, for eyes: `docs/variants.jpg` is that of the packaged portrait.

python benchmarks/variants_sheet.py [PHOTO...] OUT.jpg [--size 224]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

import faceinv
from faceinv.generate import Scene
from faceinv.generate.draws import own_draw, posed_face
from faceinv.generate.picture import draw_pictures

SPAN = 310.0
"""mm across a picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as packaged:
        results = [faceinv.fit(photo) for photo in arguments.photos or [packaged]]
    rows = [np.asarray(row(result, arguments.size)) for result in results]
    Image.fromarray(np.concatenate(rows)).save(arguments.out, quality=88)


def row(result: faceinv.FitResult, size: int) -> Image.Image:
    """Eight pictures side by side: as in the photo, and from -80 to 80 degrees with other expressions and a light from
    the side."""
    start = own_draw(result, SPAN)
    units = result.model.expression_units
    assert units is not None
    own = result.expression_units
    wide, shut = {**own, "jawOpen": 0.7}, {**own, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    smile = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.15}
    light = np.zeros((9, 3))
    light[0] = 0.9 * result.lighting[0]
    light[1:4] = np.array([[0.15], [0.3], [-0.4]]) * result.lighting[0]
    draws = [
        start,
        replace(start, yaw=-80.0, pitch=0.0),
        replace(start, yaw=-45.0, pitch=10.0, expression=units.coefficients(wide)),
        replace(start, yaw=-25.0, pitch=-12.0, expression=units.coefficients(shut)),
        replace(start, yaw=20.0, pitch=0.0, expression=units.coefficients(smile), lighting=light),
        replace(start, yaw=35.0, pitch=12.0, expression=np.zeros_like(start.expression)),
        replace(start, yaw=60.0, pitch=0.0),
        replace(start, yaw=80.0, pitch=0.0),
    ]
    scene = Scene.of(result, size / SPAN)
    faces, turns = zip(*(posed_face(result, draw, size) for draw in draws), strict=True)
    pictures = draw_pictures(scene, list(faces), size, body_turns=list(turns))
    return Image.fromarray(np.concatenate([picture.srgb for picture in pictures], axis=1))


if __name__ == "__main__":
    main()
