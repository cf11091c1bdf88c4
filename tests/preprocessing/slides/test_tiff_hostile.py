"""What a TIFF declares is bounded before it is believed, and damage is never painted over."""

import io
import struct
import tracemalloc
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image

from offsite.errors import InputError
from offsite.preprocessing.slides import tiff_pages
from offsite.preprocessing.slides.formats import NotThisFormat
from offsite.preprocessing.slides.ome import described
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.slides.region import UnreadableRegion
from offsite.preprocessing.slides.tiff_reader import open_tiff
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.preprocessing.tiles.table import TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide
from tests.preprocessing.slides.tiff_files import write_ome, write_strips, write_tiles

pytest.importorskip("imagecodecs")
SIZE = 128


def tiff_of(
    path: Path, compression: int, streams: list[bytes], side: int = SIZE, **tags: int
) -> Path:
    """A tiled TIFF of 0.5 um per px whose tiles hold just these bytes."""
    count = len(streams)
    values = {256: side * count, 257: side, 259: compression, 262: 2, 277: 3, 322: side, 323: side,
              296: 3, **{int(k[1:]): v for k, v in tags.items()}}  # fmt: skip
    entries, extra = [], b""
    at = 8 + 2 + 12 * (len(values) + 4) + 4
    data_at = at + 8 + 6 + 8 * count
    offsets = [data_at + sum(map(len, streams[:n])) for n in range(count)]
    arrays = {258: (3, [8, 8, 8]), 324: (4, offsets), 325: (4, [len(s) for s in streams])}
    blobs = {282: (5, 1, struct.pack("<II", 20_000, 1))}
    for tag, (kind, numbers) in arrays.items():
        blobs[tag] = (
            kind,
            len(numbers),
            struct.pack("<" + {3: "H", 4: "I"}[kind] * len(numbers), *numbers),
        )
    for tag, value in values.items():
        entries.append((tag, struct.pack("<HHII", tag, 4, 1, value)))
    for tag, (kind, length, blob) in blobs.items():
        if len(blob) <= 4:
            entries.append((tag, struct.pack("<HHI", tag, kind, length) + blob.ljust(4, b"\0")))
        else:
            entries.append((tag, struct.pack("<HHII", tag, kind, length, at + len(extra))))
            extra += blob
    body = b"".join(entry for _, entry in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + extra
    path.write_bytes(head.ljust(data_at, b"\0") + b"".join(streams))
    return path


def encoded(kind: str, side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(
        file, kind, **({"no_jp2": True} if kind == "JPEG2000" else {})
    )
    return file.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "webp", "jpeg2000", "deflate"])
def test_a_tile_that_would_fill_the_memory_is_damage(tmp_path: Path, kind: str) -> None:
    side = 4000  # 48 MB of pixels from a few kB, where a tile has 49 kB
    if kind == "jpeg":
        stream, number = simplejpeg.encode_jpeg(np.zeros((side, side, 3), np.uint8), 10), 7
    elif kind == "deflate":
        stream, number = zlib.compress(bytes(side * side * 3)), 8
    else:
        stream, number = encoded(kind.upper(), side), {"webp": 50001, "jpeg2000": 34712}[kind]
    path = tiff_of(tmp_path / "a.tif", number, [stream, stream])
    reader = open_tiff(str(path))
    tracemalloc.start()
    with pytest.raises(UnreadableRegion, match=r"4000 x 4000|segment of \d+ bytes|not of the size"):
        reader.read(0, 0, 0, SIZE, SIZE)
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()
    reader.close()


