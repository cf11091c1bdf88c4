"""Files that end, stop or fill up the process that opens them: of our own making, each a kind."""

import os
import struct
from pathlib import Path

from pydicom.uid import JPEG2000

from tests.workflows.dicom_files import write_dicom

_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_TILE_SIDES = {322: 16_712_192, 323: 4096}  # px


def looping_dicom(path: Path) -> Path:
    """A DICOM of some kB in which pydicom looks for the next box of JPEG 2000 for ever."""
    return write_dicom(path, (64, 64), [_JP2 + bytes(64)], JPEG2000)


def aborting_slide(path: Path, slide: Path) -> Path:
    """A copy of a tiled slide with impossible tiles, for which OpenSlide finds no memory: abort()."""
    content = bytearray(slide.read_bytes())
    assert content[:4] == b"II*\x00"
    (at,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag = struct.unpack_from("<H", content, entry)[0]
        if tag in _TILE_SIDES:
            struct.pack_into("<HHII", content, entry, tag, 4, 1, _TILE_SIDES[tag])
    path.write_bytes(content)
    return path


def many_pages(path: Path, pages: int = 60_000) -> Path:
    """A TIFF of some MB whose pages take minutes to count."""
    tags = [(256, 64), (257, 64), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 64),
            (279, 8)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    size = 2 + len(entries) + 4
    content = bytearray(b"II*\x00" + struct.pack("<I", 8))
    for page in range(1, pages + 1):
        following = 8 + size * page if page < pages else 0
        content += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    path.write_bytes(content)
    return path


def sparse(path: Path, gib: int = 10) -> Path:
    """A file of many GiB that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(gib << 30)
    return path


def pipe(path: Path) -> Path:
    """A pipe that nobody writes to."""
    os.mkfifo(path)
    return path
