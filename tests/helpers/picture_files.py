"""Picture files of every kind that show the row 0571, and files to refuse; made from MNIST's test digits."""

import hashlib
import io
import struct
import zlib
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pypdfium2
from PIL import Image

from numerals.article.data import load_mnist
from numerals.read.pixels import GreyPixels
from tests.helpers.pictures import encoded

TEXT = "0571"


def page_of(*rows: str, height: int = 400, width: int = 700) -> GreyPixels:
    """Rows of MNIST's test digits in black on white paper, each digit at twice its size, well apart."""
    _, (images, labels) = load_mnist()
    page = np.full((height, width), 235, np.uint8)
    for line, row in enumerate(rows):
        for column, digit in enumerate(row):
            image = images[np.flatnonzero(labels == int(digit))[line + 30]].repeat(2, 0).repeat(2, 1)
            top, left = 60 + 120 * line, 60 + 70 * column
            area = page[top : top + 56, left : left + 56]
            area[:] = np.minimum(area, 255 - image)
    return page


def grey_row() -> GreyPixels:
    return page_of(TEXT, height=200, width=400)


def coloured_row() -> Image.Image:
    """Blue ink on yellowish paper."""
    paper = grey_row()[..., None] / 255
    return Image.fromarray((np.array([250, 245, 220]) * paper + np.array([20, 30, 120]) * (1 - paper)).astype(np.uint8))


def tiff(pixels: npt.NDArray[Any], order: str, photometric: int = 1) -> bytes:
    """A TIFF in one strip, written by hand.

    Args:
        pixels: grey (h, w) or RGB (h, w, 3), integers or floats.
        order: of the bytes, "<" or ">".
        photometric: 0 if white is 0, 1 for grey, 2 for RGB.
    """
    height, width = pixels.shape[:2]
    bands, bits = pixels.size // (height * width), pixels.dtype.itemsize * 8
    start = 8
    content = pixels.astype(pixels.dtype.newbyteorder("<" if order == "<" else ">")).tobytes()
    depths = struct.pack(f"{order}{bands}H", *[bits] * bands)
    at_depths = start + len(content)
    kind = 3 if pixels.dtype.kind == "f" else 1
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, bands, bits if bands == 1 else at_depths), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, start), (277, 3, 1, bands), (278, 4, 1, height),
        (279, 4, 1, len(content)), (339, 3, 1, kind),
    ]  # fmt: skip
    directory = struct.pack(f"{order}H", len(entries))
    for tag, form, count, value in entries:
        packed = struct.pack(f"{order}HH", value, 0) if form == 3 and count == 1 else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, form, count) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at_depths + len(depths))
    return head + content + depths + directory + struct.pack(f"{order}I", 0)


def high_bit_depths() -> dict[str, bytes]:
    """Files with more than 8 bits per channel."""
    full, part = grey_row().astype(np.uint16) * 257, grey_row().astype(np.uint16) * 16
    files = {}
    for name, levels in (("full", full), ("12 bits", part)):
        files[f"grey16 {name}.png"] = encoded(Image.fromarray(levels), "PNG")
        files[f"grey16 {name}.tif"] = encoded(Image.fromarray(levels), "TIFF", compression="tiff_lzw")
        files[f"grey16 {name} big-endian.tif"] = tiff(levels, ">")
        files[f"grey16 {name} white is 0.tif"] = tiff(levels.max() - levels, "<", photometric=0)
    for name, white in (("1", 1.0), ("255", 255.0), ("65535", 65535.0)):
        files[f"float to {name}.tif"] = encoded(Image.fromarray((grey_row() / 255 * white).astype(np.float32)), "TIFF")
    files["int32.tif"] = encoded(Image.fromarray(full.astype(np.int32)), "TIFF")
    rgb = np.dstack([full] * 3)
    files["rgb16.tif"], files["rgb16 big-endian.tif"] = tiff(rgb, "<", 2), tiff(rgb, ">", 2)
    files["rgb16.png"] = cv2.imencode(".png", rgb)[1].tobytes()
    files["rgba16.png"] = cv2.imencode(".png", np.dstack([rgb, np.full_like(full, 65535)]))[1].tobytes()
    return files