@pytest.mark.parametrize("shared", [False, True])
def test_so_it_is_to_the_direct_reader(tmp_path: Path, picture: np.ndarray, shared: bool) -> None:
    path = tmp_path / "a.svs"
    write_slide(path, picture[:600, :600], mpp=0.25, downsamples=(1,), shared_tables=shared)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[4]
        stream = path.read_bytes()[start : start + tiff.pages[0].databytecounts[4]]
        size_at = start + stream.index(b"\xff\xc0") + 5
    with path.open("r+b") as file:
        file.seek(size_at)
        file.write(struct.pack(">HH", 65_000, 65_000))  # 13 GB of pixels
    with open_slide(path, reader="direct") as slide:
        tracemalloc.start()
        for read in (lambda: slide.read_region(256, 256, 0, 256, 256),
                     lambda: slide.read_region(300, 300, 0, 99, 99),
                     lambda: slide.read_reduced(256, 256, 0, 256, 256, 2)):  # fmt: skip
            with pytest.raises(UnreadableRegion, match="65000 x 65000 px where 256 x 256 belong"):
                read()
        assert tracemalloc.get_traced_memory()[1] < 8e6
        tracemalloc.stop()
        whole = slide.read_region(0, 0, 0, 256, 256).pixels
        assert np.abs(whole.astype(int) - picture[:256, :256]).mean() < 8


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"t322": 1 << 24}, "too large"), ({"t322": 1 << 14, "t323": 1 << 14}, "too large"),
        ({"t256": 1 << 30, "t257": 1 << 30}, "tiles or strips where"),
        ({"t256": 3 * SIZE}, "2 tiles or strips where 3"),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_true_are_refused(tmp_path: Path, tags: dict, words: str) -> None:
    path = tiff_of(tmp_path / "a.tif", 1, [bytes(SIZE * SIZE * 3)] * 2, **tags)
    with pytest.raises(InputError, match=words) as caught:
        open_tiff(str(path))
    assert caught.value.code == "cannot_open"


def test_pages_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_pages, "MOST_PAGES", 20)
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((21, 16, 16, 3), np.uint8), photometric="rgb", metadata=None
    )
    with pytest.raises(InputError, match="more than 20 pages"):
        open_tiff(str(tmp_path / "a.tif"))
    loop = tiff_of(tmp_path / "loop.tif", 1, [bytes(SIZE * SIZE * 3)])
    content = bytearray(loop.read_bytes())
    entries = struct.unpack("<H", content[8:10])[0]
    content[10 + 12 * entries : 14 + 12 * entries] = struct.pack(
        "<I", 8
    )  # the next page is the first
    loop.write_bytes(content)
    reader = open_tiff(str(loop))
    assert reader.level_dimensions == ((SIZE, SIZE),)
    reader.close()


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    path = tiff_of(tmp_path / "a.tif", 22610, [b"JPEG XR"])
    with pytest.raises(InputError, match="TIFF's number 22610") as caught:
        open_tiff(str(path))
    assert caught.value.code == "cannot_open"


