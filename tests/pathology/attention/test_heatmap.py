import gzip
import json

import cv2
import numpy as np
import pytest

from offsite.pathology.attention.geojson import write_geojson
from offsite.pathology.attention.heatmap import (
    TileGrid,
    attention_map,
    attention_overlay,
    colour_top,
    relative_attention,
    write_heatmap,
)

GRID = TileGrid(np.array([[0, 0], [100, 0], [50, 100]]), 100.0, (400, 200))
ATTENTION = np.array([0.2, 0.7, 0.1])


def test_the_map_puts_each_tile_in_its_place_and_averages_overlaps():
    values = attention_map((20, 40), GRID, np.array([1.0, 3.0, 5.0]))
    assert values[5, 5] == 1
    assert values[5, 15] == 3
    assert values[15, 10] == 5
    assert np.isnan(values[5, 30])
    assert np.isnan(values[15, 2])
    over = TileGrid(np.array([[0, 0], [50, 0]]), 100.0, (400, 200))
    assert attention_map((20, 40), over, np.array([1.0, 3.0]))[5, 7] == 2


def test_uniform_attention_is_one_everywhere_and_nothing_is_hot():
    relative = relative_attention(np.full(500, 1 / 500))
    np.testing.assert_allclose(relative, 1)
    assert colour_top(relative) == 3


def test_the_overlay_covers_the_tiles_and_nothing_else():
    overlay = attention_overlay((40, 80), GRID, ATTENTION)
    covered = np.isfinite(attention_map((40, 80), GRID, ATTENTION))
    np.testing.assert_array_equal(overlay[..., 3] > 0, covered)
    darkness = 255 - overlay[..., :3].astype(int).mean(axis=2)
    assert darkness[10, 30] > darkness[10, 10] > darkness[30, 20]


def test_the_picture_opens_and_shows_the_slide_with_a_scale(tmp_path):
    view = np.full((200, 400, 3), 240, np.uint8)
    write_heatmap(tmp_path / "a.png", view, GRID, ATTENTION, title="slide")
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape[0] > 200
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_geojson_holds_a_square_per_tile_with_its_attention(tmp_path):
    further = {'odd "name" 100%': np.array([1.5, -2.0, 0.0])}
    write_geojson(tmp_path / "a.geojson", GRID, ATTENTION, offset=(10, 20), further=further)
    found = json.loads((tmp_path / "a.geojson").read_text())
    assert found["type"] == "FeatureCollection"
    assert len(found["features"]) == 3
    second = found["features"][1]
    ring = second["geometry"]["coordinates"][0]
    assert ring == [[90, -20], [190, -20], [190, 80], [90, 80], [90, -20]]
    assert second["properties"]["objectType"] == "tile"
    measured = second["properties"]["measurements"]
    assert measured == {"attention": pytest.approx(2.1), 'odd "name" 100%': -2}


def test_compressed_geojson_is_the_same_text_and_the_same_bytes_each_time(tmp_path):
    rng = np.random.default_rng(0)
    grid = TileGrid(rng.integers(0, 1e5, (9000, 2)), 256.0, (100_000, 100_000))
    attention = rng.dirichlet(np.ones(9000))
    for name in ("a.geojson", "a.geojson.gz", "b.geojson.gz"):
        write_geojson(tmp_path / name, grid, attention)
    packed = (tmp_path / "a.geojson.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.geojson").read_bytes()
    assert packed == (tmp_path / "b.geojson.gz").read_bytes()
    assert len(json.loads(gzip.decompress(packed))["features"]) == 9000


def test_numbers_that_are_not_finite_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="attention"):
        write_geojson(tmp_path / "a.geojson", GRID, np.array([0.2, np.nan, 0.1]))
    assert list(tmp_path.iterdir()) == []


def test_a_slide_without_tiles_has_an_empty_collection(tmp_path):
    empty = TileGrid(np.empty((0, 2), np.int64), 100.0, (400, 200))
    write_geojson(tmp_path / "a.geojson", empty, np.empty(0))
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []
