"""Does a network learn from variants? Train a small one on photos as they are, on photos that are turned, shifted,
mirrored and coloured as is usual, and on variants of the same photos, and measure all on photos of other people.

Run: python examples/train_pose.py OUT --photos DIR... --held-back DIR... [--variants 20] [--steps 2400] [--seeds 0 1]

Fits of the photos are the labels. Without --photos the packaged one is used. OUT/train_pose.json has the errors;
OUT/*.png show what the networks see, with the labels drawn in: look at them first. Variants are made here, or read from
a data set of `faceinv dataset` (--dataset DIR). Needs torch; takes minutes on a CPU.

Landmark files (`.pts`) beside photos are used in their fits.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

import faceinv
from faceinv.errors import InputError
from faceinv.face.camera import Camera, euler_angles
from faceinv.face.landmarks68 import CURVES, MIRRORED, OUTER_EYES
from faceinv.generate import Variants

SEEN = 64
"""px across what a network sees."""
FRAME = 1.5
"""Side of that, over the larger side of the landmarks' box; in test pictures, and on average in training."""
KEPT, KEPT_FRAME = 128, 2.4
"""px and frame of photos as they are kept, so that they can be turned and shifted."""
DRAW = {"span": (340.0, 340.0), "offset": 0.0, "any_roll": 0.0}
"""What variants are drawn from beside the defaults: they are framed, as photos are, when they are shown."""
FRAMINGS = ((0.0, 0.0, 0.0, 1.0), (-20.0, 0.05, 0.0, 1.1), (20.0, 0.0, 0.05, 0.9), (10.0, -0.05, -0.05, 1.0))
"""Of held-back photos, for no photo is framed like another: degrees in the plane, shifts over the side, the side."""
YAW_BINS = (0.0, 15.0, 30.0, 45.0, 90.0)
"""Degrees to either side, by which errors are listed."""
SUFFIXES = (".jpg", ".jpeg", ".png")
BATCH = 16
PHOTO_SHARE = 0.2
"""Of what is drawn where there are variants: the photos themselves."""


@dataclass(frozen=True)
class Faces:
    """Pictures of faces and what is to be said of them."""

    images: Tensor
    """(N, 3, S, S) uint8."""
    landmarks: Tensor
    """(N, 68, 2) px, pixel centres at integers."""
    rotations: Tensor
    """(N, 3, 3) of the heads, seen from where the middle of the picture is straight ahead (`seen_rotation`)."""
    eyes: Tensor
    """(N,) px: the distance of the outer eye corners as if seen from the front."""

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, rows: Sequence[tuple[Any, Any, Any, float]]) -> Faces:
        """From (image (S, S, 3) uint8, landmarks, rotation, eyes)."""
        images, landmarks, rotations, eyes = (np.stack([np.asarray(row[k]) for row in rows]) for k in range(4))
        numbers = [torch.from_numpy(one.astype(np.float32)) for one in (landmarks, rotations, eyes)]
        return cls(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), *numbers)

    def __add__(self, other: Faces) -> Faces:
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("images", "landmarks", "rotations", "eyes"))
        return Faces(*(torch.cat(pair) for pair in pairs))

    def __getitem__(self, chosen: Tensor) -> Faces:
        return Faces(self.images[chosen], self.landmarks[chosen], self.rotations[chosen], self.eyes[chosen])


@dataclass(frozen=True)
class Views:
    """Faces as a network sees them."""

    images: Tensor
    """(N, 3, SEEN, SEEN) from 0 to 1."""
    landmarks: Tensor
    """(N, 68, 2) from -1 to 1 between the edges."""
    rotations: Tensor
    """(N, 3, 3)."""
    eyes: Tensor
    """(N,) in the unit of `landmarks`."""


