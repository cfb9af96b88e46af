"""Does a network learn from variants? Train a small one twice, on photos as they are and on variants of them, and test
both on photos of other people.

Run: python examples/train_pose.py OUT.json --train PHOTOS... --test PHOTOS... [--count 30] [--steps 500]

PHOTOS are files and folders. The labels of photos are their fits. Test photos are shown upright, and turned and shifted
by stated amounts, as no photo is framed like another. Needs torch; takes a few minutes on a CPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import faceinv
from faceinv.errors import InputError
from faceinv.face.camera import euler_angles
from faceinv.face.landmarks68 import OUTER_EYES
from faceinv.generate import Variants

SIZE = 64
SPAN = 290.0
"""mm across a picture of a photo."""
TURNS = ((0.0, 0.0, 0.0), (-25.0, 0.05, 0.0), (25.0, 0.0, 0.05), (12.0, -0.05, -0.05))
"""Of test photos: degrees in the picture's plane, and shifts over its side."""
DRAW = {"yaw": 50.0, "any_roll": 0.0, "roll_sigma": 15.0}
"""What variants are drawn from, beside the defaults."""
SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass
class Examples:
    """Pictures and what is to be said of them."""

    images: NDArray[np.uint8]
    """(N, S, S, 3)."""
    landmarks: NDArray[np.float32]
    """(N, 68, 2) over the side, from the middle."""
    angles: NDArray[np.float32]
    """(N, 3) pitch, yaw, roll, degrees."""

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, Any, Any]]) -> Examples:
        """From (image, landmarks px, angles)."""
        images, marks, angles = (np.stack([row[k] for row in rows]) for k in range(3))
        middle = (SIZE - 1) / 2
        return cls(images, ((marks - middle) / SIZE).astype(np.float32), angles.astype(np.float32))


def fits(given: Sequence[Path]) -> list[faceinv.FitResult]:
    """Fits of all photos in which a face is found."""
    found: list[Path] = []
    for path in given:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [one for one in inside if one.suffix.lower() in SUFFIXES]
    results = []
    for path in found:
        try:
            result = faceinv.fit(path)
        except InputError as error:
            print(error)
            continue
        if result.status.success:
            results.append(result)
    return results


def as_photo(result: faceinv.FitResult, turn: float, shift: tuple[float, float]) -> tuple[Any, Any, Any]:
    """A fitted photo's own pixels around the face, turned by degrees and shifted, with the labels of its fit."""
    assert result.photo is not None
    scale = float(result.camera.scale) * float(result.camera.magnification(result.landmarks3d).mean())
    side = SPAN * scale
    marks = result.landmarks2d
    middle = (marks.min(axis=0) + marks.max(axis=0)) / 2 - side * np.array(shift)
    radians = np.radians(turn)
    turned = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    picture = Image.fromarray(np.rint(255 * result.photo).astype(np.uint8))
    corner = middle - side / 2
    picture = picture.rotate(turn, Image.Resampling.BICUBIC, center=tuple(middle + 0.5))
    box = tuple(corner + 0.5) + tuple(corner + side + 0.5)
    pixels = np.asarray(picture.transform((4 * SIZE, 4 * SIZE), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR))
    small = pixels.reshape(SIZE, 4, SIZE, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
    places = ((marks - middle) @ turned.T + side / 2) * SIZE / side - 0.5
    about = np.eye(3)
    about[:2, :2] = turned.T  # anticlockwise as seen, where y points up
    return small, places, np.degrees(euler_angles(about @ result.camera.rotation))


def network() -> nn.Module:
    """Some 240,000 weights: a picture in, 136 coordinates and three angles out."""
    layers: list[nn.Module] = []
    channels = 3
    for wider in (16, 32, 64, 96):
        layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.BatchNorm2d(wider), nn.ReLU(), nn.MaxPool2d(2)]
        channels = wider
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 16, 96), nn.ReLU(), nn.Linear(96, 139))


def tensors(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (N, 3, S, S) about zero, and all that is to be said (N, 139) in like units."""
    images = torch.from_numpy(examples.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    marks, angles = torch.from_numpy(examples.landmarks), torch.from_numpy(examples.angles)
    return images, torch.cat([10 * marks.flatten(1), angles / 20], dim=1)


def trained(examples: Examples, steps: int) -> nn.Module:
    """A network after so many batches of 32."""
    torch.manual_seed(0)
    images, wanted = tensors(examples)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    chooser = torch.Generator().manual_seed(1)
    for _ in range(steps):
        chosen = torch.randint(len(images), (32,), generator=chooser)
        loss = nn.functional.smooth_l1_loss(net(images[chosen]), wanted[chosen], beta=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def errors(net: nn.Module, examples: Examples) -> dict[str, float]:
    """Mean distance of landmarks over that of the outer eye corners, and mean differences of angles in degrees."""
    images, _ = tensors(examples)
    with torch.no_grad():
        said = net(images).numpy()
    marks, angles = said[:, :136].reshape(-1, 68, 2) / 10, said[:, 136:] * 20
    eyes = np.linalg.norm(np.subtract(*(examples.landmarks[:, k] for k in OUTER_EYES)), axis=1)
    apart = np.linalg.norm(marks - examples.landmarks, axis=2).mean(axis=1) / eyes
    off = np.abs((angles - examples.angles + 180) % 360 - 180).mean(axis=0)
    names = ("pitch", "yaw", "roll")
    return {"landmarks": float(apart.mean()), **{name: float(value) for name, value in zip(names, off, strict=True)}}


def main() -> None:
    """Train, test, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    sources, strangers = fits(options.train), fits(options.test)
    print(f"{len(sources)} photos to train with, {len(strangers)} of other people to test with")
    variants = [
        (one.image, one.labels.landmarks, one.labels.euler)
        for one in Variants(sources, count=options.count, size=SIZE, config=DRAW)
    ]
    sets = {
        "photos": Examples.of([as_photo(one, 0.0, (0.0, 0.0)) for one in sources]),
        "photos, turned and shifted": Examples.of([as_photo(one, t, (x, y)) for one in sources for t, x, y in TURNS]),
        "variants": Examples.of(variants),
    }
    upright = Examples.of([as_photo(one, 0.0, (0.0, 0.0)) for one in strangers])
    turned = Examples.of([as_photo(one, t, (x, y)) for one in strangers for t, x, y in TURNS[1:]])
    record: dict[str, Any] = {
        "train_photos": len(sources),
        "test_photos": len(strangers),
        "variants": len(variants),
        "steps": options.steps,
        "landmarks": "mean distance over that of the outer eye corners",
        "angles": "mean difference, degrees",
        "results": {},
    }
    for name, examples in sets.items():
        net = trained(examples, options.steps)
        found = {"learnt": errors(net, examples), "upright": errors(net, upright), "turned": errors(net, turned)}
        record["results"][name] = found
        for test, values in found.items():
            shown = ", ".join(f"{key} {value:.1f}" for key, value in values.items() if key != "landmarks")
            print(f"trained on {name}, {test}: landmarks {values['landmarks']:.1%}, {shown}")
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
