"""The second reader of TIFF: what OpenSlide refuses, and the same pixels where both read."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from offsite.errors import InputError
from offsite.preprocessing.slides.colour import srgb_transform
from offsite.preprocessing.slides.formats import NotThisFormat
from offsite.preprocessing.slides.opening import are_slides, open_slide
from offsite.preprocessing.slides.openslide_reader import open_with_openslide
from offsite.preprocessing.slides.tiff_reader import open_tiff
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.preprocessing.tiles.reading import read_tiles
from offsite.preprocessing.tiles.table import TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide
from tests.preprocessing.slides.tiff_files import (
    write_ome,
    write_qptiff,
    write_strips,
    write_tiles,
)

pytest.importorskip("imagecodecs")  # by which tifffile writes these
LOSSLESS = {
    "ome": (write_ome, {}),
    "ome of lzw": (write_ome, {"compression": "lzw", "predictor": True}),
    "ome in planes": (write_ome, {"planarconfig": "separate", "levels": 2, "tile": None}),
    "strips": (write_strips, {}),
    "strips of lzw": (write_strips, {"compression": "lzw", "predictor": True}),
    "strips of deflate": (write_strips, {"compression": "deflate"}),
    "strips of packbits": (write_strips, {"compression": "packbits"}),
    "strips in planes": (write_strips, {"planarconfig": "separate", "compression": "deflate"}),
    "one row a strip": (write_strips, {"rowsperstrip": 1, "compression": "lzw"}),
    "strips of zstandard": (write_strips, {"compression": "zstd", "predictor": True}),
    "webp": (write_tiles, {"compression": "webp", "compressionargs": {"level": -1}}),
    "jpeg 2000": (write_tiles, {"compression": "jpeg2000"}),
    "big-endian": (write_strips, {"byteorder": ">", "compression": "lzw"}),
}
LOSSY = {
    "ome of jpeg": (write_ome, {"compression": "jpeg"}),
    "strips of jpeg": (write_strips, {"compression": "jpeg"}),
    "webp at 80": (write_tiles, {"compression": "webp", "compressionargs": {"level": 80}}),
}


@pytest.fixture(scope="module")
def image(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture[:433, :517])


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_what_openslide_refuses_is_read_with_its_scale(
    tmp_path: Path, image: np.ndarray, kind: str
) -> None:
    path = tmp_path / "a.tif"
    write, how = {**LOSSLESS, **LOSSY}[kind]
    write(path, image, 0.5, **how)
    whole = image if kind in LOSSLESS else tifffile.imread(path, key=0)
    with open_slide(path) as slide:
        assert slide.reader == "tiff"
        assert slide.dimensions == (517, 433)
        assert slide.mpp == pytest.approx(0.5, rel=1e-4)
        assert slide.mpp_source == ("ome" if kind.startswith("ome") else "tiff")
        np.testing.assert_array_equal(slide.read_region(0, 0, 0, 517, 433).pixels, whole)
        part = slide.read_region(-20, 300, 0, 300, 200)
        np.testing.assert_array_equal(part.pixels[:133, 20:], whole[300:, :280])
        inside = np.zeros((200, 300), bool)
        inside[:133, 20:] = True
        np.testing.assert_array_equal(part.valid, inside)
        if "ome" in kind and len(slide.level_dimensions) > 1:
            assert slide.level_dimensions == ((517, 433), (129, 108))
    assert are_slides([path])


def test_of_qptiff_the_levels_are_those_of_the_picture(tmp_path: Path, image: np.ndarray) -> None:
    write_qptiff(tmp_path / "a.qptiff", image, 0.5)
    with open_slide(tmp_path / "a.qptiff") as slide:
        assert slide.reader == "tiff"
        assert slide.vendor == "qptiff"
        assert slide.level_dimensions == ((517, 433), (258, 216), (129, 108))
        assert slide.mpp == pytest.approx(0.5, rel=1e-4)
        assert slide.properties["openslide.objective-power"] == "20"
        for level, page in enumerate((0, 2, 3)):
            whole = slide.read_region(0, 0, level, *slide.level_dimensions[level]).pixels
            np.testing.assert_array_equal(whole, tifffile.imread(tmp_path / "a.qptiff", key=page))


def both(path: Path) -> None:
    """Our pixels and OpenSlide's, at every level, in random places."""
    ours, theirs = open_tiff(str(path)), open_with_openslide(str(path))
    assert ours.level_dimensions == theirs.level_dimensions
    np.testing.assert_allclose(ours.downsamples, theirs.downsamples)
    generator = np.random.default_rng(1)
    for level, (width, height) in enumerate(ours.level_dimensions):
        for _ in range(4):
            x, y = int(generator.integers(-20, width)), int(generator.integers(-20, height))
            if theirs.downsamples[level] % 1:
                x = y = 0  # elsewhere OpenSlide interpolates
            first, second = (one.read(x, y, level, 150, 140) for one in (ours, theirs))
            np.testing.assert_array_equal(first.pixels, second.pixels)
            if first.valid is not None:
                np.testing.assert_array_equal(first.valid, second.valid)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("flavour", ["aperio", "generic"])
