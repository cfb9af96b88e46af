"""Steps from frame to frame, as they are measured of fitted videos and drawn for pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import invoke
from quick import quick_fit

from faceinv.dataset import DatasetSettings
from faceinv.errors import ConfigError, InputError
from faceinv.face.camera import rotation_from_euler
from faceinv.generate import Steps, VariantConfig, Variants
from faceinv.generate.draws import draw_neighbour, own_draw, random_stream

SPREAD = np.array([1.5, 0.8, 0.5, 3.0, 2.0, 0.01])
"""Of yaw, pitch, roll (degrees), place (mm), the logarithm of the size."""


def write_frame(path: Path, pose: Any, expression: Any, lighting: Any, **changes: Any) -> None:
    """What is measured of a result, of a face in a pose as `Steps.pose` has it, but its place in px."""
    fit = quick_fit()
    yaw, pitch, roll, right, down, larger = pose
    scale = 2.0 * np.exp(larger)
    fields: dict[str, Any] = {
        "scale": scale,
        "rotation": rotation_from_euler(*np.radians([pitch, yaw, roll])),
        "translation": np.array([300.0, 200.0]),
        "kappa": 0.0,
        "principal_point": np.zeros(2),
        "landmarks3d": fit.landmarks3d,
        "expression": expression,
        "lighting": lighting,
        "status": "CONVERGED_COST",
        "model": "default",
        "model_fingerprint": fit.model.fingerprint,
        **changes,
    }
    # The middle of the face's box is what moves; a turn about the model's origin moves it as well.
    xy = scale * fit.landmarks3d @ np.asarray(fields["rotation"]).T
    box = (xy.min(axis=0) + xy.max(axis=0))[:2] / 2 * [1, -1]
    fields["translation"] = np.array([300.0 + right, 200.0 + down]) - box
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **fields)


def write_video(folder: Path, count: int = 400, skip: tuple[int, ...] = (), name: str = "frame_{}") -> None:
    """Frames that wander with deviations `SPREAD` of the pose, .2 of the first half of the expression, .02 of light."""
    rng = np.random.default_rng(3)
    fit = quick_fit()
    pose, expression, lighting = np.zeros(6), np.zeros(len(fit.expression)), fit.lighting.copy()
    for number in range(count):
        if number not in skip:
            write_frame(folder / f"{name.format(number)}.npz", pose, expression, lighting)
        step = rng.normal(0, SPREAD)
        step[1] += 0.5 * step[0]  # nods while it turns
        wandered = np.abs(pose + step) > np.array([30, 30, 30, 400, 400, 0.3])
        step = np.where(wandered, -step, step)
        px_per_mm = 2.0 * np.exp(pose[5] + step[5] / 2)
        pose = pose + step * np.array([1, 1, 1, px_per_mm, px_per_mm, 1])
        expression[: len(expression) // 2] += rng.normal(0, 0.2, len(expression) // 2)
        lighting = lighting + rng.normal(0, 0.02, (9, 3)) * lighting[:1]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    write_video(folder)
    return folder


def test_statistics_of_a_video_are_those_that_its_frames_were_made_with(video: Path) -> None:
    steps = Steps.measured(video)
    assert (steps.frames, steps.pairs, steps.cuts) == (400, 399, 0)
    assert steps.fingerprint == quick_fit().model.fingerprint
    expected = np.diag(SPREAD**2)
    expected[1, 1] += 0.25 * SPREAD[0] ** 2
    expected[0, 1] = expected[1, 0] = 0.5 * SPREAD[0] ** 2
    spread = np.sqrt(np.diag(expected))
    assert np.abs((steps.pose - expected) / np.outer(spread, spread)).max() < 0.2
    half = len(steps.expression) // 2
    assert np.sqrt(np.diag(steps.expression)[:half]) == pytest.approx(0.2, rel=0.15)
    assert np.abs(steps.expression[half:]).max() == 0
    assert np.sqrt(np.trace(steps.light) / 27) == pytest.approx(0.02, rel=0.1)


def test_neighbours_have_the_measured_statistics(video: Path) -> None:
    steps = Steps.measured(video)
    config = VariantConfig(steps=steps)
    start = own_draw(quick_fit())
    stream = random_stream(1, "0", 0)
    near = [draw_neighbour(stream, start, config) for _ in range(1500)]
    moved = np.array(
        [
            [
                one.yaw - start.yaw,
                one.pitch - start.pitch,
                one.roll - start.roll,
                *(one.offset - start.offset) * start.span,
                np.log(start.span / one.span),
            ]
            for one in near
        ]
    )
    spread = np.sqrt(np.diag(steps.pose))
    assert np.abs((moved.T @ moved / len(moved) - steps.pose) / np.outer(spread, spread)).max() < 0.15
    expression = np.array([one.expression - start.expression for one in near])
    assert expression.std(axis=0) == pytest.approx(np.sqrt(np.diag(steps.expression)), rel=0.12, abs=1e-6)
    light = np.array([(one.lighting - start.lighting) / start.lighting[:1] for one in near]).reshape(len(near), 27)
    assert light.std(axis=0) == pytest.approx(np.sqrt(np.diag(steps.light)), rel=0.12)
    assert {one.distance for one in near} == {start.distance}


def test_cuts_lost_frames_and_other_videos_are_no_steps(video: Path, tmp_path: Path) -> None:
    whole = Steps.measured(video)
    fit = quick_fit()
    write_video(tmp_path / "a", 60, skip=(20, 21, 22, 40))
    write_video(tmp_path / "b", 40)
    for number, (pose, light) in enumerate([([60, 0, 0, 0, 0, 0], 1), ([0, 0, 0, 400, 0, 0], 1), ([0] * 6, 2.0)]):
        write_frame(tmp_path / "b" / f"frame_{40 + number}.npz", pose, fit.expression, light * fit.lighting)
    write_frame(tmp_path / "b" / "frame_43.npz", [0] * 6, fit.expression, fit.lighting, status="NOT_FINITE")
    np.savez(tmp_path / "b" / "frame_44.npz", other=np.zeros(3))
    steps = Steps.measured(tmp_path)
    assert steps.frames == 56 + 43
    assert (steps.pairs, steps.cuts) == (59 - 6 + 39, 3)
    spread = np.sqrt(np.diag(whole.pose))
    assert np.sqrt(np.diag(steps.pose)) == pytest.approx(spread, rel=0.35)


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    fit = quick_fit()
    for number in range(40):  # 9 before 10, and every fifth frame of the video
        write_frame(tmp_path / f"v2_{5 * number}_hd.npz", [number, 0, 0, 0, 0, 0], fit.expression, fit.lighting)
    steps = Steps.measured(tmp_path)
    assert steps.pairs == 39
    assert np.sqrt(steps.pose[0, 0]) == pytest.approx(1.0)
    assert steps.light.max() == 0


def test_saved_steps_are_read_again(video: Path, tmp_path: Path) -> None:
    steps = Steps.measured(video)
    steps.save(tmp_path / "steps.npz")
    again = Steps.load(tmp_path / "steps.npz")
    assert again == steps
    assert again.record() == steps.record()
    one, two = (each.drawn(random_stream(0, "0", 0)) for each in (steps, again))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert steps != replace(steps, pose=2 * steps.pose)
    with pytest.raises(InputError, match=r"saved as '\.npz'"):
        steps.save(tmp_path / "steps.json")


def test_settings_name_a_file_beside_them_or_a_folder(video: Path, tmp_path: Path) -> None:
    steps = Steps.measured(video)
    steps.save(tmp_path / "steps.npz")
    (tmp_path / "a.toml").write_text('steps = "steps.npz"\n[dataset]\nkind = "pairs"\n')
    settings = DatasetSettings.read(tmp_path / "a.toml")
    assert settings.draw.steps == steps
    assert settings.record()["draw"]["steps"]["digest"] == steps.digest
    json.dumps(settings.record(), allow_nan=False)
    (tmp_path / "c.toml").write_text(f"steps = '{video}'\n")
    assert VariantConfig.from_toml(tmp_path / "c.toml").steps == steps
    assert DatasetSettings().record()["draw"]["steps"] is None


def test_steps_that_cannot_be_used(video: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "short", 12)
    with pytest.raises(InputError, match=r"12 results of frames with 11 pairs .* 30 pairs are needed"):
        Steps.measured(tmp_path / "short")
    write_video(tmp_path / "mixed", 40)
    fit = quick_fit()
    other = {"model_fingerprint": "0123456789abcdef"}
    write_frame(tmp_path / "mixed" / "frame_40.npz", [0] * 6, fit.expression, fit.lighting, **other)
    with pytest.raises(InputError, match=r"frame_40\.npz' was fitted with another model"):
        Steps.measured(tmp_path / "mixed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has 0 results"):
        Steps.measured(tmp_path / "empty")
    with pytest.raises(InputError, match="is no folder"):
        Steps.measured(tmp_path / "none")
    with pytest.raises(InputError, match="does not exist"):
        VariantConfig(steps=tmp_path / "none.npz")  # type: ignore[arg-type]
    np.savez(tmp_path / "other.npz", pose=np.eye(6))
    with pytest.raises(InputError, match="holds no statistics of steps: it lacks expression"):
        Steps.load(tmp_path / "other.npz")
    good = Steps.measured(video)
    replace(good, pose=-good.pose).save(tmp_path / "bad.npz")
    with pytest.raises(InputError, match="'pose' is no covariance of 6 numbers"):
        Steps.load(tmp_path / "bad.npz")
    for wrong in (3, True, ""):
        with pytest.raises(ConfigError, match=r"expected a file of Steps\.save"):
            VariantConfig.of({"steps": wrong})
    with pytest.raises(ConfigError, match="'steps' and 'step_yaw' are given"):
        VariantConfig(steps=good, step_yaw=1.0)
    foreign = replace(good, fingerprint="0123456789abcdef")
    with pytest.raises(InputError, match="measured steps are of another model"):
        Variants([fit], "pairs", 1, config=VariantConfig(steps=foreign))
    Variants([fit], "coarse", 1, config=VariantConfig(steps=foreign))  # which takes none


def test_the_command_measures_a_folder(video: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from quick import sample

    words = ("dataset", sample(), "-o", tmp_path / "out", "--steps", video)
    run = invoke(*words)
    assert run.status == 2
    assert "--steps is for --kind pairs" in run.err
    (tmp_path / "s.toml").write_text(
        "samples = 1\n[dataset]\nkind = 'pairs'\n[fit]\nsize = 32\nlevels = 1\niterations = 1\n"
    )
    run = invoke(*words, "--config", tmp_path / "s.toml", "--variants", 1, "--size", 32, "--workers", 1)
    assert run.status == 0, run.text
    assert "Steps of 399 pairs of frames, 0 left out as cuts: yaw 1." in run.text
    card = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert card["settings"]["draw"]["steps"]["digest"] == Steps.measured(video).digest
    again = invoke(*words[:-2], "--config", tmp_path / "s.toml", "--variants", 1, "--size", 32)
    assert again.status == 2
    assert "holds a data set of other settings: draw.steps" in again.err