def framed(faces: Faces, degrees: Tensor, shift: Tensor, side: Tensor, mirrored: Tensor | None = None) -> Views:
    """Cut faces out by the box of their landmarks.

    Args:
        faces: N of them.
        degrees: (N,) by which the picture turns, anticlockwise as seen.
        shift: (N, 2) of the face, over the side.
        side: (N,) over that of `FRAME`.
        mirrored: (N,) which are seen in a mirror.
    """
    marks, size = faces.landmarks, faces.images.shape[-1]
    low, high = marks.amin(1), marks.amax(1)
    middle, length = (low + high) / 2, FRAME * side * (high - low).amax(1)
    cosine, sine = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    turn = torch.stack([cosine, sine, -sine, cosine], 1).reshape(-1, 2, 2)
    about = torch.eye(3).repeat(len(faces), 1, 1)
    about[:, :2, :2] = turn.transpose(1, 2)  # y points up there
    rotations = about @ faces.rotations
    seen = 2 * ((marks - middle[:, None]) @ turn.transpose(1, 2) / length[:, None, None] + shift[:, None])
    flip = torch.ones(len(faces), 2)
    if mirrored is not None:
        flip[mirrored, 0] = -1.0
        other = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
        rotations = torch.where(mirrored[:, None, None], other @ rotations @ other, rotations)
        seen = torch.where(mirrored[:, None, None], seen[:, torch.from_numpy(MIRRORED)], seen) * flip[:, None]
    back = turn.transpose(1, 2) * (length / size)[:, None, None]
    start = 2 * (middle + 0.5) / size - 1 - 2 * (back @ shift[..., None])[..., 0]
    theta = torch.cat([back * flip[:, None], start[..., None]], 2)
    grid = functional.affine_grid(theta, [len(faces), 3, SEEN, SEEN], align_corners=False)
    images = faces.images.float() / 255
    pictures = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return Views(pictures, seen, rotations, 2 * faces.eyes / length)


def plain(faces: Faces, framing: tuple[float, float, float, float] = FRAMINGS[0]) -> Views:
    """All framed alike."""
    degrees, x, y, side = (torch.full((len(faces),), value) for value in framing)
    return framed(faces, degrees, torch.stack([x, y], 1), side)