def palettes() -> dict[str, bytes]:
    """Files with two colours, or with a palette whose indices say nothing about brightness."""
    grey = Image.fromarray(grey_row())
    files = {"1 bit.png": encoded(grey.convert("1"), "PNG"), "1 bit.bmp": encoded(grey.convert("1"), "BMP")}
    files["1 bit fax.tif"] = encoded(grey.convert("1"), "TIFF", compression="group4")
    files["1 bit.pbm"] = encoded(grey.convert("1"), "PPM")
    shuffled = np.random.default_rng(0).permutation(256).astype(np.uint8)
    image = Image.fromarray(shuffled[grey_row()], "P")
    image.putpalette(np.argsort(shuffled).astype(np.uint8).repeat(3).tobytes())
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        files[f"palette.{form.lower()}"] = encoded(image, form)
    paper = int(shuffled[235])
    files["palette, paper transparent.png"] = encoded(image, "PNG", transparency=paper)
    files["palette, paper transparent.gif"] = encoded(image, "GIF", transparency=paper)
    two = Image.fromarray((grey_row() < 128).astype(np.uint8), "P")
    two.putpalette([0, 0, 0, 0, 0, 0])  # both black: only transparency tells ink from paper
    files["black on transparent black.png"] = encoded(two, "PNG", transparency=bytes([0, 255]))
    one = Image.fromarray(grey_row()).convert("1")
    files["1 bit, paper transparent.png"] = encoded(one, "PNG", transparency=1)
    return files


def transparent() -> dict[str, bytes]:
    """Ink on a transparent background, whatever colour the transparent pixels have."""
    ink = 255 - grey_row()
    ink[ink < 30] = 0
    files = {}
    for under in (0, 255):
        rgba = np.dstack([np.where(ink > 0, 0, under).astype(np.uint8)] * 3 + [ink])
        for form, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
            files[f"rgba over {under}.{form.lower()}"] = encoded(Image.fromarray(rgba), form, **options)
        grey = Image.merge("LA", [Image.fromarray(rgba[..., 0]), Image.fromarray(ink)])
        files[f"la over {under}.png"] = encoded(grey, "PNG")
    files["white ink.png"] = encoded(Image.fromarray(np.dstack([np.full_like(ink, 255)] * 3 + [ink])), "PNG")
    return files


def colour_spaces() -> dict[str, bytes]:
    """Files in CMYK, LAB, YCbCr and grey."""
    image = coloured_row()
    cmyk = image.convert("CMYK")
    adobe = encoded(cmyk, "JPEG", quality=90)
    marker = adobe.index(b"\xff\xee")
    lab = Image.merge("LAB", [Image.fromarray(grey_row()), *[Image.new("L", (400, 200), 128)] * 2])
    return {
        "cmyk.jpg": adobe,
        "cmyk without Adobe's mark.jpg": adobe[:marker] + adobe[marker + 16 :],
        "cmyk.tif": encoded(cmyk, "TIFF"),
        "cmyk lzw.tif": encoded(cmyk, "TIFF", compression="tiff_lzw"),
        "lab.tif": encoded(lab, "TIFF"),
        "grey.jpg": encoded(image.convert("L"), "JPEG"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "ycbcr.tif": encoded(image.convert("YCbCr"), "TIFF"),
    }


def multi_frame() -> dict[str, bytes]:
    """Files with two pictures, of which the first shows the row."""
    files = {}
    for form in ("GIF", "PNG", "WEBP", "MPO", "TIFF"):
        blank = Image.new("RGB", (400, 200), (235, 235, 235))
        files[f"several.{form.lower()}"] = encoded(coloured_row(), form, save_all=True, append_images=[blank])
    return files


def invalid_metadata() -> dict[str, bytes]:
    """Files with invalid EXIF data and colour profiles."""
    files = {}
    noise = np.random.default_rng(1).bytes(300)
    for number, exif in enumerate((b"", b"Exif\0\0", b"Exif\0\0" + noise, b"Exif\0\0MM\0*\xff\xff\xff\xff", noise)):
        files[f"exif {number}.jpg"] = encoded(coloured_row(), "JPEG", exif=exif)
        files[f"exif {number}.png"] = encoded(coloured_row(), "PNG", exif=exif)
    for kind, value in ((3, 0), (3, 9), (3, 65535), (2, 54), (7, 6), (12, 6), (99, 1)):  # 3 is a short, as it should be
        exif = b"Exif\0\0II" + struct.pack("<HIHHHIII", 42, 8, 1, 0x0112, kind, 1, value, 0)
        files[f"orientation {kind} {value}.jpg"] = encoded(coloured_row(), "JPEG", exif=exif)
    for form in ("JPEG", "PNG", "TIFF", "WEBP"):
        files[f"profile.{form.lower()}"] = encoded(coloured_row(), form, icc_profile=noise)
    return files


def exif_orientations() -> dict[str, bytes]:
    """Files in each of EXIF's eight orientations."""
    upright, files = np.asarray(coloured_row()), {}
    back = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, 3),
    }  # fmt: skip
    for orientation, pixels in back.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(pixels))
        for form in ("JPEG", "PNG", "WEBP", "TIFF"):
            options = {"compression": "tiff_lzw"} if form == "TIFF" else {}
            files[f"turned {orientation}.{form.lower()}"] = encoded(image, form, exif=exif.tobytes(), **options)
    return files