@pytest.mark.parametrize(
    ("photometric", "shared"), [("ycbcr", False), ("rgb", False), ("rgb", True)]
)
def test_pixels_are_openslides_where_both_read(
    tmp_path: Path, image: np.ndarray, flavour: str, photometric: str, shared: bool
) -> None:
    write_slide(
        tmp_path / "a.tiff", image, mpp=0.5, flavour=flavour, photometric=photometric,
        shared_tables=shared, downsamples=(1, 4),
    )  # fmt: skip
    both(tmp_path / "a.tiff")


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "APERIO_JP2000_RGB"])
def test_so_they_are_without_jpeg(tmp_path: Path, image: np.ndarray, compression: str) -> None:
    text = "Aperio Image Library v1\n517x433 [0,0 517x433]|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(
        tmp_path / "a.svs", image, tile=(TILE_PX, TILE_PX), compression=compression,
        photometric="rgb", metadata=None, description=text,
    )  # fmt: skip
    both(tmp_path / "a.svs")


def test_jpeg_2000_in_ycbcr_is_openslides_but_for_the_rounding(
    tmp_path: Path, image: np.ndarray
) -> None:
    text = "Aperio Image Library v1\n517x433 [0,0 517x433]|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(
        tmp_path / "a.svs", image, tile=(TILE_PX, TILE_PX), compression="APERIO_JP2000_YCBC",
        photometric="ycbcr", subsampling=(1, 1), metadata=None, description=text,
    )  # fmt: skip
    ours, theirs = open_tiff(str(tmp_path / "a.svs")), open_with_openslide(str(tmp_path / "a.svs"))
    pair = [one.read(0, 0, 0, 517, 433).pixels.astype(int) for one in (ours, theirs)]
    assert np.abs(pair[0] - pair[1]).max() <= 1
    ours.close()
    theirs.close()


def test_of_a_tiled_file_that_openslide_reads_the_scale_in_its_xml_is_read(
    tmp_path: Path, image: np.ndarray
) -> None:
    write_ome(tmp_path / "a.ome.tif", image, 0.44, levels=1)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert (slide.reader, slide.mpp_source) == ("openslide", "ome")
        assert slide.mpp == pytest.approx(0.44)


TILE_PX = 240


def test_so_they_are_on_real_files(real_data: Path) -> None:
    for name in ("CMU-1-Small-Region.svs", "CMU-1-Small-Region.jpeg.tiff"):
        both(real_data / "wsi" / name)
    both(real_data / "wsi" / "openslide_fixtures" / "boxes.tiff")


