"""Damaged inputs of every kind: files with bytes cut off, flipped, overwritten and added, arrays of wrong kinds.

Whatever comes in, faceinv answers, or raises an error of its own, within seconds. The same seed makes the same inputs.
Ends with status 1 where an input raised something else or took too long; `--keep FOLDER` writes those files.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from report import table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from toy_head import embedding, model_of, toy, write_basel, write_flame, write_gnm, write_ict, write_statismo

import faceinv
from faceinv.face.formats import save_npz_model
from faceinv.photo.pts import load_landmarks, write_pts
from faceinv.photo.read import load_image, load_mask

__all__ = ["Answer", "run", "summary"]

SLOW: Final = 5.0
"""Seconds that no input may take."""
_DEAD: Final = 120
"""Seconds after which the program says where it is and ends."""
_SIDE: Final = 160
_CONFIG: Final = {"size": 48, "levels": 1, "iterations": 2}
_Random = np.random.Generator


@dataclass(frozen=True)
class Answer:
    """What became of one input."""

    kind: str
    change: str
    seconds: float
    outcome: str
    """`answered`, `refused` (an error of faceinv's), or what was raised."""

    @property
    def right(self) -> bool:
        """Whether it was answered or refused in time."""
        return self.outcome in ("answered", "refused") and self.seconds < SLOW


@dataclass(frozen=True)
class _Kind:
    """One kind of input."""

    name: str
    spoil: Callable[[_Random], tuple[str, Callable[[], object]]]
    """What is changed, and the call that uses it."""
    plain: Callable[[], object]
    """The call with the input as it was; it is answered."""
    keep: Callable[[Path, int], None] = field(default=lambda folder, number: None)


# Files ----------------------------------------------------------------------------------------------------------------


def _cut(content: bytes, random: _Random) -> bytes:
    return content[: int(random.integers(len(content) + 1))]


def _flipped(content: bytes, random: _Random) -> bytes:
    changed = bytearray(content)
    # Half of them in the first bytes, which say how the rest is laid out.
    span = len(changed) if random.random() < 0.5 else min(len(changed), 400)
    for _ in range(int(random.integers(1, 20))):
        changed[int(random.integers(span))] = int(random.integers(256))
    return bytes(changed)


def _overwritten(content: bytes, random: _Random) -> bytes:
    start, length = int(random.integers(len(content))), int(random.integers(1, 300))
    noise = bytes(length) if random.random() < 0.3 else random.bytes(length)
    return content[:start] + noise + content[start + length :]


def _longer(content: bytes, random: _Random) -> bytes:
    start = int(random.integers(len(content) + 1))
    return content[:start] + random.bytes(int(random.integers(1, 300))) + content[start:]


def _garbage(content: bytes, random: _Random) -> bytes:
    return content[: int(random.integers(17))] + random.bytes(int(random.integers(2000)))


def _line_ends(content: bytes, random: _Random) -> bytes:
    return content.replace(b"\n", b"\r\n") if random.random() < 0.5 else content.replace(b"\r\n", b"\n")


def _words(content: bytes, random: _Random) -> bytes:
    """For text: numbers replaced by what is no number, or none that can be used."""
    odd = [
        b"nan",
        b"inf",
        b"-1",
        b"1e999",
        b"99999999999999999999",
        b"",
        b"x",
        b"\xff",
        b"0",
        b"-0.0",
        b"[",
        b"{}",
        b"''",
    ]
    words = content.split(b" ")
    for _ in range(int(random.integers(1, 6))):
        words[int(random.integers(len(words)))] = odd[int(random.integers(len(odd)))]
    return b" ".join(words)


_CHANGES: Final = {
    "cut": _cut,
    "flipped": _flipped,
    "overwritten": _overwritten,
    "longer": _longer,
    "garbage": _garbage,
    "line ends": _line_ends,
    "words": _words,
}


def _file_kind(name: str, path: Path, use: Callable[[], object]) -> _Kind:
    """A file that is changed where it lies, and what reads it or what lies beside it."""
    content = path.read_bytes()

    def spoil(random: _Random) -> tuple[str, Callable[[], object]]:
        change = str(random.choice(list(_CHANGES)))
        spoiled = _CHANGES[change](content, random)

        def call() -> object:
            path.write_bytes(spoiled)
            try:
                return use()
            finally:
                path.rename(path.with_name(f"{path.name}.last"))
                path.write_bytes(content)

        return change, call

    def keep(folder: Path, number: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}_{path.name}").write_bytes(path.with_name(f"{path.name}.last").read_bytes())

    return _Kind(name, spoil, use, keep)


def _photo_files(folder: Path, fitter: faceinv.Fitter, picture: NDArray[np.uint8], points: Any) -> Iterator[_Kind]:
    suffixes = ["jpg", "png", "gif", "bmp", "tif", "ppm", "tga", "ico", "jp2"]
    suffixes += [suffix for suffix in ("webp", "avif") if features.check(suffix)]
    for suffix in suffixes:
        path = folder / f"photo.{suffix}"
        Image.fromarray(picture).save(path)
        yield _file_kind(f"photo .{suffix}", path, lambda path=path: fitter.fit(path, points))  # type: ignore[misc]
    path = folder / "found.jpg"
    Image.fromarray(picture).save(path)
    yield _file_kind("photo, face to be found", path, lambda: fitter.fit(path))
    for suffix in ("png", "gif"):
        mask = folder / f"mask.{suffix}"
        Image.fromarray(np.full((_SIDE, _SIDE), 255, np.uint8)).save(mask)
        use = lambda mask=mask: load_mask(mask, (_SIDE, _SIDE))  # noqa: E731
        yield _file_kind(f"mask .{suffix}", mask, use)


def _landmark_files(folder: Path, points: NDArray[np.float64]) -> Iterator[_Kind]:
    write_pts(folder / "face.pts", points)
    np.save(folder / "face.npy", points)
    np.savetxt(folder / "face.csv", points, delimiter=",")
    np.savetxt(folder / "face.txt", points)
    (folder / "face.json").write_text(json.dumps({"landmarks": points.tolist()}))
    for path in sorted(folder.glob("face.*")):
        use = lambda path=path: load_landmarks(path, (_SIDE, _SIDE))  # noqa: E731
        yield _file_kind(f"landmarks {path.suffix}", path, use)


def _model_files(folder: Path) -> Iterator[_Kind]:
    def kind(name: str, path: Path, source: Path | None = None) -> _Kind:
        return _file_kind(f"model {name}", path, lambda: faceinv.load_model(source or path, identity=2, albedo=1))

    def under(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    own = under("own") / "own.npz"
    save_npz_model(model_of(toy()), own)
    yield kind("own .npz", own)
    basel = under("basel")
    write_basel(basel, identity=3, expression=2, albedo=2)
    for name in ("01_MorphableModel.mat", "model_info.mat", "Exp_Pca.bin", "std_exp.txt"):
        yield kind(f"Basel 2009, {name}", basel / name, basel)
    path = under("statismo") / "model2019.h5"
    write_statismo(path)
    yield kind("Basel 2019 .h5", path)
    flame = under("flame") / "generic_model.pkl"
    head, stored = write_flame(flame)
    faces, weights = embedding(head, stored["f"].astype(np.int64))
    content: Any = {"full_lmk_faces_idx": faces[None], "full_lmk_bary_coords": weights[None]}
    np.save(flame.with_name("landmark_embedding.npy"), content, allow_pickle=True)
    yield kind("FLAME .pkl", flame)
    yield kind("FLAME, its embedding", flame.with_name("landmark_embedding.npy"), flame)
    ict = under("ict")
    write_ict(ict)
    for name in ("generic_neutral_mesh.obj", "identity001.obj", "jawOpen.obj", "vertex_indices.json"):
        yield kind(f"ICT, {name}", ict / name, ict)
    gnm = under("gnm") / "gnm_head.npz"
    write_gnm(gnm)
    yield kind("GNM .npz", gnm)
    yield kind("GNM, its landmarks", gnm.with_name("head_sparse_68.txt"), gnm)
    (gnm.parent / "landmarks.txt").write_text((gnm.parent / "head_sparse_68.txt").read_text())
    yield kind("landmarks.txt", gnm.parent / "landmarks.txt", gnm)


def _other_files(folder: Path, fitter: faceinv.Fitter, picture: NDArray[np.uint8], points: Any) -> Iterator[_Kind]:
    result = folder / "result.npz"
    fitter.fit(picture, points).save(result)
    yield _file_kind("result .npz", result, lambda: faceinv.load_result(result, fitter.model))
    settings = folder / "settings.toml"
    settings.write_text("size = 48\nlevels = 1\niterations = 2\nmargin = 1.5\nnormals = 'flat'\nassembly = 'rows'\n")
    yield _file_kind("settings .toml", settings, lambda: faceinv.FitConfig.from_toml(settings))


# Arrays and values ----------------------------------------------------------------------------------------------------


def _spoiled_array(array: NDArray[Any], random: _Random) -> tuple[str, object]:
    """An array of another kind, shape or with odd numbers in it."""
    flat = array.astype(np.float64).ravel().copy()
    flat[random.integers(flat.size, size=int(random.integers(1, 30)))] = random.choice(
        [np.nan, np.inf, -1, 1e300, 1e-300]
    )
    changes: dict[str, Callable[[], object]] = {
        "odd numbers": lambda: flat.reshape(array.shape),
        "other type": lambda: array.astype(
            random.choice(["int8", "uint16", "float16", "complex64", "bool", "U5", "O"])
        ),
        "less": lambda: array[: int(random.integers(len(array)))],
        "axis more": lambda: array[..., None],
        "axis less": lambda: array[0],
        "turned": lambda: array.T,
        "negative": lambda: -array.astype(np.float64),
        "huge": lambda: array.astype(np.float64) * 10.0 ** float(random.uniform(3, 300)),
        "list": lambda: array.tolist(),
        "ragged": lambda: [*array.tolist(), [1]],
        "none": lambda: random.choice(np.array([0, "", b"", {}, 1.5, None, object()], object)),
    }
    change = str(random.choice(list(changes)))
    return change, changes[change]()


def _array_kinds(fitter: faceinv.Fitter, picture: NDArray[np.uint8], points: NDArray[np.float64]) -> Iterator[_Kind]:
    count = fitter.model.identity_count
    uses: dict[str, tuple[NDArray[Any], Callable[[Any], object]]] = {
        "photo": (picture, lambda array: fitter.fit(array, points)),
        "photo, read": (picture / 255.0, load_image),
        "mask": (np.ones((_SIDE, _SIDE), np.bool_), lambda array: fitter.fit(picture, points, mask=array)),
        "landmarks": (points, lambda array: fitter.fit(picture, array)),
        "mean of a prior": (np.zeros(count), lambda array: fitter.model.with_prior(array, np.eye(count))),
        "covariance of a prior": (np.eye(count), lambda array: fitter.model.with_prior(np.zeros(count), array)),
    }
    for name, (array, use) in uses.items():

        def spoil(
            random: _Random, array: NDArray[Any] = array, use: Callable[[Any], object] = use
        ) -> tuple[str, Callable[[], object]]:
            change, spoiled = _spoiled_array(array, random)
            return change, lambda: use(spoiled)

        yield _Kind(f"array: {name}", spoil, partial(use, array))

    def settings(random: _Random) -> tuple[str, Callable[[], object]]:
        names = [*vars(faceinv.FitConfig()), "unknown"]
        values: list[object] = [
            None,
            "",
            "flat",
            -1,
            0,
            1,
            10**9,
            1e308,
            float("nan"),
            float("inf"),
            True,
            [],
            {},
            b"x",
        ]
        chosen = {str(random.choice(names)): values[int(random.integers(len(values)))] for _ in range(2)}
        return ", ".join(chosen), lambda: faceinv.FitConfig.of(chosen)

    yield _Kind("settings", settings, faceinv.FitConfig)


# ----------------------------------------------------------------------------------------------------------------------


def _kinds(folder: Path) -> list[_Kind]:
    photo = Image.open(Path(faceinv.__file__).parent / "data" / "sample.jpg").convert("RGB")
    whole = faceinv.Fitter(config=_CONFIG).fit(photo)
    scale = _SIDE / max(photo.size)
    small = photo.resize((_SIDE, _SIDE), box=(0, 0, max(photo.size), max(photo.size)))
    picture, points = np.asarray(small), (whole.landmarks_target + 0.5) * scale - 0.5
    model = faceinv.load_model("default", identity=4, expression=3, albedo=2, face_only=True)
    fitter = faceinv.Fitter(model, config=_CONFIG)
    return [
        *_photo_files(folder, fitter, picture, points),
        *_landmark_files(folder, points),
        *_model_files(folder),
        *_other_files(folder, fitter, picture, points),
        *_array_kinds(fitter, picture, points),
    ]


def _answer(kind: str, change: str, call: Callable[[], object]) -> Answer:
    outcome, began = "answered", time.perf_counter()
    try:
        call()
    except faceinv.FaceinvError:
        outcome = "refused"
    except Exception as error:  # what this program is there to find
        outcome = f"{type(error).__name__}: {error}"
    return Answer(kind, change, time.perf_counter() - began, outcome)


def run(count: int, seed: int, keep: Path | None = None) -> list[Answer]:
    """Try `count` inputs, the kinds in turn.

    Args:
        count: how many.
        seed: of the changes.
        keep: where files that were not answered rightly are written.
    """
    answers = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = _kinds(Path(folder))
        for kind in kinds[:count]:
            kind.plain()
        for number, kind in zip(range(count), cycle(kinds), strict=False):
            random = np.random.default_rng((seed, number))
            change, call = kind.spoil(random)
            faulthandler.dump_traceback_later(_DEAD, exit=True)
            answer = _answer(kind.name, change, call)
            if answer.seconds >= SLOW:  # the machine may be busy with something else
                answer = min(answer, _answer(kind.name, change, call), key=lambda one: one.seconds)
            faulthandler.cancel_dump_traceback_later()
            answers.append(answer)
            if keep is not None and not answer.right:
                kind.keep(keep, number)
    return answers


def summary(answers: list[Answer]) -> list[dict[str, Any]]:
    """One row for each kind of input."""
    rows = []
    for kind in dict.fromkeys(answer.kind for answer in answers):
        of_kind = [answer for answer in answers if answer.kind == kind]
        rows.append(
            {
                "kind": kind,
                "inputs": len(of_kind),
                "answered": sum(answer.outcome == "answered" for answer in of_kind),
                "refused": sum(answer.outcome == "refused" for answer in of_kind),
                "other": sum(answer.outcome not in ("answered", "refused") for answer in of_kind),
                "slowest, s": max(answer.seconds for answer in of_kind),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="inputs in all (500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that were not answered rightly")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    answers = run(options.count, options.seed, options.keep)
    print(table(summary(answers)))
    wrong = [answer for answer in answers if not answer.right]
    for answer in wrong:
        print(f"WRONG: {answer.kind}, {answer.change}, {answer.seconds:.1f} s: {answer.outcome[:300]}")
    print(f"{len(answers)} inputs, {len(wrong)} not answered rightly, {os.times().user:.0f} s of CPU")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
