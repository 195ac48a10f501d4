"""Thousands of damaged image files: each raises a SkipweaveError, or is decoded to pixels that are accounted for.

PNG files have checksums: a changed file raises, or is decoded to the original pixels. A truncated file of any format
raises, or is decoded to the original pixels. JPEG, WebP, BMP, PPM, TIFF and GIF have no checksums: a changed byte that
leaves them well-formed changes pixels in every decoder; the tests count these.
"""

import faulthandler
import io
import itertools
import os
import signal
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps

from skipweave.data import open_image
from skipweave.data.segmentation.class_list import ClassEntry, ClassList
from skipweave.data.segmentation.mask_files import open_mask
from skipweave_config.errors import SkipweaveError
from tests.data.high_bit_depth_files import png as png16
from tests.data.high_bit_depth_files import ppm as ppm16
from tests.data.high_bit_depth_files import tiff as tiff16

SEED = 7
SECONDS = 10  # of the processor, for one image
WAITING = 1200  # seconds that one image may take on a busy machine
CLASSES = ClassList(tuple(ClassEntry(f"class {value}", value) for value in range(200)), "list.csv")
Pixels = np.ndarray


@dataclass(frozen=True)
class Original:
    """Valid image file and its pixels, uint8 CHW."""

    name: str
    suffix: str
    content: bytes
    pixels: Pixels

    @property
    def has_checksums(self) -> bool:
        return self.suffix == ".png"


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(content: bytes) -> Pixels:
    """Decode a valid file with Pillow."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGBA").convert("RGB")).transpose(2, 0, 1)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def originals() -> list[Original]:
    """Files of every supported format, in many modes and compressions."""
    rng = np.random.default_rng(SEED)
    smooth = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((45, 38), Image.Resampling.BICUBIC)
    noise = rng.integers(0, 256, (37, 29, 3), dtype=np.uint8)
    picture, gray = Image.fromarray(noise), smooth.convert("L")
    alpha = smooth.copy()
    alpha.putalpha(gray)
    palette = smooth.quantize(16)
    deep = rng.integers(0, 1 << 16, (21, 23), dtype=np.uint16)
    plain = [
        ("rgb", "PNG", picture, {}),
        ("smooth", "PNG", smooth, {}),
        ("gray", "PNG", gray, {}),
        ("alpha", "PNG", alpha, {}),
        ("palette", "PNG", palette, {}),
        ("palette, transparent", "PNG", palette, {"transparency": bytes(range(0, 160, 10))}),
        ("one bit", "PNG", gray.convert("1"), {}),
        ("baseline", "JPEG", smooth, {"quality": 90}),
        ("noise", "JPEG", picture, {"quality": 75}),
        ("progressive", "JPEG", smooth, {"progressive": True}),
        ("gray", "JPEG", gray, {"optimize": True}),
        ("restarts", "JPEG", smooth, {"restart_marker_blocks": 1}),
        ("cmyk", "JPEG", smooth.convert("CMYK"), {}),
        ("rgb", "BMP", picture, {}),
        ("palette", "BMP", palette, {}),
        ("rgb", "PPM", picture, {}),
        ("gray", "PPM", gray, {}),
        ("rgb", "GIF", palette, {}),
        ("lossy", "WEBP", smooth, {}),
        ("lossless", "WEBP", picture, {"lossless": True}),
        ("alpha", "WEBP", alpha, {}),
        ("cmyk", "TIFF", smooth.convert("CMYK"), {}),
        *((packing, "TIFF", picture, {"compression": packing}) for packing in ("raw", "tiff_lzw", "packbits")),
        *((packing, "TIFF", smooth, {"compression": packing}) for packing in ("tiff_adobe_deflate", "jpeg")),
        *((f"turned {n}", "JPEG", smooth, {"exif": turned(n)}) for n in range(2, 9)),
        *((f"turned {n}", kind, picture, {"exif": turned(n)}) for n in (3, 6) for kind in ("PNG", "TIFF")),
    ]
    suffixes = {"JPEG": ".jpg", "TIFF": ".tif"}
    made = []
    for name, kind, image, options in plain:
        content = encode(image, kind, **options)
        made.append(Original(f"{kind}, {name}", suffixes.get(kind, f".{kind.lower()}"), content, decode(content)))
    whole = np.repeat(deep[None].astype(np.float32), 3, axis=0)
    for kind in ("PNG", "TIFF"):
        suffix = suffixes.get(kind, ".png")
        made.append(Original(f"{kind}, 16 bits", suffix, encode(Image.fromarray(deep), kind), whole))
    color = np.dstack([deep, deep[::-1], 40_000 - deep // 2])
    for suffix, content in ((".png", png16(color)), (".tif", tiff16(color)), (".ppm", ppm16(color, 65535))):
        kind = {".tif": "TIFF"}.get(suffix, suffix[1:].upper())
        made.append(Original(f"{kind}, 48 bits", suffix, content, color.transpose(2, 0, 1).astype(np.float32)))
    pair = encode(smooth, "MPO", save_all=True, append_images=[gray.convert("RGB")])
    return [*made, Original("JPEG, with a companion", ".jpg", pair, decode(pair))]


def flip_bits(content: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))


def flip_bits_of_the_head(content: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 4)):
        content[rng.integers(min(len(content), 64))] ^= 1 << int(rng.integers(8))


def cut_short(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(len(content))) :]


def cut_the_last_bytes(content: bytearray, rng: np.random.Generator) -> None:
    del content[-int(rng.integers(1, 16)) :]


def block(content: bytearray, rng: np.random.Generator) -> slice:
    start = int(rng.integers(len(content)))
    return slice(start, start + int(rng.integers(1, 513)))


def zero_a_block(content: bytearray, rng: np.random.Generator) -> None:
    where = block(content, rng)
    content[where] = bytes(len(content[where]))


def overwrite_a_block(content: bytearray, rng: np.random.Generator) -> None:
    where = block(content, rng)
    content[where] = rng.bytes(len(content[where]))


def lose_a_block(content: bytearray, rng: np.random.Generator) -> None:
    del content[block(content, rng)]


def repeat_a_block(content: bytearray, rng: np.random.Generator) -> None:
    where = block(content, rng)
    content[where] = bytes(content[where]) * 2


def add_garbage(content: bytearray, rng: np.random.Generator) -> None:
    content += rng.bytes(int(rng.integers(1, 2000)))


def put_huge_numbers(content: bytearray, rng: np.random.Generator) -> None:
    where = int(rng.integers(min(len(content), 200)))
    content[where : where + 4] = bytes.fromhex(rng.choice(["ffffffff", "7fffffff", "ffffff7f", "00ffff00"]))


DAMAGES = (
    flip_bits,
    flip_bits_of_the_head,
    cut_short,
    cut_the_last_bytes,
    zero_a_block,
    overwrite_a_block,
    lose_a_block,
    repeat_a_block,
    add_garbage,
    put_huge_numbers,
)
CUTS = (cut_short, cut_the_last_bytes)


@contextmanager
def limited() -> Iterator[None]:
    """End the process, with a traceback, if the block hangs: in the decoders' C code too."""
    faulthandler.register(signal.SIGPROF, chain=True)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    faulthandler.dump_traceback_later(WAITING, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)


