"""Any input is read right or refused in one line: never a wrong number, a hang, or over a gigabyte of memory."""

import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from PIL import Image

import numerals
from numerals.errors import PictureError
from numerals.read.pages import pages
from numerals.read.picture import MAX_FILE_BYTES, load_picture
from tests.conftest import NUMERALS, run_quietly
from tests.helpers import picture_files
from tests.helpers.commands import assert_one_line, call
from tests.helpers.pictures import encoded

Files = dict[str, bytes]

# The command line in a separate process, which prints its peak memory in KiB at the end.
MEASURED_COMMAND = """
import atexit, sys
atexit.register(lambda: print(next(l for l in open("/proc/self/status") if "VmHWM" in l).split()[1], file=sys.stderr))
from numerals.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def reader() -> numerals.Reader:
    return numerals.Reader()


@pytest.mark.parametrize(
    "group",
    [
        picture_files.high_bit_depths,
        picture_files.palettes,
        picture_files.transparent,
        picture_files.colour_spaces,
        picture_files.multi_frame,
        picture_files.invalid_metadata,
        picture_files.exif_orientations,
    ],
)
def test_every_kind_of_file_is_read(reader: numerals.Reader, group: Callable[[], Files]) -> None:
    for name, content in group().items():
        page, first = reader.read(content), next(pages(content))
        assert (page.text, page.width, page.height) == (picture_files.TEXT, 400, 200), name
        assert np.array_equal(first.pixels, load_picture(content).pixels), name
        assert max(abs(page.rows[0].digits[0].box.left - 78), abs(page.rows[0].digits[0].box.top - 70)) < 12, name


def test_the_command_reads_every_kind(tmp_path: Path) -> None:
    for name, content in picture_files.readable().items():
        (tmp_path / name).write_bytes(content)
    done = run_quietly((*NUMERALS, "read", tmp_path))
    expected = [f"{path}: {picture_files.TEXT}" for path in sorted(tmp_path.iterdir())]
    assert done.stdout.splitlines() == expected
    assert (done.returncode, done.stderr) == (0, f"numerals: {tmp_path / 'several.tiff'}: no digits found\n")


def test_what_cannot_be_read_is_refused_in_a_line(reader: numerals.Reader) -> None:
    for name, content in picture_files.refused().items():
        for read in (reader.read, lambda source: [reader.read(page) for page in pages(source)]):
            with pytest.raises(PictureError) as caught:
                read(content)
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 250, name


EXPECTED_MESSAGES = {
    "empty.png": "empty",
    "text.png": "not a supported picture; give PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM or PDF",
    "phone.heic": "not a supported picture",
    "bomb.png": "at most 100,000,000 pixels",
    "12 of 16 bits in colour.png": "save it with 8 bits",
    "endless.tif": "at most 1000 are read",
    "locked.pdf": "it needs a password",
    "no pages.pdf": "damaged, or without a page",
    "bomb.pdf": "page 1: a picture of 20000x20000 pixels; at most 100,000,000 are read",
}


def test_the_command_refuses_each_file_in_one_line(tmp_path: Path) -> None:
    files = picture_files.refused()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = run_quietly((*NUMERALS, "read", *files), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    for name, line in zip(files, done.stderr.splitlines(), strict=True):
        assert line.startswith(f"numerals: {name}: ") and EXPECTED_MESSAGES.get(name, "") in line


EXCESSIVE_MESSAGES = {  # of small files that take minutes or gigabytes when they are decoded without limits
    # either limit may be reached first on a busy machine
    "a forms.pdf": r"decoding (crashed or ran out of memory|took over 20 s of processor time).*; give a .*",
    "b scans.jpg": "a JPEG of 20,000 scans; at most 1,000 are read",
    "c comment.ppm": "damaged, or with over 65,536 bytes of comments",
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_the_command_reads_what_comes_after_excessive_files(tmp_path: Path) -> None:
    contents = [picture_files.pdf_of_nested_forms(), picture_files.jpeg_of_scans(20_000)]
    contents += [picture_files.ppm_with_comment(50_000_000), encoded(picture_files.coloured_row(), "PNG")]
    for name, content in zip((*EXCESSIVE_MESSAGES, "d good.png"), contents, strict=True):
        (tmp_path / name).write_bytes(content)
    done = run_quietly((*NUMERALS, "read", "."), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, f"d good.png: {picture_files.TEXT}\n")
    for (name, message), line in zip(EXCESSIVE_MESSAGES.items(), done.stderr.splitlines(), strict=True):
        assert re.fullmatch(f"numerals: {name}: {message}", line), line


def test_a_thousand_scans_and_a_long_comment_are_read(reader: numerals.Reader) -> None:
    for content in (picture_files.jpeg_of_scans(1000), picture_files.ppm_with_comment(60_000)):
        assert reader.read(content).text == picture_files.TEXT
    with pytest.raises(PictureError, match="1,001 scans"):
        reader.read(picture_files.jpeg_of_scans(1001))


def test_the_bytes_after_a_jpeg_are_no_scans(reader: numerals.Reader) -> None:
    """Some phones write a film there."""
    film = bytes.fromhex("ffda") * 2000
    assert reader.read(encoded(picture_files.coloured_row(), "JPEG") + film).text == picture_files.TEXT


@pytest.mark.parametrize("name", ["text.png", "bomb.png", "locked.pdf", "bomb.pdf"])
def test_the_command_exits_with_2_if_its_only_file_is_refused(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(picture_files.refused()[name])
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(capfd, "read", name)
    assert (code, stdout) == (2, "")
    assert_one_line(stderr, f"{name}: ", EXPECTED_MESSAGES[name])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_a_truncated_file_never_gives_a_wrong_number(reader: numerals.Reader, form: str) -> None:
    content = encoded(picture_files.coloured_row(), form)
    for cut in np.linspace(0, len(content) - 1, 20).round().astype(int):
        try:
            text = reader.read(content[:cut]).text
        except PictureError as error:
            assert "\n" not in str(error)
        else:
            assert text == picture_files.TEXT and cut > 0.9 * len(content), cut


def test_the_locked_pdf_of_these_tests_is_valid() -> None:
    with pytest.raises(pypdfium2.PdfiumError, match="password"):
        pypdfium2.PdfDocument(picture_files.locked_pdf(b"secret"))
    assert len(pypdfium2.PdfDocument(picture_files.locked_pdf(b"secret"), password="secret")) == 1


def test_pdfs_of_several_pages_and_odd_page_sizes(reader: numerals.Reader) -> None:
    assert [reader.read(page).text for page in pages(picture_files.pdf_of(3))] == [picture_files.TEXT] * 3
    for box in (b"0 0 1000000000 500000000", b"0 0 1000000 1", b"0 0 0 0", b"0 0 -9 -9", b"0 0 nan 3", b"(a)"):
        for page in pages(picture_files.pdf(picture_files.pdf_page(box))):
            assert max(page.pixels.shape) <= 4000
            assert reader.read(page).rows == ()


def test_a_page_that_is_too_large_does_not_prevent_the_others(tmp_path: Path) -> None:
    first, second = Image.fromarray(picture_files.grey_row()).convert("1"), Image.new("1", (20000, 20000))
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second], compression="group4")
    done = run_quietly((*NUMERALS, "read", "two.tif"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, f"{picture_files.TEXT}\n")
    assert done.stderr == "numerals: two.tif: 20000x20000 pixels; at most 100,000,000 are read\n"


@pytest.mark.parametrize("name", ["folder", "pipe", "/dev/zero", "a\0b", "n" * 300])
def test_folders_pipes_devices_and_invalid_names_are_refused_at_once(
    reader: numerals.Reader, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / name
    for read in (reader.read, lambda source: list(pages(source))):
        with pytest.raises(PictureError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    if "\0" not in name and name != "folder":
        code, stdout, stderr = call(capfd, "read", path)
        assert (code, stdout) == (2, "")
        assert_one_line(stderr)


@pytest.mark.parametrize("name", ["two\nlines.png", "ж 七.png", "\x1b[31m.png", b"\xff\xfe.png"])
def test_any_file_name_is_printed_in_one_line(name: str | bytes, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for file_name, content in (
        (os.fsencode(name), encoded(picture_files.coloured_row(), "PNG")),
        (b"x" + os.fsencode(name), b"0"),
    ):
        with open(os.path.join(folder, file_name), "wb") as file:
            file.write(content)
    for form, encoding in (("text", "utf-8"), ("text", "ascii"), ("csv", "utf-8")):
        command = [*NUMERALS, "read", "--format", form, str(tmp_path), "--annotate", str(tmp_path / "seen")]
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"not a supported picture" in done.stderr
        assert form != "text" or (done.stdout.count(b"\n") == 1 and done.stdout.endswith(b".png: 0571\n"))
        assert b"\x1b" not in done.stderr + done.stdout


def test_closed_or_empty_standard_input_is_refused() -> None:
    for redirection, message in (("<&-", "standard input is closed"), ("</dev/null", "empty")):
        done = run_quietly(("sh", "-c", f'"$0" -m numerals read - {redirection}', sys.executable))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert message in done.stderr


def test_closed_standard_output_is_no_error(tmp_path: Path) -> None:
    Image.fromarray(picture_files.page_of("0571")).save(tmp_path / "a.png")
    done = run_quietly(("sh", "-c", '"$0" -m numerals read a.png a.png >&-', sys.executable), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (20, 10000), (10000, 20), (3, 40000), (2, 2)])
def test_pictures_of_extreme_shapes_do_not_fail(reader: numerals.Reader, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for pixels in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), noise):
        assert reader.read(encoded(Image.fromarray(pixels), "PNG")).rows == () or pixels is noise
        reader.read(pixels)
        reader.recognise([pixels])


def test_a_long_strip_is_read(reader: numerals.Reader) -> None:
    strip = np.full((60, 3000), 235, np.uint8)
    strip[:, 100:500] = picture_files.grey_row()[57:117]
    assert reader.read(strip).text == reader.read(np.ascontiguousarray(strip[:, :700])).text == picture_files.TEXT


def test_loading_shows_no_warnings_and_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(picture_files.png(9700, 9700, bits=1))
    script = "import numerals; numerals.Reader().read('large.png')"
    done = run_quietly(
        (sys.executable, "-W", "always::UserWarning", "-W", "always::RuntimeWarning", "-c", script), tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    filters = warnings.filters[:]
    image = encoded(picture_files.coloured_row(), "JPEG")
    threads = [threading.Thread(target=lambda: [next(pages(image)) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == filters


def measured(*arguments: object, stdin: str = "/dev/null") -> tuple["subprocess.CompletedProcess[str]", float]:
    """Run `numerals read` in a separate process, and return the result and the peak memory in MiB."""
    script = f'exec "$@" < {stdin}' if "|" not in stdin else f'{stdin} "$@"'
    done = run_quietly(("sh", "-c", script, "sh", sys.executable, "-c", MEASURED_COMMAND, "read", *arguments))
    *errors, peak = done.stderr.splitlines()
    done.stderr = "\n".join(errors)
    return done, int(peak) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")
def test_a_photograph_of_twelve_megapixels_needs_little_memory(tmp_path: Path) -> None:
    large = (
        Image.fromarray(picture_files.page_of(picture_files.TEXT, height=300, width=400))
        .resize((4032, 3024))
        .convert("RGB")
    )
    for name in ("photo.jpg", "photo.png"):
        large.save(tmp_path / name)
        done, peak = measured(tmp_path / name)
        assert done.stdout == f"{picture_files.TEXT}\n" and peak < 400


HUGE: dict[str, tuple[str, dict[str, Any]]] = {  # mode and options of files with nearly 100 megapixels
    "rgb.png": ("RGB", {"compress_level": 1}),
    "la.png": ("LA", {"compress_level": 1}),
    "rgba.png": ("RGBA", {"compress_level": 1}),
    "grey.jpg": ("L", {}),
    "progressive.jpg": ("RGB", {"progressive": True, "subsampling": 0}),
    "cmyk.jpg": ("CMYK", {"progressive": True}),
    "turned.tif": ("RGB", {"compression": "tiff_lzw", "exif": Image.Exif()}),
    "float.tif": ("F", {"compression": "tiff_lzw"}),
    "palette.gif": ("P", {}),
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")
@pytest.mark.parametrize("name", HUGE)
def test_a_hundred_megapixels_fit_in_a_gigabyte(name: str, tmp_path: Path) -> None:
    mode, options = HUGE[name]
    if "exif" in options:
        options["exif"][0x0112] = 6
    Image.fromarray(picture_files.grey_row()).resize((14000, 7000)).convert(mode).save(tmp_path / name, **options)
    done, peak = measured(tmp_path / name)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{picture_files.TEXT}\n", "")
    assert peak < 1000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")
def test_decompression_bombs_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    Image.new("RGB", (14000, 7000)).save(tmp_path / "bomb.webp")
    for name in ("bomb.png", "line.png", "bomb.pdf", "endless.tif", "bomb.webp"):
        if name in picture_files.refused():
            (tmp_path / name).write_bytes(picture_files.refused()[name])
        done, peak = measured(tmp_path / name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 0)
        assert peak < 300, name
    done, peak = measured("-", stdin="cat /dev/zero |")
    assert done.returncode == 2 and f"more than {MAX_FILE_BYTES:,} bytes" in done.stderr and peak < 1000
    (tmp_path / "sparse.webp").write_bytes(b"RIFF\0\0\0\0WEBPVP8 ")
    os.truncate(tmp_path / "sparse.webp", 10**12)
    done, peak = measured(tmp_path / "sparse.webp")
    assert done.returncode == 2 and "bytes; at most" in done.stderr and peak < 300