def augmented(faces: Faces, chance: torch.Generator) -> Views:
    """Framed at random, half of them mirrored, with other colours: what is usually done to photos."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=chance)

    count = len(faces)
    mirrored = torch.rand(count, generator=chance) < 0.5
    views = framed(faces, 12 * normal(count), 0.04 * normal(count, 2), torch.exp(0.1 * normal(count)), mirrored)
    pictures = views.images.clamp(1e-3, 1) ** torch.exp(0.2 * normal(count, 1, 1, 1))
    grey = (torch.rand(count, 1, 1, 1, generator=chance) < 0.2).float()
    pictures = torch.lerp(pictures, pictures.mean(1, keepdim=True), grey)
    middle = pictures.mean((1, 2, 3), keepdim=True)
    pictures = middle + (pictures - middle) * torch.exp(0.15 * normal(count, 1, 1, 1))
    pictures = pictures * torch.exp(0.15 * normal(count, 1, 1, 1) + 0.06 * normal(count, 3, 1, 1))
    return replace(views, images=(pictures + 0.015 * normal(*pictures.shape)).clamp(0, 1))


class Network(nn.Module):  # type: ignore[misc, unused-ignore]
    """A picture in; 68 places, as means of heat maps, and a rotation out. Some 100,000 weights."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int = 1, size: int = 3) -> nn.Module:
            convolution = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))

        self.fine = nn.Sequential(block(3, width, 2, 5), block(width, 2 * width, 2), block(2 * width, 2 * width))
        self.coarse = nn.Sequential(
            block(2 * width, 3 * width, 2), block(3 * width, 3 * width), block(3 * width, 3 * width)
        )
        self.wide = nn.Conv2d(3 * width, 2 * width, 1)
        self.maps = nn.Sequential(block(2 * width, 2 * width), nn.Conv2d(2 * width, 68, 1))
        self.pose = nn.Sequential(nn.Linear(136 + 3 * width, 96), nn.ReLU(inplace=True), nn.Linear(96, 6))
        steps = (2 * torch.arange(SEEN // 4) + 1) / (SEEN // 4) - 1
        self.register_buffer("places", torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, SEEN, SEEN) from 0 to 1 to (N, 68, 2) from -1 to 1 and (N, 3, 3)."""
        fine = self.fine(2 * images - 1)
        coarse = self.coarse(fine)
        both = fine + functional.interpolate(self.wide(coarse), scale_factor=2.0, mode="nearest")
        heat = self.maps(both).flatten(2).softmax(2)
        # The mean of a map never reaches the rim, so it is stretched a little.
        landmarks = 1.3 * heat @ self.places
        return landmarks, _rotation(self.pose(torch.cat([landmarks.flatten(1), coarse.mean((2, 3))], 1)))


def _rotation(six: Tensor) -> Tensor:
    """(N, 6) to (N, 3, 3): the first two rows, made orthonormal (Zhou et al., "On the continuity of rotation
    representations in neural networks", CVPR 2019). Zeros are the view from the front."""
    first = functional.normalize(six[:, :3] + torch.tensor([1.0, 0.0, 0.0]), dim=1)
    second = six[:, 3:] + torch.tensor([0.0, 1.0, 0.0])
    second = functional.normalize(second - (first * second).sum(1, keepdim=True) * first, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], 1)


def trained(
    faces: Faces, steps: int, seed: int, augment: bool, width: int = 16, weights: Tensor | None = None
) -> tuple[Network, list[float]]:
    """A network after so many batches, and its mean loss in each twentieth of them. Faces are drawn alike, or by
    `weights` (N,)."""
    weights = torch.ones(len(faces)) if weights is None else weights
    torch.manual_seed(seed)
    network = Network(width)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps, pct_start=0.1)
    chance = torch.Generator().manual_seed(seed + 1)
    losses = []
    for _ in range(steps):
        chosen = faces[torch.multinomial(weights, BATCH, replacement=True, generator=chance)]
        views = augmented(chosen, chance) if augment else plain(chosen)
        landmarks, rotations = network(views.images)
        loss = 5 * (landmarks - views.landmarks).abs().mean() + (rotations - views.rotations).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return network.eval(), [float(np.mean(part)) for part in np.array_split(losses, min(20, steps))]


@dataclass(frozen=True)
class Errors:
    """Of each view of each face."""

    landmarks: NDArray[np.float64]
    """(N,) mean distance over that of the outer eye corners as if seen from the front."""
    pose: NDArray[np.float64]
    """(N,) degrees between the rotations."""
    angles: NDArray[np.float64]
    """(N, 3) degrees off in pitch, yaw and roll."""
    yaw: NDArray[np.float64]
    """(N,) degrees, the true one."""

    @classmethod
    def of(cls, network: Network, faces: Faces) -> Errors:
        """In all framings."""
        parts = []
        with torch.no_grad():
            for framing in FRAMINGS:
                views = plain(faces, framing)
                landmarks, rotations = network(views.images)
                apart = (landmarks - views.landmarks).norm(dim=2).mean(1) / views.eyes
                trace = (rotations * views.rotations).sum((1, 2))
                pose = torch.rad2deg(torch.arccos(((trace - 1) / 2).clamp(-1, 1)))
                said, true = (_angles(one) for one in (rotations, views.rotations))
                off = np.abs((said - true + 180) % 360 - 180)
                yaw = _angles(faces.rotations)[:, 1]
                parts.append((apart.double().numpy(), pose.double().numpy(), off, yaw))
        return cls(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def record(self) -> dict[str, Any]:
        """Means, over all and by the head's turn."""
        named = {f"{low:.0f}-{high:.0f}": self._means(low, high) for low, high in itertools.pairwise(YAW_BINS)}
        return {**(self._means() or {}), "by_yaw": {name: one for name, one in named.items() if one}}

    def _means(self, low: float = 0.0, high: float = 181.0) -> dict[str, float] | None:
        chosen = (np.abs(self.yaw) >= low) & (np.abs(self.yaw) < high)
        if not chosen.any():
            return None
        values = {"landmarks": 100 * self.landmarks, "pose": self.pose}
        values |= {name: self.angles[:, k] for k, name in enumerate(("pitch", "yaw", "roll"))}
        rounded = {name: round(float(value[chosen].mean()), 2) for name, value in values.items()}
        return {"photos": int(chosen.sum()) // len(FRAMINGS), **rounded}


def _angles(rotations: Tensor) -> NDArray[np.float64]:
    return np.degrees([euler_angles(one) for one in rotations.double().numpy()])


def seen_rotation(rotation: Any, middle: Any, scale: float, kappa: float, centre: Any) -> NDArray[np.float64]:
    """The rotation of a head for a viewer who looks straight at it: a face far from the middle of a photo that was
    taken from near by shows another side than its rotation against the photo's axis says.

    Args:
        rotation: (3, 3) of the camera.
        middle: (2,) px of the face.
        scale, kappa, centre: of the camera.
    """
    across = (np.asarray(middle, np.float64) - centre) * [1.0, -1.0] * kappa / scale  # over the focal length
    ray = np.array([*across, -1.0]) / math.hypot(*across, 1.0)
    ahead = np.array([0.0, 0.0, -1.0])
    # The smallest turn from one direction to another (Rodrigues).
    x, y, z = np.cross(ray, ahead)
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turn = np.eye(3) + skew + skew @ skew / (1 + ray @ ahead)
    return np.asarray(turn @ np.asarray(rotation, np.float64))


def row(
    image: NDArray[np.uint8], marks: NDArray[np.float64], points: NDArray[np.float64], camera: Camera, zoom: float = 1.0
) -> tuple[Any, Any, Any, float]:
    """What `Faces.of` wants, of a picture.

    Args:
        image: (S, S, 3).
        marks: (68, 2) px.
        points: (68, 3) mm, the landmarks in model space.
        camera: of the photo.
        zoom: px of the picture for one of the photo.
    """
    at = camera.project(points)[:, :2].mean(axis=0)
    rotation = seen_rotation(camera.rotation, at, float(camera.scale), float(camera.kappa), camera.centre)
    apart = float(np.linalg.norm(np.subtract(*(points[k] for k in OUTER_EYES))))
    return image, marks, rotation, apart * float(camera.scale) * float(camera.magnification(points).mean()) * zoom


def fits(given: Sequence[Path]) -> Iterator[faceinv.FitResult]:
    """Fits of all photos in files and folders in which a face is found."""
    fitter = faceinv.Fitter()
    for path in given:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for photo in (one for one in inside if one.suffix.lower() in SUFFIXES):
            marks = photo.with_suffix(".pts")
            try:
                result = fitter.fit(photo, marks if marks.is_file() else None)
            except InputError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
            if result.status.success:
                yield result


def photo_row(result: faceinv.FitResult) -> tuple[Any, Any, Any, float]:
    """A fitted photo's own pixels around the face, with the labels of its fit, for `Faces.of`."""
    assert result.photo is not None
    marks = result.landmarks2d
    low, high = marks.min(axis=0), marks.max(axis=0)
    side = KEPT_FRAME * float((high - low).max())
    corner = (low + high) / 2 + 0.5 - side / 2  # px edges
    # What lies beyond the photo is its rim.
    margin = math.ceil(max(0.0, *(-corner), *(corner + side - result.photo.shape[1::-1]))) + 1
    pixels = np.pad(np.rint(255 * result.photo).astype(np.uint8), [(margin, margin), (margin, margin), (0, 0)], "edge")
    box = (*(corner + margin), *(corner + margin + side))
    image = np.asarray(Image.fromarray(pixels).resize((KEPT, KEPT), Image.Resampling.BILINEAR, box))
    zoom = KEPT / side
    return row(image, (marks + 0.5 - corner) * zoom - 0.5, result.landmarks3d, result.camera, zoom)


def variants_of(results: Sequence[faceinv.FitResult], count: int) -> Faces:
    """Variants made here."""
    made = Variants(results, count=count, size=KEPT, config=DRAW)
    known = ((one.image, one.labels) for one in made)
    return Faces.of([row(image, each.landmarks, each.landmarks3d, each.face.camera) for image, each in known])


def variants_in(folder: Path, workers: int = 2) -> Faces:
    """Variants of a data set, read by several processes."""
    from faceinv.generate.torch import Dataset

    data = Dataset(folder, maps=["landmarks3d"])
    spawned = "spawn" if workers else None
    rows = []
    for batch in DataLoader(data, batch_size=64, num_workers=workers, multiprocessing_context=spawned):
        images = (255 * batch["image"]).round().to(torch.uint8).permute(0, 2, 3, 1)
        names = ("landmarks", "landmarks3d", "scale", "rotation", "translation", "kappa", "principal_point")
        for image, marks, points, *camera in zip(images, *(batch[name].double() for name in names), strict=True):
            values = (each.numpy() for each in camera)
            rows.append(row(image.numpy(), marks.numpy(), points.numpy(), Camera(*values)))
    return Faces.of(rows)


def sheet(views: Views, columns: int = 8, zoom: int = 3) -> Image.Image:
    """What a network sees, with the labels: landmarks (their left side red), and the head's axes at its middle (x red,
    y green, z blue)."""
    rows = math.ceil(len(views.images) / columns)
    picture = Image.new("RGB", (columns * SEEN * zoom, rows * SEEN * zoom))
    for number, image in enumerate(views.images):
        pixels = Image.fromarray((255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy())
        pixels = pixels.resize((SEEN * zoom, SEEN * zoom), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(pixels)
        marks = ((views.landmarks[number] + 1) * SEEN * zoom / 2).tolist()
        for place, curve in enumerate(CURVES):
            colour = (255, 90, 90) if place in (1, 5) else (90, 255, 255)
            draw.line([tuple(marks[k]) for k in curve], fill=colour)
        centre = (views.landmarks[number].mean(0) + 1) * SEEN * zoom / 2
        for axis, colour in enumerate(((255, 0, 0), (0, 255, 0), (60, 60, 255))):
            tip = centre + 30 * views.rotations[number, :2, axis] * torch.tensor([1.0, -1.0])
            draw.line([tuple(centre.tolist()), tuple(tip.tolist())], fill=colour, width=2)
        picture.paste(pixels, (number % columns * SEEN * zoom, number // columns * SEEN * zoom))
    return picture


def table(record: dict[str, Any]) -> str:
    """Markdown: errors of landmarks (%) and pose (degrees) of each training, means over seeds."""
    names = list(dict.fromkeys(run["trained_on"] for run in record["runs"]))
    lines = ["| held back | yaw | count | " + " | ".join(names) + " |", "| --- " * (3 + len(names)) + "|"]
    for test in record["held_back"]:
        every = [run["errors"][test] for run in record["runs"]]
        for turn in ("all", *every[0]["by_yaw"]):
            chosen = [one if turn == "all" else one["by_yaw"][turn] for one in every]
            cells = []
            for name in names:
                own = [one for one, run in zip(chosen, record["runs"], strict=True) if run["trained_on"] == name]
                means = (sum(one[key] for one in own) / len(own) for key in ("landmarks", "pose"))
                cells.append("{:.1f} %, {:.1f}°".format(*means))
            lines.append(f"| {test} | {turn} | {chosen[0]['photos']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train, test, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("output", type=Path, help="a folder")
    parser.add_argument("--photos", type=Path, nargs="+", help="photos to train with, and folders of them")
    parser.add_argument("--held-back", type=Path, nargs="+", required=True, help="photos of other people, or folders")
    parser.add_argument("--dataset", type=Path, help="of the same photos, by `faceinv dataset`; else variants are made")
    parser.add_argument("--variants", type=int, default=20, help="of each photo (default %(default)s)")
    parser.add_argument("--steps", type=int, default=2400, help="batches of training (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--width", type=int, default=16, help="of the network (default %(default)s)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as packaged:
        sources = list(fits(options.photos or [packaged]))
    held_back = {path.stem: list(fits([path])) for path in options.held_back}
    held_back = {name: found for name, found in held_back.items() if found}
    if not sources or not held_back:
        sys.exit("no face was found in the photos to train with, or in those held back.")
    photos = Faces.of([photo_row(one) for one in sources])
    began = time.perf_counter()
    made = variants_in(options.dataset) if options.dataset else variants_of(sources, options.variants)
    counts = {name: len(found) for name, found in held_back.items()}
    print(f"{len(photos)} photos, {len(made)} variants in {time.perf_counter() - began:.0f} s; held back: {counts}")
    tests = {name: Faces.of([photo_row(one) for one in found]) for name, found in held_back.items()}
    shares = [
        torch.full((len(each),), share / len(each)) for each, share in ((photos, PHOTO_SHARE), (made, 1 - PHOTO_SHARE))
    ]
    sets = {
        "photos": (photos, None, False),
        "photos, augmented": (photos, None, True),
        "variants, augmented": (photos + made, torch.cat(shares), True),
    }
    record: dict[str, Any] = {
        "photos": len(photos),
        "variants": len(made),
        "held_back": counts,
        "steps": options.steps,
        "batch": BATCH,
        "seeds": options.seeds,
        "landmarks": "mean distance, % of the distance of the outer eye corners as if seen from the front",
        "angles": "mean difference, degrees; pose is the angle between rotations",
        "framings": FRAMINGS,
        "runs": [],
    }
    for name, faces in (*tests.items(), ("photos", photos), ("variants", made)):
        sheet(plain(faces[torch.arange(min(len(faces), 32))])).save(options.output / f"{name.replace(' ', '_')}.png")
    for seed in options.seeds:
        for name, (faces, weights, augment) in sets.items():
            began = time.perf_counter()
            network, losses = trained(faces, options.steps, seed, augment, options.width, weights)
            seconds = round(time.perf_counter() - began, 1)
            errors = {test: Errors.of(network, shown).record() for test, shown in {"learnt": photos, **tests}.items()}
            run = {"trained_on": name, "seed": seed, "seconds": seconds, "losses": losses, "errors": errors}
            record["runs"].append(run)
            for test, found in errors.items():
                print(f"{name}, seed {seed}, on {test}: landmarks {found['landmarks']} %, pose {found['pose']} degrees")
    print(table(record))
    (options.output / "train_pose.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