@cache
def readable() -> dict[str, bytes]:
    """Every file that is read as TEXT, by name."""
    return {
        **high_bit_depths(),
        **palettes(),
        **transparent(),
        **colour_spaces(),
        **multi_frame(),
        **invalid_metadata(),
        **exif_orientations(),
    }


def png(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    """A black PNG of any size, compressed line by line so that its pixels are never in memory."""
    line = b"\0" + bytes((width * bits * {0: 1, 2: 3, 6: 4}[colour] + 7) // 8)
    pack = zlib.compressobj(1)
    packed = b"".join(pack.compress(line) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def pdf(objects: list[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of these objects, of which the first is the catalogue."""
    content, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    end = b"trailer\n<< /Size %d /Root 1 0 R %b >>\nstartxref\n%d\n%%%%EOF\n"
    return content + head + table + end % (len(objects) + 1, trailer, len(content))


def pdf_page(box: bytes = b"0 0 400 200", resources: bytes = b"", contents: bytes = b"") -> list[bytes]:
    """The objects of a PDF with one page; its contents are object 4."""
    return [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [%b] /Resources << %b >> /Contents 4 0 R >>" % (box, resources),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(contents), contents),
    ]


def pdf_bomb(width: int, height: int) -> bytes:
    """A PDF of one page with a black RGB picture of this size."""
    pack = zlib.compressobj(9, strategy=zlib.Z_RLE)  # as small, in half the time
    line = bytes(3 * width)
    packed = b"".join(pack.compress(line) for _ in range(height)) + pack.flush()
    head = b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 "
    picture = head % (width, height) + b"/Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream" % (
        len(packed),
        packed,
    )
    return pdf([*pdf_page(resources=b"/XObject << /I 5 0 R >>", contents=b"400 0 0 200 0 0 cm /I Do"), picture])


def pdf_of_nested_forms(depth: int = 12, branches: int = 12) -> bytes:
    """A PDF of a few KB whose forms draw each other: branches ** depth objects."""
    forms = [
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 400 200] "
        b"/Resources << /XObject << /F %d 0 R >> >> /Length %d >>\nstream\n%b\nendstream"
        % (6 + level, 6 * branches, b"/F Do " * branches)
        for level in range(depth)
    ]
    last = b"<< /Type /XObject /Subtype /Form /BBox [0 0 400 200] /Length 12 >>\nstream\n0 0 9 9 re f\nendstream"
    return pdf([*pdf_page(resources=b"/XObject << /F 5 0 R >>", contents=b"/F Do"), *forms, last])


def pdf_with_soft_mask(width: int, height: int) -> bytes:
    """A PDF of one page with a picture of one pixel whose soft mask has this size."""
    pack = zlib.compressobj(9, strategy=zlib.Z_RLE)  # as small, in half the time
    packed = b"".join(pack.compress(bytes(width)) for _ in range(height)) + pack.flush()
    picture = (
        b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 "
        b"/SMask 6 0 R /Length 1 >>\nstream\n0\nendstream"
    )
    head = b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8 "
    mask = head % (width, height) + b"/Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream" % (
        len(packed),
        packed,
    )
    return pdf([*pdf_page(resources=b"/XObject << /I 5 0 R >>", contents=b"400 0 0 200 0 0 cm /I Do"), picture, mask])


def jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated, so that there are this many."""
    content = encoded(coloured_row(), "JPEG", progressive=True)
    *others, last = content.removesuffix(b"\xff\xd9").split(b"\xff\xda")
    return b"\xff\xda".join([*others, *[last] * (scans - len(others) + 1)]) + b"\xff\xd9"


def ppm_with_comment(length: int) -> bytes:
    """A PPM with a comment of this length in its header."""
    header, rest = encoded(coloured_row(), "PPM").split(b"\n", 1)
    return header + b"\n#" + b"c" * length + b"\n" + rest


PASSWORD_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def rc4(key: bytes, content: bytes) -> bytes:
    state, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    for byte in content:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def locked_pdf(password: bytes) -> bytes:
    """An empty page protected by a password: 40-bit RC4, as in PDF 1.4 (PDF Reference, algorithms 3.2 to 3.4)."""
    padded, name = (password + PASSWORD_PADDING)[:32], bytes(range(16))
    owner = rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + struct.pack("<i", -4) + name).digest()[:5]
    form = b"/Encrypt << /Filter /Standard /V 1 /R 2 /O <%b> /U <%b> /P -4 >> /ID [<%b> <%b>]"
    user, name_hex = rc4(key, PASSWORD_PADDING).hex().encode(), name.hex().encode()
    return pdf(pdf_page(), form % (owner.hex().encode(), user, name_hex, name_hex))


def pdf_of(pages: int) -> bytes:
    """A PDF of several pages, each with the row."""
    sheets = [Image.fromarray(page_of(TEXT)) for _ in range(pages)]
    return encoded(sheets[0], "PDF", save_all=True, append_images=sheets[1:])


def empty_pdf() -> bytes:
    """A PDF without pages."""
    document, file = pypdfium2.PdfDocument.new(), io.BytesIO()
    document.save(file)
    return file.getvalue()


def endless_tiff(directories: int) -> bytes:
    """A TIFF with a chain of this many empty directories."""
    links = [struct.pack("<HI", 0, 8 + 6 * (number + 1)) for number in range(directories)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(links) + bytes(6)


@cache
def refused() -> dict[str, bytes]:
    """Every file that is refused in one line, by name."""
    dim = np.dstack([grey_row().astype(np.uint16) * 16] * 3)
    good = encoded(coloured_row(), "TIFF")
    return {
        "empty.png": b"",
        "text.png": b"0571\n",
        "drawing.svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>',
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400),
        "camera.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(400),
        "a program.png": b"\x7fELF" + bytes(400),
        "12 of 16 bits in colour.png": cv2.imencode(".png", dim)[1].tobytes(),
        "negative.tif": tiff(np.full((20, 20), -1.0, np.float32), "<"),
        "no number.tif": tiff(np.full((20, 20), np.nan, np.float32), ">"),
        "bomb.png": png(20000, 20000, bits=1),
        "line.png": png(200_000_000, 1, bits=1),
        "endless.tif": endless_tiff(300_000),
        "chain to nowhere.tif": good[:4] + struct.pack("<I", 10**9) + good[8:],
        "locked.pdf": locked_pdf(b"secret"),
        "no pages.pdf": empty_pdf(),
        "damaged.pdf": pdf_of(1)[:400],
        "bomb.pdf": pdf_bomb(20000, 20000),
    }
