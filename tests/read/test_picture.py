"""Loading pictures of every kind: read right, or refused in one line."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from numerals.errors import PictureError
from numerals.read.picture import MAX_SIDE, load_picture, load_pixels
from numerals.read.pixels import Pixels
from tests.helpers.pictures import encoded

RAMP = np.linspace(0, 255, 40 * 30).reshape(30, 40).round().astype(np.uint8)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_grey_files(form: str) -> None:
    assert np.array_equal(load_pixels(encoded(RAMP, form)).reshape(30, 40, -1)[..., 0], RAMP)


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})]
)
def test_colour_files(form: str, options: dict[str, Any]) -> None:
    assert np.array_equal(load_pixels(encoded(COLOURS, form, **options)), COLOURS)


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(COLOURS))
    assert np.array_equal(load_pixels(path), COLOURS)
    assert np.array_equal(load_pixels(str(path)), COLOURS)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (RAMP, RAMP),
        (RAMP[..., None], RAMP),
        (RAMP > 99, np.where(RAMP > 99, 255, 0)),
        ((RAMP > 99).astype(np.uint8), np.where(RAMP > 99, 255, 0)),
        (RAMP.astype(np.uint16) * 257, RAMP),
        (RAMP.astype(np.int64), RAMP),
        (RAMP.astype(np.float32) / 255, RAMP),
        (RAMP.astype(np.float64), RAMP),
        (np.asfortranarray(COLOURS), COLOURS),
        (np.dstack([COLOURS, np.full_like(RAMP, 255)]), COLOURS),
    ],
)
def test_arrays_of_every_type(array: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    pixels = load_pixels(array)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 5)),
        np.zeros(7),
        np.zeros((4, 4, 2)),
        np.zeros((2, 4, 4, 3)),
        np.full((4, 4), np.nan),
        np.full((4, 4), -1),
        np.full((4, 4), 70000),
        np.full((4, 4), "a"),
    ],
)
def test_arrays_that_are_not_pictures_are_refused(array: npt.NDArray[Any]) -> None:
    with pytest.raises(PictureError) as caught:
        load_pixels(array)
    assert "\n" not in str(caught.value)


def test_sixteen_bits_keep_their_scale() -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    for form in ("PNG", "TIFF"):
        file = io.BytesIO()
        deep.save(file, form)
        assert np.array_equal(load_pixels(file.getvalue()), RAMP)


def test_cmyk() -> None:
    file = io.BytesIO()
    Image.fromarray(COLOURS).convert("CMYK").save(file, "TIFF")
    assert np.array_equal(load_pixels(file.getvalue()), COLOURS)


def test_palette_with_a_transparent_colour() -> None:
    image = Image.fromarray(np.where(RAMP > 250, 1, 0).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 0, 0, 0])
    file = io.BytesIO()
    image.save(file, "PNG", transparency=0)
    pixels = load_pixels(file.getvalue())
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[-1, -1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("pen", "paper"), [(0, 255), (255, 0)])
def test_a_transparent_background_contrasts_with_the_ink(pen: int, paper: int) -> None:
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[5:15, 8:12] = (pen, pen, pen, 255)
    pixels = load_pixels(encoded(rgba))
    assert pixels[0, 0].tolist() == [paper] * 3
    assert pixels[10, 10].tolist() == [pen] * 3


def test_the_first_frame_of_an_animation_is_loaded() -> None:
    frames = [Image.fromarray(np.full((9, 9), level, np.uint8)) for level in (40, 200)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert load_pixels(file.getvalue()).max() == 40


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_turned_upright(orientation: int) -> None:
    back = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, 3),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = load_picture(encoded(np.ascontiguousarray(back(RAMP)), "PNG", exif=exif.tobytes()))
    assert (picture.width, picture.height) == (40, 30)
    assert np.array_equal(picture.pixels, RAMP)


def test_a_large_photograph_is_downscaled() -> None:
    picture = load_picture(encoded(np.zeros((3000, 4000), np.uint8), "JPEG"))
    assert (picture.width, picture.height) == (4000, 3000)
    assert picture.pixels.shape == (1500, 2000)
    assert max(load_pixels(np.zeros((3000, 4000), np.uint8)).shape) == MAX_SIDE


@pytest.mark.parametrize("size", [(4032, 3024), (3024, 4032), (6000, 400), (8200, 200)])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_decoded_small_is_the_same_picture(size: tuple[int, int], mode: str) -> None:
    """JPEG can decode to a half or less; decoding all of it and downscaling afterwards must be nearly equal."""
    smooth = Image.fromarray(COLOURS).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    smooth.convert(mode).save(file, "JPEG", quality=95)
    picture = load_picture(file.getvalue())
    assert (picture.width, picture.height) == size and 0.9 * MAX_SIDE < max(picture.pixels.shape) <= MAX_SIDE
    whole = Image.open(file).convert("L" if mode == "L" else "RGB")
    expected = np.asarray(whole.resize(picture.pixels.shape[1::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(picture.pixels - expected).mean() < 2


def bomb(width: int, height: int) -> bytes:
    """A PNG that announces a size and has no pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x89PNG\r\n\x1a\n",
        bomb(50, 50),
        bomb(30000, 30000),
        bomb(0, 9),
        b"%PDF-1.4",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
    ],
)
def test_files_that_are_not_pictures_are_refused(content: bytes) -> None:
    with pytest.raises(PictureError) as caught:
        load_pixels(content)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(PictureError, match=str(path)):
            load_pixels(path)


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"]),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_damaged_files_are_read_or_refused(form: str, cut: float, changes: list[tuple[float, int]]) -> None:
    content = bytearray(encoded(COLOURS, form))
    for at, value in changes:
        content[int(at * len(content))] = value
    try:
        pixels: Pixels = load_pixels(bytes(content[: round(cut * len(content))]))
    except PictureError as error:
        assert "\n" not in str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3)
