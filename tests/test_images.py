"""Reading photos and masks, sRGB, square crops, PNG files."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from faceinv.errors import InputError
from faceinv.output.picture import save_image
from faceinv.photo import image_file as images
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.photo.image_file import is_image_file, is_unread_picture
from faceinv.photo.read import load_image, load_mask
from faceinv.photo.resample import crop_square


@pytest.fixture
def colours() -> NDArray[Any]:
    """(20, 30, 3) uint8."""
    return np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def write(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_file_pil_image_and_arrays_agree(tmp_path: Path, colours: NDArray[Any]) -> None:
    path = write(tmp_path / "photo.png", Image.fromarray(colours))
    expected = colours.astype(np.float32) / np.float32(255)
    for source in (path, str(path), Image.fromarray(colours), colours, colours / 255, expected, expected[::-1][::-1]):
        loaded = load_image(source)
        assert loaded.pixels.dtype == np.float32
        assert loaded.pixels.flags.c_contiguous
        assert loaded.size == (30, 20)
        np.testing.assert_allclose(loaded.pixels, expected, atol=1e-7)
    assert load_image(path).name == "photo.png"
    assert load_image(colours).name == "image"


def test_result_has_its_own_memory(colours: NDArray[Any]) -> None:
    values = colours.astype(np.float32) / np.float32(255)
    loaded = load_image(values)
    values[:] = 0
    assert loaded.pixels.max() > 0.5


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_keeps_its_depth(tmp_path: Path, suffix: str) -> None:
    grey = (np.arange(20 * 30, dtype=np.uint16) * 109).reshape(20, 30)
    path = write(tmp_path / f"deep.{suffix}", Image.fromarray(grey))
    pixels = load_image(path).pixels
    np.testing.assert_allclose(pixels[..., 1], grey / 65535, atol=1e-7)
    np.testing.assert_array_equal(pixels, load_image(grey).pixels)


def test_32_bit_whole_numbers_are_read_as_16_bit() -> None:
    grey = Image.fromarray(np.full((20, 20), 65535, dtype=np.int32))
    assert load_image(grey).pixels.min() == 1
    with pytest.raises(InputError, match="0 to 65535"):
        load_image(Image.fromarray(np.full((20, 20), 65536, dtype=np.int32)))


def test_float_image(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    path = write(tmp_path / "float.tiff", Image.fromarray(values))
    np.testing.assert_allclose(load_image(path).pixels[..., 2], values)
    with pytest.raises(InputError, match="floats from 0 to 2"):
        load_image(Image.fromarray(values * 2))


def test_grey_becomes_three_equal_channels(tmp_path: Path, colours: NDArray[Any]) -> None:
    grey = colours[..., 0]
    path = write(tmp_path / "grey.png", Image.fromarray(grey))
    for source in (path, grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_allclose(load_image(source).pixels, np.repeat(grey[..., None] / 255, 3, 2), atol=1e-7)


def test_transparent_parts_show_white(tmp_path: Path, colours: NDArray[Any]) -> None:
    alpha = np.full((20, 30, 1), 255, dtype=np.uint8)
    alpha[:10] = 0
    rgba = np.concatenate([colours, alpha], axis=2)
    path = write(tmp_path / "cut.png", Image.fromarray(rgba))
    for source in (path, rgba, rgba / 255):
        pixels = load_image(source).pixels
        assert (pixels[:10] == 1).all()
        np.testing.assert_allclose(pixels[10:], colours[10:] / 255, atol=1e-6)


def test_palette_and_its_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([9, 9, 9, 200, 100, 50, 0, 0, 0])
    image.paste(2, (0, 0, 20, 5))
    pixels = load_image(write(tmp_path / "palette.png", image, transparency=2)).pixels
    assert (pixels[:5] == 1).all()
    np.testing.assert_allclose(pixels[10, 10], [200 / 255, 100 / 255, 50 / 255], atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "YCbCr", "HSV", "CMYK", "LAB"])
def test_other_modes_are_read(mode: str) -> None:
    white = (
        Image.new("RGB", (20, 20), "white").convert("L") if mode in ("1", "LA") else Image.new("RGB", (20, 20), "white")
    )
    image = Image.new("LAB", (20, 20), (255, 128, 128)) if mode == "LAB" else white.convert(mode)
    np.testing.assert_allclose(load_image(image).pixels, 1, atol=0.02)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = write(tmp_path / "print.jpg", Image.new("CMYK", (32, 32), (0, 255, 255, 0)), quality=95)
    np.testing.assert_allclose(load_image(path).pixels[16, 16], [1, 0, 0], atol=0.03)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_photo_upright(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (40, 24), "black")
    upright.paste("red", (0, 0, 16, 8))
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turn[orientation]) if orientation in turn else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "phone.jpg", stored, exif=exif, quality=95, subsampling=0)
    loaded = load_image(path)
    assert loaded.size == (40, 24)
    assert loaded.pixels[2, 4, 0] > 0.9
    assert loaded.pixels[20, 36].max() < 0.1


def test_given_pil_image_is_left_as_it_is(colours: NDArray[Any]) -> None:
    image = Image.fromarray(colours)
    image.getexif()[0x0112] = 6
    assert load_image(image).size == (20, 30)
    assert image.size == (30, 20)
    assert image.getexif()[0x0112] == 6


def test_missing_file_folder_and_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no photo at .*missing\.jpg.*Check the path"):
        load_image(tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        load_image(tmp_path / ("x" * 5000))
    with pytest.raises(InputError, match="not a regular file"):
        load_image(os.devnull)
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "text.jpg").write_bytes(content)
        with pytest.raises(InputError, match=rf"text\.jpg' is not an image.*\({len(content)} bytes\)"):
            load_image(tmp_path / "text.jpg")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_files(tmp_path: Path, form: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=form)
    content = stream.getvalue()
    path = tmp_path / f"photo.{form.lower()}"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"photo\."):
        load_image(path)


def test_bombs_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "big.png", Image.new("RGB", (100, 100)))
    monkeypatch.setattr(images, "MAX_PIXELS", 9_999)
    with pytest.raises(InputError, match="100 x 100 px, more than the 9999 pixels"):
        load_image(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6_000)  # Pillow warns
    assert load_image(path).size == (100, 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)  # Pillow refuses
    with pytest.raises(InputError, match="too many pixels"):
        load_image(path)


@pytest.mark.parametrize("shape", [(1, 1, 3), (15, 400, 3), (400, 15)])
def test_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"{shape[1]} x {shape[0]} px; at least 16"):
        load_image(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 40, 50)), r"channels first.*transpose\(1, 2, 0\)"),
        (np.zeros((40, 50, 2)), r"shape \(40, 50, 2\)"),
        (np.zeros((1, 40, 50, 3)), r"shape \(1, 40, 50, 3\)"),
        (np.zeros((0, 50, 3)), "shape"),
        (np.zeros(7), "shape"),
        (np.zeros((40, 50, 3), dtype=np.int64), r"int64.*astype\(numpy.uint8\)"),
        (np.zeros((40, 50, 3), dtype=bool), "bool"),
        (np.zeros((40, 50, 3), dtype=complex), "complex128"),
        (np.full((40, 50, 3), None), "object"),
        (np.full((40, 50, 3), 200.0), "Divide it by 255"),
        (np.full((40, 50, 3), -0.5), "from -0.5 to -0.5.*Clip"),
        (np.full((40, 50, 3), np.nan), "NaN"),
        (np.full((40, 50, 3), np.inf), "infinite"),
        (None, "NoneType"),
        ([[1, 2], [3, 4]], "list"),
    ],
)
def test_arrays_that_are_not_photos(array: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_image(array)


def test_tiny_overshoot_of_floats_is_clipped() -> None:
    pixels = load_image(np.full((20, 20, 3), 1 + 1e-5)).pixels
    assert pixels.max() == 1


def test_bytes_and_open_files_are_read(tmp_path: Path, colours: NDArray[Any]) -> None:
    path = write(tmp_path / "photo.png", Image.fromarray(colours))
    content, expected = path.read_bytes(), load_image(path).pixels
    for source in (content, bytearray(content), memoryview(content), io.BytesIO(content)):
        loaded = load_image(source)
        np.testing.assert_array_equal(loaded.pixels, expected)
        assert loaded.name == "image"
        assert load_mask(source, (30, 20)).shape == (20, 30)
    with path.open("rb") as file:
        loaded = load_image(file)
        assert (loaded.name, loaded.size) == ("photo.png", (30, 20))
    written = io.BytesIO()
    Image.fromarray(colours).save(written, format="PNG")  # which leaves it at its end
    for _ in range(2):
        np.testing.assert_array_equal(load_image(written).pixels, expected)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as pipe:
        assert pipe.stdout is not None
        np.testing.assert_array_equal(load_image(pipe.stdout).pixels, expected)


def test_bytes_and_files_that_are_no_photo(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    for bad in (b"", b"hello"):
        with pytest.raises(InputError, match=rf"the photo given as bytes is not an image.*\({len(bad)} bytes\)"):
            load_image(bad)
    with pytest.raises(InputError, match="the mask given as bytes is not an image"):
        load_mask(b"hello", (20, 20))
    with (tmp_path / "text.jpg").open() as text, pytest.raises(InputError, match=r"not bytes.*open\(path, 'rb'\)"):
        load_image(text)  # type: ignore[arg-type]
    closed = (tmp_path / "text.jpg").open("rb")
    closed.close()
    with pytest.raises(InputError, match=r"cannot read '.*text\.jpg': .*closed"):
        load_image(closed)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("https://example.org/me.jpg", "download the file first"),
        ("HTTP://example.org/me.jpg", "download the file first"),
        ("s3://bucket/me.jpg", "download the file first"),
        ("file:///home/me.jpg", "'/home/me.jpg'"),
        ("data:image/png;base64,iVBORw0KGgo=", "give the bytes"),
        (Path("https://example.org/me.jpg"), "download the file first"),
    ],
)
def test_urls_are_refused_with_advice(url: str | Path, advice: str) -> None:
    for call in (load_image, lambda source: load_mask(source, (20, 20))):
        with pytest.raises(InputError, match=r"is a URL; the (photo|mask) must be a file") as caught:
            call(url)
        assert advice in str(caught.value)


def test_names_with_a_colon_are_no_urls(tmp_path: Path, colours: NDArray[Any]) -> None:
    for name in ("data:1.png", "12:30.png", "file.png"):
        assert load_image(write(tmp_path / name, Image.fromarray(colours))).size == (30, 20)


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_is_named(tmp_path: Path, brand: bytes) -> None:
    content = bytes([0, 0, 0, 24]) + b"ftyp" + brand + bytes(40)
    (tmp_path / "phone.jpg").write_bytes(content)
    for source in (tmp_path / "phone.jpg", content):
        with pytest.raises(InputError, match=r"is a HEIC photo.*Save it as JPEG.*pillow-heif"):
            load_image(source)


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", "jfif"), ("GIF", "gif"), ("AVIF", "avif"), ("JPEG", "jpe")])
def test_other_suffixes_are_photos(tmp_path: Path, form: str, suffix: str) -> None:
    Image.init()
    if form not in Image.OPEN:
        pytest.skip(f"this Pillow has no {form}")
    path = tmp_path / f"photo.{suffix.upper()}"
    Image.new("RGB", (40, 30), (200, 100, 50)).save(path, format=form)
    assert is_image_file(path)
    assert not is_unread_picture(path)
    np.testing.assert_allclose(load_image(path).pixels[15, 20], [200 / 255, 100 / 255, 50 / 255], atol=0.03)


def test_which_files_are_photos() -> None:
    assert {".jpg", ".jpeg", ".png", ".tif", ".webp", ".bmp", ".gif", ".jfif"} <= images.image_suffixes()
    assert not any(map(is_image_file, ("notes.txt", "face.pts", "face.npz", "film.mp4", "raw.dng", "jpg", ".png")))
    assert all(map(is_unread_picture, ("a.DNG", "b/c.cr2", "d.jxl")))
    assert is_image_file("e.heic") is not is_unread_picture("e.heic")
    assert not any(map(is_unread_picture, ("a.jpg", "notes.txt")))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_picture_of_an_animation_is_taken_with_a_word(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    path = tmp_path / f"moving.{form.lower()}"
    pictures[0].save(path, format=form, save_all=True, append_images=pictures[1:])
    with caplog.at_level(logging.WARNING):
        pixels = load_image(path).pixels
    np.testing.assert_allclose(pixels[15, 20], [1, 0, 0], atol=0.03)
    assert f"moving.{form.lower()}' holds 3 pictures" in caplog.text


def test_a_given_animation_stays_at_its_picture(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:])
    with Image.open(tmp_path / "moving.gif") as image:
        image.seek(1)
        np.testing.assert_allclose(load_image(image).pixels[15, 20], [0, 1, 0], atol=0.03)


class OnAnotherDevice:
    """As a tensor on a GPU."""

    def __array__(self) -> NDArray[Any]:
        raise TypeError("copy it to the host first")


def test_arrays_that_numpy_cannot_read() -> None:
    for call in (load_image, lambda source: load_mask(source, (20, 20))):
        with pytest.raises(
            InputError, match=r"an? OnAnotherDevice, cannot be read by NumPy: copy it to the host first"
        ):
            call(OnAnotherDevice())


def test_mask_kinds_agree(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:15, 8:20] = True
    bright = np.where(mask, 200, 100).astype(np.uint8)
    path = write(tmp_path / "mask.png", Image.fromarray(bright))
    rgba = np.dstack([np.full((20, 30, 3), 255), np.where(mask, 255, 0)]).astype(np.uint8)
    sources: list[Any] = [
        *(mask, mask.astype(np.uint8), mask.astype(np.int64), mask * 255, mask.astype(float), mask[..., None]),
        *(bright, path, str(path), Image.fromarray(bright), Image.fromarray(mask), Image.fromarray(rgba)),
        *(np.where(mask, 65535, 0).astype(np.uint16), Image.fromarray(np.where(mask, 65535, 0).astype(np.uint16))),
    ]
    for source in sources:
        np.testing.assert_array_equal(load_mask(source, (30, 20)), mask)
        assert load_mask(source, (30, 20)).dtype == bool


def test_mask_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="30 x 20 px, the photo is 20 x 30 px"):
        load_mask(np.ones((20, 30), dtype=bool), (20, 30))
    with pytest.raises(InputError, match="leaves out every pixel"):
        load_mask(np.zeros((20, 30), dtype=bool), (30, 20))
    with pytest.raises(InputError, match="no mask at"):
        load_mask(tmp_path / "none.png", (30, 20))
    with pytest.raises(InputError, match="shape"):
        load_mask(np.zeros((20, 30, 3)), (30, 20))
    with pytest.raises(InputError, match="NaN"):
        load_mask(np.full((20, 30), np.nan), (30, 20))
    with pytest.raises(InputError, match="a NoneType as a mask"):
        load_mask(None, (30, 20))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_srgb_curve(dtype: type) -> None:
    encoded: NDArray[Any] = np.linspace(0, 1, 1001).astype(dtype)
    linear = srgb_to_linear(encoded)
    assert linear.dtype == dtype
    assert linear_to_srgb(linear).dtype == dtype
    np.testing.assert_allclose(linear_to_srgb(linear), encoded, atol=1e-6)
    assert (np.diff(linear) > 0).all()
    known = srgb_to_linear(np.array([0, 0.04045, 0.5, 1], dtype=dtype))
    np.testing.assert_allclose(known, [0, 0.0031308, 0.21404114, 1], rtol=1e-5)


def ramp(height: int = 90, width: int = 120) -> NDArray[Any]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y, 3 * x - 2 * y], axis=-1)


@settings(deadline=None, max_examples=60)
@given(x0=st.floats(22, 50), y0=st.floats(22, 30), side=st.floats(1.5, 38), size=st.integers(4, 70))
def test_crop_of_a_ramp_is_exact(x0: float, y0: float, side: float, size: int) -> None:
    crop, inside = crop_square(ramp(), x0, y0, side, size)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.float32
    assert crop.flags.c_contiguous
    assert inside.shape == (size, size)
    assert inside.all()
    x = x0 + side / size * (np.arange(size) + 0.5) - 0.5
    y = y0 + side / size * (np.arange(size) + 0.5) - 0.5
    np.testing.assert_allclose(crop[..., 0], np.broadcast_to(x, (size, size)), atol=1e-3)
    np.testing.assert_allclose(crop[..., 1], np.broadcast_to(y[:, None], (size, size)), atol=1e-3)
    np.testing.assert_allclose(crop[..., 2], 3 * x - 2 * y[:, None], atol=3e-3)


def test_crop_at_the_photos_own_scale_is_the_photo() -> None:
    photo = np.random.default_rng(0).random((50, 60, 3), dtype=np.float32)
    crop, _ = crop_square(photo, 7, 9, 32, 32)
    np.testing.assert_allclose(crop, photo[9:41, 7:39], atol=1e-6)


def test_crop_outside_repeats_the_edge() -> None:
    photo = ramp()
    crop, inside = crop_square(photo, -30, -20, 200, 100)
    assert inside.sum() == 60 * 45
    assert inside[10, 15]
    assert not inside[9, 15]
    assert not inside[10, 14]
    np.testing.assert_array_equal(crop[0, 0], photo[0, 0])
    np.testing.assert_array_equal(crop[-1, -1], photo[-1, -1])
    far, none_inside = crop_square(photo, 1e4, 1e4, 10, 20)
    assert not none_inside.any()
    np.testing.assert_allclose(far, np.broadcast_to(photo[-1, -1], far.shape), rtol=1e-6)


def test_shrinking_is_smooth_and_does_not_ring() -> None:
    stripes = np.zeros((240, 240, 1), dtype=np.float32)
    stripes[:, ::2] = 1
    crop, _ = crop_square(stripes, 0, 0, 240, 37)
    assert abs(crop[:, 2:-2] - 0.5).max() < 0.03
    step = np.zeros((240, 240, 1), dtype=np.float32)
    step[:, 100:] = 1
    for size in (24, 100, 700):
        crop, _ = crop_square(step, 0, 0, 240, size)
        assert crop.min() >= -1e-6
        assert crop.max() <= 1 + 1e-6


def test_crop_errors() -> None:
    with pytest.raises(InputError, match="shape"):
        crop_square(np.zeros((5, 5)), 0, 0, 5, 5)
    for x0, side, size in ((np.nan, 5, 5), (0, 0, 5), (0, -1, 5), (0, 5, 0), (0, np.inf, 5)):
        with pytest.raises(InputError, match="cannot crop"):
            crop_square(np.zeros((5, 5, 3)), x0, 0, side, size)


def test_save_and_load(tmp_path: Path, colours: NDArray[Any]) -> None:
    kinds: list[NDArray[Any] | Image.Image] = [colours, colours / 255, Image.fromarray(colours)]
    for index, image in enumerate(kinds):
        path = tmp_path / "new" / f"{index}.png"
        save_image(path, image)
        np.testing.assert_array_equal(np.rint(load_image(path).pixels * 255), colours)
    save_image(str(tmp_path / "grey.png"), colours[..., 0] > 100)
    assert set(np.unique(load_image(tmp_path / "grey.png").pixels)) == {0, 1}
    save_image(tmp_path / "clipped.PNG", np.full((20, 20, 3), 1.7))
    assert load_image(tmp_path / "clipped.PNG").pixels.min() == 1


def test_save_errors_leave_nothing(tmp_path: Path, colours: NDArray[Any]) -> None:
    bad: list[tuple[str, NDArray[Any], str]] = [
        ("photo.jpg", colours, "must end in .png"),
        ("photo.png", np.zeros((3, 20, 20)), "shape"),
        ("photo.png", np.zeros((20, 20), dtype=np.int64), "int64"),
        ("photo.png", np.full((20, 20), np.nan), "NaN"),
    ]
    for path, image, message in bad:
        with pytest.raises(InputError, match=message):
            save_image(tmp_path / path, image)
    assert list(tmp_path.iterdir()) == []


def test_import_is_cheap() -> None:
    heavy = ("scipy", "onnxruntime", "PIL.ImageCms")
    code = f"import sys, faceinv.photo.read; print(*[m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() in ("", "scipy")  # the package itself may need SciPy


def test_an_image_that_several_threads_are_given(tmp_path: Path) -> None:
    """Pillow decodes an image when it is first needed, and not safely so for two at a time."""
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)).save(path)
    wanted = load_image(path).pixels
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            lazy = Image.open(path)
            for found in pool.map(load_image, [lazy] * 8):
                assert np.array_equal(found.pixels, wanted)
            mask = Image.open(path).convert("L")
            assert len({found.tobytes() for found in pool.map(load_mask, [mask] * 4, [(900, 900)] * 4)}) == 1


@pytest.mark.parametrize("content", [b"P6 160KH9\x8c8\x16 160 255 ", b"P6\n99999999999999999999 1 255\n"])
def test_a_header_that_pillow_chokes_on_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "photo.ppm").write_bytes(content)
    with pytest.raises(InputError, match=r"photo\.ppm' is"):
        load_image(tmp_path / "photo.ppm")