def read(path: Path, reader: Callable[[Path], torch.Tensor]) -> torch.Tensor | None:
    """Return the tensor; None for a SkipweaveError of one line that names the file. Other errors are not caught."""
    with limited():
        try:
            return reader(path)
        except SkipweaveError as error:
            message = str(error)
    assert str(path) in message
    assert "\n" not in message
    return None


def damaged(place: Path, count: int) -> Iterator[tuple[Original, Callable[..., None], Path]]:
    """Reproducible damaged files: each original in turn, with random damage."""
    for number, original in zip(range(count), itertools.cycle(originals()), strict=False):
        rng = np.random.default_rng([SEED, number])
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        content = bytearray(original.content)
        damage(content, rng)
        path = place / f"{number}{original.suffix if rng.random() < 0.8 else rng.choice(['.png', '.jpg', '.tif'])}"
        path.write_bytes(content)
        yield original, damage, path


def judge(original: Original, damage: Callable[..., None], path: Path) -> str:
    """Return `raised`, `intact` or `changed`, and check the guarantees of each format."""
    pixels = read(path, lambda path: open_image(path, in_chans=3))
    labels = read(path, lambda path: open_mask(path, CLASSES))
    assert labels is None or (labels.dtype == torch.uint8 and int(labels.max()) <= CLASSES.void)
    if pixels is None:
        assert labels is None
        return "raised"
    assert pixels.dtype in (torch.uint8, torch.float32)
    assert pixels.isfinite().all()
    assert pixels.shape[0] == 3
    assert pixels.numel()
    if np.array_equal(pixels.numpy(), original.pixels):
        return "intact"
    assert not original.has_checksums, f"{original.name} was decoded although damaged by {damage.__name__}: {path}"
    assert damage not in CUTS, f"{original.name} was decoded although truncated: {path}"
    return "changed"