@pytest.mark.parametrize(
    ("write", "how", "damage"),
    [
        (write_ome, {"compression": "jpeg"}, "zeroed"),
        (write_ome, {"compression": "jpeg"}, "cut"),
        (write_strips, {"compression": "deflate"}, "cut"),
        (write_strips, {"compression": "zstd"}, "zeroed"),
        (write_tiles, {"compression": "webp"}, "zeroed"),
        (write_tiles, {"compression": "jpeg2000"}, "cut"),
    ],
)
def test_damage_is_found_and_its_area_alone_is_lost(
    tmp_path: Path, picture: np.ndarray, write, how: dict, damage: str
) -> None:
    path = tmp_path / "a.tif"
    write(path, picture, 0.5, **how)
    number = 12 if write is write_strips else 27  # both begin in row 384
    with tifffile.TiffFile(path) as tiff:
        offset, length = tiff.pages[0].dataoffsets[number], tiff.pages[0].databytecounts[number]
    with path.open("r+b") as file:
        file.seek(offset + (length // 2 if damage == "cut" else 0))
        file.write(bytes(length - length // 2 if damage == "cut" else length))
    with open_slide(path) as slide:
        assert slide.reader == "tiff"
        with pytest.raises(UnreadableRegion):
            slide.read_region(384, 384, 0, 20, 20)
        assert slide.read_region(384, 352, 0, 20, 20).valid is None
    settings = TileSettings(tile_px=64, max_unreadable=0.5, pictures=False)
    assert tile_slide(path, "a", tmp_path, settings).status == "done"
    table = load_tiles(tmp_path, "a").table
    lost = table[table["status"] == "unreadable"]
    if write is write_strips:  # 32 rows over the whole width: half of each tile of a row
        assert set(lost["y"]) == {384}
        np.testing.assert_allclose(lost["lost"], 0.5)
    else:
        assert set(zip(lost["x"], lost["y"], strict=True)) <= {
            (x, y) for x in (384, 448) for y in (384, 448)
        }
        assert (lost["lost"] == 1).all()
    assert len(lost) >= 3


@pytest.mark.parametrize(
    ("compression", "damage"),
    [*product(("jpeg", "jpeg2000", "deflate", "lzw", "zstd"), ("zeroed", "tail")),
     ("webp", "zeroed")],
)  # fmt: skip
def test_zeros_in_place_of_a_segment_or_of_its_end_are_never_pixels(
    tmp_path: Path, picture: np.ndarray, compression: str, damage: str
) -> None:
    """As a copy that was not finished leaves them."""
    path = tmp_path / "a.tif"
    write_tiles(path, picture[:384, :384], 0.5, compression=compression)
    with tifffile.TiffFile(path) as tiff:
        offset, length = tiff.pages[0].dataoffsets[4], tiff.pages[0].databytecounts[4]
    kept = length // 2 if damage == "tail" else 0
    with path.open("r+b") as file:
        file.seek(offset + kept)
        file.write(bytes(length - kept))
    reader = open_tiff(str(path))
    with pytest.raises(UnreadableRegion):
        reader.read(128, 128, 0, 128, 128)
    assert reader.read(0, 0, 0, 128, 128).valid is None
    reader.close()


def test_of_a_file_that_ends_before_most_of_its_tiles_nothing_is_made(tmp_path: Path) -> None:
    path = tiff_of(tmp_path / "a.tif", 1, [bytes(SIZE * SIZE * 3)] * 3)
    path.write_bytes(path.read_bytes()[: SIZE * SIZE * 3 + 500])
    with pytest.raises(NotThisFormat, match="ends before most"):
        open_tiff(str(path))


def test_a_file_that_ends_before_its_tiles_loses_those_alone(tmp_path: Path) -> None:
    path = tiff_of(tmp_path / "a.tif", 1, [bytes(SIZE * SIZE * 3)] * 3)
    path.write_bytes(path.read_bytes()[:-10])
    reader = open_tiff(str(path))
    assert reader.read(0, 0, 0, SIZE, SIZE).valid is None
    with pytest.raises(UnreadableRegion, match="ends before"):
        reader.read(2 * SIZE, 0, 0, SIZE, SIZE)
    reader.close()


def test_of_a_torn_head_nothing_is_made(tmp_path: Path, picture: np.ndarray) -> None:
    write_ome(tmp_path / "a.tif", picture[:300, :300], 0.5)
    whole = (tmp_path / "a.tif").read_bytes()
    generator, refused = np.random.default_rng(0), 0
    for number in range(60):
        torn = bytearray(whole[: 400 if number % 2 else len(whole)])
        for place in generator.integers(0, 400, 6):
            torn[place] = int(generator.integers(0, 256))
        (tmp_path / "b.tif").write_bytes(torn)
        try:
            open_tiff(str(tmp_path / "b.tif")).close()
        except (NotThisFormat, InputError):
            refused += 1
    assert refused >= 30, "those that are cut short at least"


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><OME><Image><Pixels PhysicalSizeX="0.5"/></Image></OME>',
        "<OME><Image>", "<OME" + "x" * 3_000_000, "<OME>" * 2_000, "Aperio",
    ],
)  # fmt: skip
def test_descriptions_that_could_grow_say_nothing(text: str) -> None:
    assert described(text) is None