def test_real_files_that_openslide_refuses(real_data: Path) -> None:
    expected = {
        "OS-1-detail.ome.tif": 0.2271,
        "OS-2-ndpi.ome.tif": 0.2271,
        "OS-2-vsi.ome.tif": 0.3461,
    }
    for name, mpp in expected.items():
        path = real_data / "wsi/unreadable" / name
        with open_slide(path) as slide:
            assert slide.mpp == pytest.approx(mpp, abs=1e-4)
            assert slide.mpp_source == "ome"
            pixels = slide.read_region(0, 0, 0, *slide.dimensions).pixels
        np.testing.assert_array_equal(pixels, tifffile.imread(path))
        assert np.median(pixels, axis=(0, 1)).min() > 100  # glass and stained tissue, not magenta
    webp = real_data / "wsi/unreadable/CMU-1-Small-Region.webp.tiff"
    with (
        open_slide(webp, mpp=0.499) as slide,
        open_slide(real_data / "wsi/CMU-1-Small-Region.svs") as scanned,
    ):
        ours = slide.read_region(300, 300, 0, 900, 900).pixels.astype(int)
        theirs = scanned.read_region(300, 300, 0, 900, 900).pixels
    assert np.abs(ours - theirs).mean() < 6


def test_such_a_slide_goes_the_whole_way(tmp_path: Path, picture: np.ndarray) -> None:
    write_slide(tmp_path / "a.tiff", picture, mpp=0.5, flavour="generic", downsamples=(1, 4))
    with open_slide(tmp_path / "a.tiff") as slide:
        pixels = slide.read_region(0, 0, 0, *slide.dimensions).pixels
    write_ome(tmp_path / "b.ome.tif", pixels, 0.5)
    known = {}
    for name in ("a.tiff", "b.ome.tif"):
        tile_slide(tmp_path / name, name, tmp_path, TileSettings(tile_px=64))
        known[name] = load_tiles(tmp_path, name)
    one, other = known.values()
    assert (one.record.reader, other.record.reader) == ("direct", "tiff")
    assert (other.record.compression, other.record.native_tile) == ("deflate", (128, 128))
    same = one.table.merge(other.table, on=["x", "y"])
    assert len(same) > 0.97 * max(len(one.table), len(other.table))
    assert (same["status_x"] == same["status_y"]).mean() > 0.97
    (batch, *_) = read_tiles(tmp_path / "b.ome.tif", other, batch_size=4)
    x, y = batch.coords[2]
    np.testing.assert_array_equal(batch.pixels[2], pixels[y : y + 64, x : x + 64])