def test_the_originals_are_decoded(tmp_path):
    found = originals()
    assert len(found) == 44
    for original in found:
        path = tmp_path / f"a{original.suffix}"
        path.write_bytes(original.content)
        assert np.array_equal(open_image(path, 3).numpy(), original.pixels), original.name
        other = tmp_path / "named.webp"
        other.write_bytes(original.content)
        assert np.array_equal(open_image(other, 3).numpy(), original.pixels), original.name


@pytest.mark.parametrize("count", [336, pytest.param(12_600, marks=pytest.mark.slow)])
def test_damaged_files_raise_or_are_accounted_for(tmp_path, count):
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    verdicts: Counter[tuple[str, str]] = Counter()
    for original, damage, path in damaged(tmp_path, count):
        verdicts[original.name.partition(",")[0], judge(original, damage, path)] += 1
        path.unlink()
    assert sum(verdicts.values()) == count
    assert verdicts["PNG", "changed"] == 0
    assert min(verdicts["PNG", "raised"], verdicts["PNG", "intact"], verdicts["BMP", "changed"]) > 0
    print(*sorted(f"{kind} {verdict}: {number}" for (kind, verdict), number in verdicts.items()), sep="\n")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes, bits: int = 8, colors: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colors, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def whole_bomb() -> bytes:
    """A valid PNG file of 200 million black pixels in 24 kilobytes."""
    return png(20_000, 10_000, bytes(10_000 * (1 + 20_000 // 8)), bits=1, colors=0)


def many_scans() -> bytes:
    """A progressive JPEG file of 5,000 scans."""
    content = encode(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * 5000 + content[-2:]


def endless_text() -> bytes:
    """A PNG file whose comment decompresses to 20 megabytes."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000), 9))
    return png(4, 4, bytes(4 * 13)).replace(chunk(b"IEND", b""), text + chunk(b"IEND", b""))


HARMFUL = {
    "nothing.png": lambda: b"",
    "one byte.jpg": lambda: b"\xff",
    "text.png": lambda: b"not an image\n" * 100,
    "web page.jpg": lambda: b"<!DOCTYPE html><title>404</title>",
    "script.png": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n",
    "archive.jpg": lambda: b"PK\x03\x04" + bytes(1000),
    "drawing.png": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "pickle.png": lambda: b"\x80\x04\x95" + bytes(100),
    "zeros.bmp": lambda: bytes(100_000),
    "huge head.png": lambda: png(1 << 30, 1 << 30, bytes(1000)),
    "large head.png": lambda: png(11_000, 11_000, bytes(1000)),
    "huge head.bmp": lambda: b"BM" + struct.pack("<IIIIiiHHIIiiII", 58, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
    "huge head.ppm": lambda: b"P6 99999 99999 255 abc",
    "long number.ppm": lambda: b"P6 " + b"9" * 100_000 + b" 9 255 abc",
    "huge head.gif.png": lambda: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",",
    "no pixels.png": lambda: png(0, 0, b""),
    "too few rows.png": lambda: png(64, 64, bytes(10 * (1 + 3 * 64))),
    "no data.png": lambda: png(64, 64, b""),
    "whole bomb.png": whole_bomb,
    "many scans.jpg": many_scans,
    "endless text.png": endless_text,
    "not finite.tif": lambda: encode(Image.new("F", (9, 9), float("nan")), "TIFF"),
    **{
        f"two images{suffix}": lambda kind=kind: encode(
            Image.new("RGB", (9, 9)), kind, save_all=True, append_images=[Image.new("RGB", (9, 9), "red")]
        )
        for kind, suffix in (("GIF", ".gif"), ("WEBP", ".webp"), ("PNG", ".png"), ("TIFF", ".tif"))
    },
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_malicious_file_raises(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(HARMFUL[name]())
    assert read(path, lambda path: open_image(path, in_chans=3)) is None
    assert read(path, lambda path: open_mask(path, CLASSES)) is None


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_anything_but_a_regular_file_raises(tmp_path, make):
    make(tmp_path / "a.png")
    assert read(tmp_path / "a.png", lambda path: open_image(path, in_chans=3)) is None
