"""A file that is damaged in places is read around them, down to its own tiles."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from offsite.preprocessing.slides import damage
from offsite.preprocessing.slides.damage import Patience, read_part, read_square
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.slides.overview import read_overview
from offsite.preprocessing.slides.region import UnreadableRegion
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.preprocessing.tiles.facts import summary_row
from offsite.preprocessing.tiles.table import TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide
from tests.preprocessing.synthetic.faulty_slides import strike_tiles

READERS = ("direct", "openslide")


def zero(path: Path, page: int, tiles: list[int]) -> None:
    """Fill the streams of some native tiles of a page with zeros."""
    with tifffile.TiffFile(path) as tiff:
        offsets, lengths = tiff.pages[page].dataoffsets, tiff.pages[page].databytecounts
    with path.open("r+b") as file:
        for tile in tiles:
            file.seek(offsets[tile])
            file.write(bytes(lengths[tile]))


@pytest.fixture
def slide_file(tmp_path: Path, picture: np.ndarray) -> Path:
    """912 x 816 px in native tiles of 128, and the same at a fourth of the size."""
    path = tmp_path / "a.tiff"
    write_slide(path, picture, mpp=0.5, flavour="generic", tile_px=128, downsamples=(1, 4))
    return path


@pytest.mark.parametrize("reader", READERS)
def test_only_the_native_tile_is_lost(slide_file: Path, reader: str) -> None:
    with open_slide(slide_file, reader=reader) as slide:
        whole = slide.read_region(30, 40, 0, 700, 600).pixels
    zero(slide_file, 0, [8 * 2 + 3])  # the third row's fourth: x 384, y 256
    with open_slide(slide_file, reader=reader) as slide:
        part = read_part(slide, 30, 40, 0, 700, 600)
    lost = np.zeros((600, 700), bool)
    lost[256 - 40 : 384 - 40, 384 - 30 : 512 - 30] = True
    np.testing.assert_array_equal(part.damaged, lost)
    np.testing.assert_array_equal(part.valid, ~lost)
    np.testing.assert_array_equal(part.pixels[~lost], whole[~lost])
    assert (part.pixels[lost] == 255).all()
    assert part.decoded_from == frozenset()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("struck", "gives"), [(0, 1), (1, 0)])
def test_another_level_gives_what_one_has_lost(
    slide_file: Path, reader: str, struck: int, gives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "_MOST_PX", 200)  # and so in several pieces
    with open_slide(slide_file, reader=reader) as slide:
        width, height = slide.level_dimensions[struck]
        whole = slide.read_region(0, 0, struck, width, height).pixels
    zero(slide_file, struck, [0])
    with open_slide(slide_file, reader=reader) as slide:
        part = read_part(slide, 0, 0, struck, width, height, others=(gives,))
    assert part.decoded_from == {gives}
    assert part.lost == 0
    assert part.valid is None or part.valid.all()
    np.testing.assert_array_equal(part.pixels[128:], whole[128:])
    stood_in = part.pixels[:128, :128].astype(int) - whole[:128, :128]
    assert np.abs(stood_in).mean() < (12 if gives else 4)  # a coarser level is a blurred one


def test_a_square_comes_from_a_finer_level_alone(slide_file: Path) -> None:
    with open_slide(slide_file) as slide:
        expected = slide.read_region(128, 128, 0, 128, 128).pixels
    zero(slide_file, 1, [0])
    with open_slide(slide_file) as slide:
        region, level = read_square(slide, 128, 128, 1, 32)
        assert level == 0
        np.testing.assert_array_equal(region.pixels, expected)
    zero(slide_file, 0, [8 + 1])
    with open_slide(slide_file) as slide, pytest.raises(UnreadableRegion):
        read_square(slide, 128, 128, 1, 32)


def test_of_a_slide_damaged_throughout_little_is_tried(slide_file: Path) -> None:
    strike_tiles(slide_file, lambda stream, _: bytes(len(stream)), share=1.0, seed=0)
    with open_slide(slide_file) as slide:
        tried = 0
        read = slide.read_region

        def counted(*place: int):
            nonlocal tried
            tried += 1
            return read(*place)

        slide.read_region = counted
        part = read_part(slide, 0, 0, 0, *slide.dimensions, patience=Patience(5))
    assert part.lost == 1
    assert tried < 12


def test_one_bad_tile_of_a_coarse_level_refuses_nothing(
    picture: np.ndarray, tmp_path: Path
) -> None:
    """The overview is read from that level; every tile is fit, and the ledger says what stood in."""
    for name in ("whole", "struck"):
        path = tmp_path / f"{name}.tiff"
        write_slide(path, picture, mpp=0.5, flavour="generic", tile_px=128, downsamples=(1, 8))
    zero(path, 1, [0])
    records = {
        name: tile_slide(tmp_path / f"{name}.tiff", name, tmp_path, TileSettings(tile_px=64))
        for name in ("whole", "struck")
    }
    assert records["struck"].status == "done"
    assert records["struck"].decoded_from == (0,)
    assert records["whole"].decoded_from == ()
    assert abs(records["struck"].kept - records["whole"].kept) <= 1
    assert records["struck"].lost_mm2 == 0
    rows = [summary_row(records[name]) for name in ("whole", "struck")]
    assert [row["decoded_from"] for row in rows] == ["", "0"]


@pytest.mark.parametrize("reader", READERS)
def test_the_lost_area_is_counted(picture: np.ndarray, tmp_path: Path, reader: str) -> None:
    path = tmp_path / "a.tiff"
    write_slide(path, picture, mpp=0.5, flavour="generic", tile_px=128, downsamples=(1,))
    settings = TileSettings(tile_px=64, reader=reader)
    before = load_tiles(tmp_path, tile_slide(path, "before", tmp_path, settings).slide)
    kept = before.kept()
    row = kept.iloc[len(kept) // 2]
    tile = int(row["y"] // 128 * 8 + row["x"] // 128)
    zero(path, 0, [tile])
    after = load_tiles(tmp_path, tile_slide(path, "after", tmp_path, settings).slide)
    lost = after.table[after.table["status"] == "unreadable"]
    assert len(lost) == 4  # a native tile of 128 px holds four
    assert (lost["lost"] == 1).all()
    assert after.record.lost_mm2 == pytest.approx(0.064**2)
    assert after.record.lost_share == pytest.approx(4 / len(after.table))
    others = before.table.merge(lost[["x", "y"]], how="left", indicator=True)
    assert len(after.table) - len(lost) == (others["_merge"] == "left_only").sum()


def test_an_overview_knows_what_no_level_gives(slide_file: Path) -> None:
    zero(slide_file, 1, [0])
    zero(slide_file, 0, [0])
    with open_slide(slide_file) as slide:
        overview = read_overview(slide, mpp=2.0, max_px=10**6)
    assert overview.decoded_from == (0,)
    lost = np.zeros_like(overview.damaged)
    lost[:32, :32] = True  # a tile of 128 px at level 0, of the 512 that level 1 lost
    np.testing.assert_array_equal(overview.damaged, lost)
    assert not overview.valid[lost].any()
    assert overview.valid[~lost].all()


@pytest.mark.parametrize("bad", [1, 4])
def test_a_real_slide_of_one_level_keeps_its_masks(
    real_data: Path, tmp_path: Path, bad: int
) -> None:
    path = tmp_path / "a.svs"
    path.write_bytes((real_data / "wsi/CMU-1-Small-Region.svs").read_bytes())
    whole = tile_slide(path, "whole", tmp_path, TileSettings())
    zero(path, 0, [44, 66, 88, 110][:bad])
    struck = tile_slide(path, "struck", tmp_path, TileSettings())
    assert struck.status == "done"
    assert 0 < struck.counts["unreadable"] <= 4 * bad
    assert struck.lost_mm2 <= bad * (240 * 0.499e-3) ** 2 * 1.01
    assert struck.tissue_mm2 > whole.tissue_mm2 - bad * (240 * 0.499e-3) ** 2 * 1.5
    assert struck.counts["pen"] == whole.counts["pen"]


def test_a_real_slide_is_read_around_its_coarse_level(real_data: Path, tmp_path: Path) -> None:
    """Real tissue in a pyramid: where the overview's level is struck, the finer one gives the masks."""
    with open_slide(real_data / "wsi/CMU-1-Small-Region.svs") as slide:
        pixels, mpp = slide.read_region(0, 0, 0, *slide.dimensions).pixels, slide.mpp
    path = tmp_path / "a.tiff"
    write_slide(
        path, pixels, mpp=mpp, flavour="generic", tile_px=128, quality=90, downsamples=(1, 8)
    )
    whole = tile_slide(path, "whole", tmp_path, TileSettings())
    assert whole.decoded_from == ()
    zero(path, 1, [4, 5])  # the second row of three
    struck = tile_slide(path, "struck", tmp_path, TileSettings())
    assert struck.decoded_from == (0,)
    assert struck.lost_mm2 == 0
    assert struck.tissue_mm2 == pytest.approx(whole.tissue_mm2, rel=0.01)
    assert abs(struck.kept - whole.kept) <= 1