def test_threads_share_it(tmp_path: Path, image: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    write_strips(tmp_path / "a.tif", image, 0.5, compression="lzw")
    with open_slide(tmp_path / "a.tif") as slide, ThreadPoolExecutor(4) as pool:
        tops = list(range(0, 400, 10)) * 2
        found = list(pool.map(lambda top: slide.read_region(5, top, 0, 99, 33).pixels, tops))
    for top, pixels in zip(tops, found, strict=True):
        np.testing.assert_array_equal(pixels, image[top : top + 33, 5:104])


def test_the_embedded_profile_is_openslides(
    real_data: Path, tmp_path: Path, image: np.ndarray
) -> None:
    boxes = real_data / "wsi/openslide_fixtures/boxes.tiff"
    with tifffile.TiffFile(boxes) as tiff:
        profile = tiff.pages[0].tags[34675].value
    write_strips(tmp_path / "a.tif", image, 0.5, iccprofile=profile)
    with open_slide(tmp_path / "a.tif", colour="srgb") as slide:
        assert slide.icc_profile_bytes() == len(profile)
        moved = slide.read_region(0, 0, 0, 200, 200).pixels
    transform = srgb_transform(open_with_openslide(str(boxes)).colour_profile)
    np.testing.assert_array_equal(moved, transform(np.ascontiguousarray(image[:200, :200])))


@pytest.mark.parametrize("mpp", [None, 264.0])
def test_a_picture_in_strips_without_a_microscopes_scale_is_a_photograph(
    tmp_path: Path, image: np.ndarray, mpp: float | None
) -> None:
    write_strips(tmp_path / "a.tif", image, mpp)  # 96 dots per inch are 264 um
    with pytest.raises(NotThisFormat, match="states no scale"):
        open_tiff(str(tmp_path / "a.tif"))
    assert not are_slides([tmp_path / "a.tif"])
    with pytest.raises(InputError, match="column 'mpp' states its scale") as caught:
        open_slide(tmp_path / "a.tif")
    assert caught.value.code == "unsupported_format"
    with open_slide(tmp_path / "a.tif", mpp=0.5) as slide:  # unless a person says what it is
        assert (slide.reader, slide.mpp, slide.mpp_source) == ("tiff", 0.5, "override")
        np.testing.assert_array_equal(
            slide.read_region(9, 9, 0, 99, 99).pixels, image[9:108, 9:108]
        )


def write_grey(path: Path, image: np.ndarray, kind: str) -> None:
    grey = image[..., 0]
    if kind == "tiles":  # which OpenSlide would open
        tifffile.imwrite(path, grey, tile=(TILE_PX, TILE_PX), metadata=None, resolution=(2e4, 2e4),
                         resolutionunit="CENTIMETER")  # fmt: skip
    elif kind == "strips":
        tifffile.imwrite(
            path, grey, metadata=None, resolution=(2e4, 2e4), resolutionunit="CENTIMETER"
        )
    else:
        channels = np.stack([grey] * 4).astype(np.uint16 if kind == "deep" else np.uint8)
        tifffile.imwrite(path, channels, ome=kind != "pages", tile=(128, 128), photometric="minisblack",
                         metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tiles", "one grey"),
        ("strips", "one grey"),
        ("deep", "4 grey"),
        ("channels", "4 grey"),
        ("pages", "4 grey"),
    ],
)
def test_a_slide_of_grey_channels_is_said_to_be_one(
    tmp_path: Path, image: np.ndarray, kind: str, words: str
) -> None:
    write_grey(tmp_path / "a.tif", image, kind)
    with pytest.raises(InputError, match=f"{words} channel.*fluorescence") as caught:
        open_slide(tmp_path / "a.tif")
    assert caught.value.code == "not_brightfield"
    record = tile_slide(tmp_path / "a.tif", "a", tmp_path, TileSettings())
    assert (record.status, record.code) == ("failed", "not_brightfield")


def test_fluorescence_in_false_colours_is_said_to_be_it(tmp_path: Path, image: np.ndarray) -> None:
    """Stained nuclei shine on black; a scan in brightfield with black margins is another thing."""
    glowing = 255 - image
    write_slide(tmp_path / "a.svs", glowing, mpp=0.5, downsamples=(1,))
    record = tile_slide(tmp_path / "a.svs", "a", tmp_path, TileSettings(tile_px=64))
    assert (record.status, record.code) == ("failed", "not_brightfield")
    grey = np.repeat(image[..., 1:2], 3, axis=2)  # stored as if it were in colour
    write_slide(tmp_path / "g.svs", grey, mpp=0.5, downsamples=(1,))
    record = tile_slide(tmp_path / "g.svs", "g", tmp_path, TileSettings(tile_px=64))
    assert (record.status, record.code) == ("failed", "not_brightfield")
    assert "no colours" in record.message
    margins = np.zeros((1000, 1000, 3), np.uint8)
    margins[200:633, 200:717] = image
    write_slide(tmp_path / "b.svs", margins, mpp=0.5, downsamples=(1,))
    record = tile_slide(tmp_path / "b.svs", "b", tmp_path, TileSettings(tile_px=64))
    assert record.code != "not_brightfield"


def test_a_file_is_not_read_by_a_reader_that_was_not_asked_for(
    tmp_path: Path, image: np.ndarray
) -> None:
    write_strips(tmp_path / "a.tif", image, 0.5)
    write_slide(tmp_path / "b.svs", image, mpp=0.5, downsamples=(1,))
    for name, reader in (("a.tif", "openslide"), ("a.tif", "direct"), ("b.svs", "tiff")):
        with pytest.raises(InputError, match=f"reader '{reader}'") as caught:
            open_slide(tmp_path / name, reader=reader)
        assert caught.value.code == "reader_unsuitable"
    shutil.copy(tmp_path / "a.tif", tmp_path / "c.tif")
    with open_slide(tmp_path / "c.tif", reader="tiff") as slide:
        assert slide.reader == "tiff"
