"""Files that real folders hold and that end the batches of other tools."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def make_hostile(folder: Path, photograph: Path) -> dict[str, set[str]]:
    """Write one file of each kind; returns the codes that are right for it, by file name.

    Parameters
    ----------
    photograph : Path
        A good JPEG photograph of a retina.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = photograph.read_bytes()
    answered = {"ok", "ambiguous", "out_of_distribution", "empty_set", "uncalibrated_site"}
    fair = answered | {"ungradable"}
    codes: dict[str, set[str]] = {}

    def put(name: str, data: bytes, *right: str) -> Path:
        codes[name] = set(right) or fair
        (folder / name).write_bytes(data)
        return folder / name

    put("cut short.jpg", content[: len(content) // 2], "unreadable")
    put("cut at the header.jpg", content[:20], "unreadable")
    middle = bytearray(content)
    middle[len(middle) // 2 : len(middle) // 2 + 400] = b"\xff\xd8" * 200
    put("damaged inside.jpg", bytes(middle), "unreadable")
    put("nothing.png", b"", "empty_file")
    put("a photograph.txt", content)
    put("a text.jpg", b"This is no photograph.\n" * 20, "not_an_image")
    put("letter.docx", b"PK\x03\x04" + bytes(500), "not_an_image")
    put("table.csv", b"a,b\n1,2\n", "not_an_image")
    put("wide.png", black_png(40_000, 3_000), "too_large")
    put("bomb.png", black_png(100_000, 100_000, rows=10), "too_large")
    put("lying header.png", black_png(3_000, 3_000, rows=10), "unreadable")
    put("=cmd|' C calc'!A1.jpg", content)
    put("<script>alert(1)</script>.jpg".replace("/", "\u2215"), content)
    put("Ämïlie 李 🙂.jpg", content)
    put("n" * 200 + ".jpg", content)
    put("two\nlines.jpg", content)
    put("copy of it.jpg", content)
    _pictures(folder, codes, fair, photograph)
    _others(folder, codes, content, fair)
    return codes


def _pictures(folder: Path, codes: dict[str, set[str]], fair: set[str], photograph: Path) -> None:
    image = Image.open(photograph)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("L").save(folder / "grey.png")
    image.convert("RGBA").save(folder / "transparent.png")
    codes |= {"cmyk.jpg": fair, "grey.png": fair, "transparent.png": fair}
    deep = cv2.imread(str(photograph)).astype(np.uint16) * 257
    cv2.imwrite(str(folder / "sixteen bits.png"), deep)
    codes["sixteen bits.png"] = fair
    small = image.resize((64, 64)).convert("P")
    small.save(folder / "moving.gif", save_all=True, append_images=[small.rotate(90)])
    small.save(folder / "pages.tif", save_all=True, append_images=[small.rotate(90)])
    codes |= {"moving.gif": {"unsupported"}, "pages.tif": {"unsupported"}}
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    codes["dot.png"] = {"ungradable"}
    Image.new("RGB", (300, 300), "white").save(folder / "white.png")
    codes["white.png"] = {"ungradable"}
    cut = (folder / "grey.png").read_bytes()
    (folder / "cut short.png").write_bytes(cut[: len(cut) // 2])
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x01" * 300)
    codes |= {"cut short.png": {"unreadable"}, "broken.dcm": {"unreadable", "not_an_image"}}


def _others(folder: Path, codes: dict[str, set[str]], content: bytes, fair: set[str]) -> None:
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jpg")
    codes |= {"gone.jpg": {"not_found"}, "endless.jpg": {"unsupported"}}
    codes["pipe.jpg"] = {"unsupported"}
    (folder / "locked.jpg").write_bytes(content)
    (folder / "locked.jpg").chmod(0)
    # The administrator may read everything.
    codes["locked.jpg"] = {"permission_denied"} if os.geteuid() else fair
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(content)
    codes["caf\ufffd.jpg"] = fair
    (folder / "a folder.jpg").mkdir()
    shutil.copy(folder / "copy of it.jpg", folder / "a folder.jpg" / "inside.jpg")
    (folder / "a folder.jpg" / "back").symlink_to(folder, target_is_directory=True)
    codes |= {"inside.jpg": fair, "back": {"folder_loop"}}


def black_png(width: int, height: int, rows: int | None = None) -> bytes:
    """A black PNG, written row by row; with ``rows`` fewer than it claims."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    packer = zlib.compressobj(1)
    row = bytes(1 + 3 * width)
    packed = b"".join(packer.compress(row) for _ in range(height if rows is None else rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed + packer.flush())
        + chunk(b"IEND", b"")
    )  # fmt: skip
