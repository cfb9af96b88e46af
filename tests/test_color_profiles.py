"""Photos with a colour profile show the same colours as the photo in sRGB, whatever the profile is called."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.photo.read import load_image

D50 = (0.9642, 1.0, 0.8249)
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""XYZ of red, green and blue, adapted to D50."""
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
LINEAR = b"curv" + struct.pack(">II", 0, 0)
GAMMA_18 = b"curv" + struct.pack(">IIHxx", 0, 1, round(1.8 * 256))
SRGB_PARAMETRIC = b"para" + struct.pack(
    ">IHH5i", 0, 3, 0, *(round(v * 65536) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)


def srgb_table(entries: int) -> bytes:
    """sRGB's curve as a table, as most profiles of it have."""
    values = srgb_to_linear(np.linspace(0, 1, entries))
    return (
        b"curv"
        + struct.pack(f">II{entries}H", 0, entries, *np.rint(values * 65535).astype(int))
        + bytes(2 * (entries % 2))
    )


def profile(
    name: str,
    curve: bytes,
    primaries: tuple[tuple[float, ...], ...] = SRGB,
    space: Literal["RGB ", "GRAY"] = "RGB ",
) -> bytes:
    """An ICC profile (version 2, of a display)."""
    text = name.encode() + b"\0"
    tags: dict[bytes, bytes | tuple[float, ...]] = {
        b"desc": b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": D50,
    }
    if space == "RGB ":
        tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True))
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    else:
        tags |= {b"kTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        data = content
        if not isinstance(data, bytes):
            data = b"XYZ " + struct.pack(">I3i", 0, *(round(v * 65536) for v in data))
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4xI4s4s4s", size, 0x02100000, b"mntr", space.encode(), b"XYZ ")
    head += struct.pack(">6H4s28x", 2026, 1, 1, 0, 0, 0, b"acsp") + struct.pack(">3i", *(round(v * 65536) for v in D50))
    return head.ljust(128, b"\0") + table + body


@pytest.fixture(scope="module")
def original() -> NDArray[np.uint8]:
    """(48, 64, 3) smooth colours, none of them outside of sRGB."""
    y, x = np.mgrid[:48, :64]
    return np.stack([40 + 3 * x, 220 - 3 * y, 60 + x + 2 * y], axis=-1).astype(np.uint8)


def write(path: Path, values: NDArray[Any], icc_profile: bytes, mode: str | None = None) -> Path:
    image = Image.fromarray(values)
    (image if mode is None else image.convert(mode)).save(path, icc_profile=icc_profile)
    return path


def off(path: Path, expected: NDArray[Any]) -> float:
    """The largest difference to (H, W, 3) of 255."""
    return float(np.abs(255 * load_image(path).pixels - expected).max())


def as_linear(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rint(255 * srgb_to_linear(values / 255)).astype(np.uint8)


@pytest.mark.parametrize("name", ["sRGB", "GIMP built-in Linear sRGB", "c2", ""])
@pytest.mark.parametrize("curve", [SRGB_PARAMETRIC, srgb_table(1024), srgb_table(65)])
def test_profiles_of_srgb_leave_the_values_alone(
    tmp_path: Path, original: NDArray[np.uint8], name: str, curve: bytes
) -> None:
    assert off(write(tmp_path / "photo.png", original, profile(name, curve)), original) < 1e-3


def test_pillows_own_srgb_profile_leaves_the_values_alone(tmp_path: Path, original: NDArray[np.uint8]) -> None:
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert off(write(tmp_path / "photo.png", original, content), original) < 1e-3


@pytest.mark.parametrize("name", ["linear light", "GIMP built-in Linear sRGB", "sRGB"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_linear_light_called_srgb_is_converted(
    tmp_path: Path, original: NDArray[np.uint8], name: str, mode: str
) -> None:
    path = write(tmp_path / "photo.png", as_linear(original), profile(name, LINEAR), mode)
    assert off(path, original) < 5  # 8 bits of linear light tell dark tones no better
    assert np.abs(255 * load_image(path).pixels - original).mean() < 1


def test_other_primaries_are_converted(tmp_path: Path, original: NDArray[np.uint8]) -> None:
    to_p3 = np.linalg.inv(np.array(DISPLAY_P3).T) @ np.array(SRGB).T
    values = np.rint(255 * linear_to_srgb(srgb_to_linear(original / 255) @ to_p3.T)).astype(np.uint8)
    path = write(tmp_path / "photo.png", values, profile("sRGB of a kind", SRGB_PARAMETRIC, DISPLAY_P3))
    assert off(path, original) <= 2
    assert np.abs(values.astype(int) - original).max() > 10


def test_another_curve_is_converted(tmp_path: Path, original: NDArray[np.uint8]) -> None:
    values = np.rint(255 * srgb_to_linear(original / 255) ** (1 / 1.8)).astype(np.uint8)
    assert off(write(tmp_path / "photo.png", values, profile("sRGB", GAMMA_18)), original) <= 2


@pytest.mark.parametrize("mode", ["L", "LA"])
@pytest.mark.parametrize("space", ["GRAY", "RGB "])
def test_grey_photos_are_converted(
    tmp_path: Path, original: NDArray[np.uint8], mode: str, space: Literal["RGB ", "GRAY"]
) -> None:
    grey = original[..., 0]
    path = write(tmp_path / "photo.png", as_linear(grey), profile("sRGB grey", LINEAR, space=space), mode)
    assert off(path, np.repeat(grey[..., None], 3, axis=2)) < 3
    same = write(tmp_path / "same.png", grey, profile("linear", SRGB_PARAMETRIC, space=space), mode)
    assert off(same, np.repeat(grey[..., None], 3, axis=2)) < 1e-3


@pytest.mark.parametrize("space", ["GRAY", "RGB "])
@pytest.mark.parametrize("kind", ["16 bit", "float"])
def test_deep_grey_photos_are_converted_without_loss(tmp_path: Path, space: Literal["RGB ", "GRAY"], kind: str) -> None:
    grey = np.linspace(0.02, 1, 20 * 30).reshape(20, 30)
    linear = srgb_to_linear(grey)
    values = np.rint(65535 * linear).astype(np.uint16) if kind == "16 bit" else linear.astype(np.float32)
    path = write(tmp_path / "photo.tiff", values, profile("grey", LINEAR, space=space))
    assert off(path, 255 * np.repeat(grey[..., None], 3, axis=2)) < 0.8


def test_palettes_are_converted(tmp_path: Path) -> None:
    colours = np.array([[200, 100, 50], [90, 160, 230]], dtype=np.uint8)
    image = Image.new("P", (20, 20), 0)
    image.paste(1, (0, 0, 20, 5))
    image.putpalette(as_linear(colours).ravel().tolist())
    image.save(tmp_path / "photo.png", icc_profile=profile("sRGB", LINEAR))
    pixels = 255 * load_image(tmp_path / "photo.png").pixels
    np.testing.assert_allclose(pixels[10, 10], colours[0], atol=2)
    np.testing.assert_allclose(pixels[0, 0], colours[1], atol=2)


def test_opacity_is_no_colour(tmp_path: Path, original: NDArray[np.uint8]) -> None:
    opacity = np.full((48, 64, 1), 255, np.uint8)
    opacity[:10] = 0
    rgba = np.concatenate([as_linear(original), opacity], axis=2)
    pixels = load_image(write(tmp_path / "photo.png", rgba, profile("linear", LINEAR))).pixels
    assert (pixels[:10] == 1).all()
    assert np.abs(255 * pixels[10:] - original[10:]).max() < 5


@pytest.mark.parametrize("case", ["damaged", "cut short", "of a Lab image", "of grey on colours"])
def test_profiles_that_do_not_fit_are_passed_over_with_a_word(
    tmp_path: Path, original: NDArray[np.uint8], case: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = {
        "damaged": b"no profile",
        "cut short": profile("linear", LINEAR)[:200],
        "of a Lab image": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        "of grey on colours": profile("grey", LINEAR, space="GRAY"),
    }[case]
    path = write(tmp_path / "photo.png", original, content)
    with caplog.at_level(logging.WARNING):
        assert off(path, original) < 1e-3
    assert "colour profile cannot be used" in caplog.text


def test_given_pil_images_are_converted_too(original: NDArray[np.uint8]) -> None:
    image = Image.fromarray(original)
    image.info["icc_profile"] = profile("sRGB", LINEAR)
    expected = linear_to_srgb(original / 255)
    np.testing.assert_allclose(load_image(image).pixels, expected, atol=2 / 255)
