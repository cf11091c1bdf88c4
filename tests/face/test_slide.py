"""Tiles in a loop of one's own are those of the command."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import offsite
from offsite.preprocessing.tiles.reading import read_tiles
from offsite.preprocessing.tiles.table import TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide


@pytest.fixture(scope="module")
def image(slide_run: Any) -> Path:
    return slide_run.cohort.parent / pd.read_csv(slide_run.cohort)["image"][0]


def test_the_tiles_are_those_that_the_command_keeps(image: Path, tmp_path: Path) -> None:
    settings = TileSettings(tile_px=96, mpp=0.6, min_tissue=0.4, pictures=False)
    tile_slide(image, "slide", tmp_path, settings)
    batch = next(read_tiles(image, load_tiles(tmp_path, "slide"), batch_size=1000))
    with offsite.open_slide(image) as slide:
        found = list(slide.tiles(mpp=0.6, px=96, tissue=0.4))
    assert len(found) == len(batch.pixels) > 3
    assert [(tile.x, tile.y) for tile in found] == list(map(tuple, batch.coords.tolist()))
    np.testing.assert_array_equal(np.stack([tile.pixels for tile in found]), batch.pixels)


def test_tiles_can_be_taken_apart_and_taken_one_by_one(image: Path) -> None:
    with offsite.open_slide(image) as slide:
        x, y, pixels = next(slide.tiles(px=64))
        assert pixels.shape == (64, 64, 3)
        assert 0 <= x < slide.dimensions[0]
        assert 0 <= y < slide.dimensions[1]
        assert max(slide.thumbnail(200).shape[:2]) in range(150, 251)


def test_the_scale_of_the_file_can_be_overridden(image: Path) -> None:
    with offsite.open_slide(image, mpp=0.25) as slide:
        assert slide.mpp == 0.25


@pytest.mark.parametrize("given", [{"px": 3}, {"mpp": 0.0}, {"tissue": 1.5}])
def test_numbers_out_of_range_are_refused(image: Path, given: dict[str, Any]) -> None:
    with offsite.open_slide(image) as slide, pytest.raises(offsite.InputError) as caught:
        next(slide.tiles(**given))
    assert caught.value.remedy


def test_a_file_that_is_no_slide_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.svs").write_text("no slide")
    for name, code in (("letter.svs", "unsupported_format"), ("absent.svs", "no_such_file")):
        with pytest.raises(offsite.InputError) as caught:
            offsite.open_slide(tmp_path / name)
        assert caught.value.code == code
