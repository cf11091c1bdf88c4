"""Tiles decoded at a part of their size: the same places, hardly other pixels, the same damage."""

import cv2
import numpy as np
import pandas as pd
import pytest

from offsite.preprocessing.slides.geometry import lay_tiles
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.slides.region import UnreadableRegion
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.preprocessing.tiles.reading import read_tile, read_tiles
from offsite.preprocessing.tiles.table import TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide


@pytest.fixture(scope="module")
def written(picture, tmp_path_factory):
    path = tmp_path_factory.mktemp("reduced") / "s.svs"
    write_slide(path, picture, mpp=0.25, quality=90)
    return path


def averaged(pixels, reduction):
    size = (pixels.shape[1] // reduction, pixels.shape[0] // reduction)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(int)


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_rectangle_is_nearly_the_average_over_areas(written, picture, reduction):
    with open_slide(written, reader="direct") as slide:
        assert slide.reduces(0, reduction)
        for x, y, width, height in ((0, 0, 256, 256), (72, 40, 400, 256), (256, 256, 256, 256)):
            full = slide.read_region(x, y, 0, width, height).pixels
            small = slide.read_reduced(x, y, 0, width, height, reduction).pixels
            expected = averaged(full, reduction)
            assert small.shape == expected.shape
            assert np.abs(small - expected).mean() < 1.5
            moved = averaged(np.roll(full, reduction, axis=1), reduction)
            assert np.abs(small - expected).mean() < 0.5 * np.abs(small - moved).mean()


def test_native_tiles_are_stitched_as_they_lie(written):
    with open_slide(written, reader="direct") as slide:
        across, down = (side // 16 * 16 for side in slide.dimensions)
        whole = slide.read_reduced(0, 0, 0, across, down, 2).pixels
        part = slide.read_reduced(198, 250, 0, 256, 128, 2).pixels
        np.testing.assert_array_equal(part, whole[125:189, 99:227])


def test_a_reader_that_cannot_is_not_asked(written):
    with open_slide(written, reader="openslide") as slide:
        assert not slide.reduces(0, 2)
    with open_slide(written, reader="direct") as slide:
        assert not slide.reduces(0, 3)


@pytest.mark.parametrize(
    ("mpp", "tile_px", "stride", "expected"),
    [(0.25, 224, None, 2), (0.125, 224, None, 4), (0.3, 224, None, 1), (0.25, 224, 101, 2),
     (0.2528, 224, None, 2), (0.262, 224, None, 1), (0.2, 99, 51, 2)],
)  # fmt: skip
def test_how_far_a_tile_is_reduced_follows_from_its_geometry(mpp, tile_px, stride, expected):
    def lay(reducible):
        return lay_tiles(
            (9000, 9000), (1,), mpp, tile_px=tile_px, wanted_mpp=0.5, stride_px=stride,
            reducible=reducible,
        )  # fmt: skip

    grid, plain = lay(True), lay(False)
    assert grid.reduction_to(tile_px) == expected
    assert grid.read_px % expected == 0 == grid.stride % expected
    assert abs(grid.size - plain.size) <= expected / 2
    assert grid.actual_mpp == pytest.approx(0.5, rel=0.01)


def test_tiles_are_the_same_places_and_the_digest_says_how_they_are_decoded(written, tmp_path):
    found = {}
    for decoding in ("scaled", "full", "judging"):
        out = tmp_path / decoding
        settings = TileSettings(tile_px=64, decoding=decoding)
        record = tile_slide(written, "s", out, settings)
        assert record.status == "done"
        tiles = load_tiles(out, "s")
        batches = list(read_tiles(written, tiles, batch_size=64))
        found[decoding] = tiles, np.concatenate([batch.pixels for batch in batches])
    scaled, full = (found[name][0] for name in ("scaled", "full"))
    assert (scaled.record.reduction, full.record.reduction) == (2, 1)
    assert scaled.record.tiles_digest != full.record.tiles_digest
    places = ["x", "y", "status"]
    pd.testing.assert_frame_equal(scaled.table[places], full.table[places])
    for name in ("dark", "pale", "coverage"):
        np.testing.assert_allclose(scaled.table[name], full.table[name], atol=0.02)
    np.testing.assert_allclose(scaled.table["focus"], full.table["focus"], rtol=0.1, atol=0.003)
    apart = np.abs(found["scaled"][1].astype(int) - found["full"][1])
    assert 0 < apart.mean() < 1
    judging, pixels = found["judging"]  # the default: judged as scaled, encoded as full
    assert judging.record.settings_digest == TileSettings(tile_px=64).digest()
    pd.testing.assert_frame_equal(judging.table, scaled.table)
    assert judging.record.tiles_digest == full.record.tiles_digest
    np.testing.assert_array_equal(pixels, found["full"][1])


def test_where_nothing_can_be_reduced_the_tile_is_read_whole(written, tmp_path):
    tile_slide(written, "s", tmp_path, TileSettings(tile_px=64, decoding="scaled"))
    record = load_tiles(tmp_path, "s").record
    with open_slide(written, reader="openslide") as slide:
        whole = read_tile(slide, record.model_copy(update={"reduction": 1}), 0, 0)
        np.testing.assert_array_equal(read_tile(slide, record, 0, 0), whole)


def test_damage_is_damage_at_any_size(written, tmp_path):
    from tests.preprocessing.synthetic.faulty_slides import _zeroed, strike_tiles

    path = tmp_path / "s.svs"
    path.write_bytes(written.read_bytes())
    struck = int(strike_tiles(path, _zeroed, share=0.01, seed=3)[0])
    with open_slide(path, reader="direct") as slide:
        across = -(-slide.dimensions[0] // 256)
        x, y = struck % across * 256, struck // across * 256
        for reduction in (2, 8):
            with pytest.raises(UnreadableRegion):
                slide.read_reduced(x, y, 0, 64, 64, reduction)
