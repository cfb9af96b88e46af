"""Fitting variants again: how near is the face that is found to the one that was drawn, and what keeps it away.

    python benchmarks/refit.py PHOTO... [--count 6] [--yaw 45] [--seed 21] [--size 224] [--save]

Without photos it takes those of `photos.py`. Each is fitted, its variants are drawn, and fitted again with the
landmarks of their labels. Figures: the angle between rotations, degrees; the distance between neutral faces over the
face mask, mm, in the model's frame, nothing aligned, and after the best motion (`aligned`). Medians, the worst behind.
Conditions:

    picture     `variant`; with the `same expression`, the `same light`, or both, as the photo's; `own view`, the photo
                itself; `model`, the labels' face drawn from the model alone in the variant's place: none is better
    landmarks   `as people mark`, the default standard deviation; `exact`, of .001 eye distances, as labels are, with a
                cost tolerance of 2e-4; `alone`, exact ones without the picture
    lens        `estimated`, or `known` from the label
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from photos import PHOTOS, find_photos
from report import save

import faceinv
from faceinv.generate import VariantConfig, Variants
from faceinv.generate.draws import own_draw, posed_face
from faceinv.generate.picture import draw_pictures
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.generate.draws import Draw
    from faceinv.generate.labels import Labels

EXACT: Final = {"landmark_sigma": 0.001, "cost_tolerance": 2e-4}
"""A tenth of a millimetre; so narrow a valley is gone along by small steps, which are not its end."""
CONDITIONS: Final = (
    ("variant", "as people mark", "estimated"),
    ("variant", "exact", "estimated"),
    ("variant", "exact", "known"),
    ("variant", "alone", "estimated"),
    ("same expression and light", "as people mark", "estimated"),
    ("same expression and light", "exact", "estimated"),
    ("same expression", "as people mark", "estimated"),
    ("same light", "as people mark", "estimated"),
    ("own view", "as people mark", "estimated"),
    ("own view", "exact", "estimated"),
    ("model", "as people mark", "estimated"),
    ("model", "exact", "estimated"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--yaw", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    results = [fitter_of().fit(photo) for photo in options.photos or find_photos(PHOTOS)]
    config = VariantConfig(yaw=options.yaw, even_yaw=1.0, any_roll=0.0)
    variants = Variants(results, count=options.count, size=options.size, seed=options.seed, config=config)
    found: dict[tuple[str, str, str], list[tuple[float, ...]]] = {one: [] for one in CONDITIONS}
    for photo in range(len(results)):
        for picture, image, labels in pictures(variants, photo):
            for condition in CONDITIONS:
                if condition[0] == picture:
                    found[condition].append(refitted(image, labels, results[photo], *condition[1:]))
    rows = []
    for (picture, landmarks, lens), values in found.items():
        columns = np.array(values).T
        figures = {
            name: {"median": round(float(np.median(column)), 3), "worst": round(float(column.max()), 3)}
            for name, column in zip(("rotation_deg", "shape_mm", "aligned_mm"), columns, strict=True)
        }
        rows.append({"picture": picture, "landmarks": landmarks, "lens": lens, "fits": len(values), **figures})
        text = "   ".join(f"{name} {one['median']:.2f} ({one['worst']:.2f})" for name, one in figures.items())
        print(f"{picture:>26}  {landmarks:>14}  {lens:>9}  {len(values):4d}  {text}")
    if options.save:
        about = {"photos": len(results), "variants": options.count, "yaw": options.yaw, "seed": options.seed}
        save("refit", {**about, "size": options.size, "rows": rows})


def pictures(variants: Variants, photo: int) -> Iterator[tuple[str, NDArray[np.uint8], Labels]]:
    """What is fitted again of a photo, by the name of its condition."""
    result = variants.results[photo]
    draws = [variants.draws(photo, index)[0] for index in range(variants.count)]
    for draw in draws:
        image, labels = drawn(variants, photo, draw)
        yield "variant", image, labels
        scene = draw_faces(result.model, [labels.face], image.shape[:2])[0]
        alone, face = image.copy(), scene.triangle >= 0
        alone[face] = np.rint(255 * np.clip(scene.srgb[face], 0, 1))
        yield "model", alone, labels
    for draw in draws:
        at_rest = replace(draw, expression=result.expression)
        yield "same expression and light", *drawn(variants, photo, replace(at_rest, lighting=result.lighting))
        yield "same expression", *drawn(variants, photo, at_rest)
        yield "same light", *drawn(variants, photo, replace(draw, lighting=result.lighting))
    yield "own view", *drawn(variants, photo, own_draw(result))


def drawn(variants: Variants, photo: int, draw: Draw) -> tuple[NDArray[np.uint8], Labels]:
    face, turn = posed_face(variants.results[photo], draw, variants.size)
    picture = draw_pictures(variants.scene(photo), [face], variants.size, variants.config.samples, [turn])[0]
    return picture.srgb, picture.labels()


def refitted(
    image: NDArray[np.uint8], labels: Labels, result: faceinv.FitResult, landmarks: str, lens: str
) -> tuple[float, ...]:
    """Degrees; mm; mm after the best motion."""
    face, model = labels.face, result.model
    camera, settings = face.camera, dict[str, Any]()
    if landmarks != "as people mark":
        settings |= EXACT
    if landmarks == "alone":
        settings["photometric_sigma"] = float("inf")
    intrinsics = None
    if lens == "known" and camera.kappa == 0:
        settings["camera"] = "weak"
    elif lens == "known":
        focal, (x, y) = float(camera.focal_length), camera.centre
        intrinsics = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]])
    again = fitter_of(**settings).fit(image, labels.landmarks, intrinsics=intrinsics)
    turned = again.camera.rotation @ camera.rotation.T
    angle = np.degrees(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1)))
    seen = np.unique(model.triangles[model.face_mask])
    one, two = (model.vertices(identity)[seen] for identity in (again.identity, face.identity))
    return float(angle), mean_distance(one, two), mean_distance(moved(one, two), two)


@cache
def fitter_of(**settings: Any) -> faceinv.Fitter:
    return faceinv.Fitter(config=settings)


def mean_distance(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(one - two, axis=1).mean())


def moved(points: NDArray[np.float64], onto: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (M, 3) by the motion that brings them nearest to others."""
    from scipy.spatial.transform import Rotation

    middle, other = points.mean(axis=0), onto.mean(axis=0)
    turn, _ = Rotation.align_vectors(onto - other, points - middle)
    result: NDArray[np.float64] = turn.apply(points - middle) + other
    return result


if __name__ == "__main__":
    main()
