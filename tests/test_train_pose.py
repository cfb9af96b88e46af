"""The example that trains networks: its labels stay on its pictures however they are framed, and it learns."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from quick import CONFIG, quick_fit, sample

from faceinv.face.camera import Camera, euler_angles, rotation_from_euler
from faceinv.face.landmarks68 import MIRRORED

torch: Any = pytest.importorskip("torch")

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_pose.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("train_pose", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_pose"] = module
    spec.loader.exec_module(module)
    return module


def dots(example: ModuleType, count: int) -> tuple[Any, np.ndarray[Any, Any]]:
    """Faces that are 68 points in space, seen from far away; their pictures are dark but for one landmark each."""
    rng = np.random.default_rng(3)
    points = rng.normal(size=(68, 3))
    points = (points + points[MIRRORED] * [-1.0, 1.0, 1.0]) / 2
    rows = []
    for number in range(count):
        rotation = rotation_from_euler(*rng.uniform(-0.6, 0.6, 3))
        marks = 64 + 14 * (points @ rotation.T)[:, :2] * [1.0, -1.0]
        y, x = np.mgrid[:128, :128]
        shown = marks[10 * number % 68]
        bright = np.exp(-((x - shown[0]) ** 2 + (y - shown[1]) ** 2) / (2 * 2.5**2))
        rows.append((np.rint(255 * bright)[..., None].repeat(3, 2).astype(np.uint8), marks, rotation, 30.0))
    return example.Faces.of(rows), points


def test_labels_stay_on_the_picture_however_it_is_framed(example: ModuleType) -> None:
    faces, points = dots(example, 6)
    degrees = torch.tensor([0.0, 30.0, -30.0, 10.0, 0.0, -50.0])
    shift = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, -0.1], [0.05, 0.05], [0.0, 0.0], [0.1, 0.1]])
    side = torch.tensor([1.0, 1.2, 0.9, 1.0, 1.1, 1.3])
    mirrored = torch.tensor([False, False, True, True, True, False])
    views = example.framed(faces, degrees, shift, side, mirrored)
    places = (2 * torch.arange(example.SEEN) + 1) / example.SEEN - 1
    for number in range(6):
        picture = views.images[number, 0] ** 3
        x, y = ((picture * axis).sum() / picture.sum() for axis in (places, places[:, None]))
        shown = 10 * number % 68
        mark = views.landmarks[number, int(MIRRORED[shown]) if mirrored[number] else shown]
        assert torch.hypot(x - mark[0], y - mark[1]) < 0.02
        # The rotation that is said shows the same points where the landmarks are, up to place and size.
        said = points @ views.rotations[number].numpy().T[:, :2] * [1.0, -1.0]
        seen = views.landmarks[number].numpy()
        said, seen = said - said.mean(axis=0), seen - seen.mean(axis=0)
        assert np.abs(said / np.linalg.norm(said) - seen / np.linalg.norm(seen)).max() < 1e-5


def test_a_head_that_looks_at_the_camera_is_seen_from_the_front(example: ModuleType) -> None:
    rotation = rotation_from_euler(0.0, -np.pi / 4, 0.0)  # far on the image's right, turned back to the middle
    near = Camera(2.0, rotation, np.array([200.0, 100.0]), 1 / 500, np.array([100.0, 100.0]))
    at_45_degrees = [100.0 + 2.0 * 500, 100.0]
    values = (near.rotation, at_45_degrees, near.scale, near.kappa, near.centre)
    assert np.allclose(euler_angles(example.seen_rotation(*values)), 0.0, atol=1e-12)
    far = example.seen_rotation(near.rotation, at_45_degrees, near.scale, 0.0, near.centre)
    assert np.allclose(far, rotation)


def test_photos_and_variants_are_labelled_alike(example: ModuleType) -> None:
    """A network that sees both must not be told different things of the same face."""
    fit = quick_fit()
    photo = example.Faces.of([example.photo_row(fit)])
    made = example.variants_of([fit], 2)
    both = example.plain(photo + made)
    assert both.images.shape == (3, 3, example.SEEN, example.SEEN)
    width = (both.landmarks.amax(1) - both.landmarks.amin(1)).amax(1)
    assert torch.allclose(width, torch.full((3,), 2 / example.FRAME), atol=1e-5)
    assert (both.landmarks.abs() < 1).all()
    front = torch.linalg.det(both.rotations)
    assert torch.allclose(front, torch.ones(3), atol=1e-5)
    apart = (both.landmarks[0, 36] - both.landmarks[0, 45]).norm()
    assert apart == pytest.approx(float(both.eyes[0]), rel=0.1)


def test_a_network_learns_a_few_faces_by_heart(example: ModuleType) -> None:
    faces, _ = dots(example, 4)
    network, losses = example.trained(faces, 60, 0, augment=False, width=8)
    assert losses[-1] < 0.5 * losses[0]
    errors = example.Errors.of(network, faces).record()
    assert errors["photos"] == 4
    assert sum(one["photos"] for one in errors["by_yaw"].values()) == 4


def test_training_with_a_seed_is_repeatable(example: ModuleType) -> None:
    faces, _ = dots(example, 4)
    runs = [example.trained(faces, 3, seed, augment=True, width=8)[1] for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_variants_are_read_from_a_data_set(example: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from faceinv.dataset import DatasetSettings, make_dataset
    from faceinv.run.tasks import InlineExecutor

    make_dataset([sample()], tmp_path, DatasetSettings(variants=2, size=48, fit=CONFIG), make=InlineExecutor)
    faces = example.variants_in(tmp_path, workers=0)
    assert faces.images.shape == (2, 3, 48, 48)
    assert ((faces.landmarks > -10) & (faces.landmarks < 58)).all()
    assert (faces.eyes > 5).all()


def test_the_example_runs(tmp_path: Path) -> None:
    options = ["--held-back", str(sample()), "--variants", "2", "--steps", "6", "--seeds", "0", "--width", "8"]
    command = [sys.executable, str(EXAMPLE), str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "train_pose.json").read_text(encoding="utf-8"))
    assert (record["photos"], record["variants"], record["held_back"]) == (1, 2, {"sample": 1})
    assert [run["trained_on"] for run in record["runs"]] == ["photos", "photos, augmented", "variants, augmented"]
    for run in record["runs"]:
        assert set(run["errors"]) == {"learnt", "sample"}
        assert run["errors"]["sample"]["landmarks"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"train_pose.json", "sample.png", "photos.png", "variants.png"}
