import json

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offsite.errors import InputError
from offsite.preprocessing.tiles.geojson import export_geojson, mask_polygons, tile_features
from offsite.preprocessing.tiles.table import SlideRecord, SlideTiles, TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
def test_polygons_cover_exactly_the_mask(seed, share):
    generator = np.random.default_rng(seed)
    mask = generator.random((14, 17)) < share
    polygons = mask_polygons(mask)
    pieces, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    assert len(polygons) == pieces - 1
    assert sum(area(ring) for rings in polygons for ring in rings) == mask.sum()
    for rings in polygons:
        assert area(rings[0]) > 0
        assert all(area(ring) < 0 for ring in rings[1:])
        for ring in rings:
            assert (ring[0] == ring[-1]).all()
            corners = list(map(tuple, ring[:-1].tolist()))
            assert len(set(corners)) == len(corners) >= 4  # it never comes back to a point
            assert (np.abs(np.diff(ring, axis=0)).min(axis=1) == 0).all()
    drawn = np.zeros((140, 170), np.uint8)
    for rings in polygons:
        points = [(10 * ring).astype(np.int32)[:, None] for ring in rings]
        cv2.fillPoly(drawn, points, 1)
    np.testing.assert_array_equal(drawn[5::10, 5::10].astype(bool), mask)


def test_a_ring_has_its_corners_only():
    mask = np.zeros((6, 8), bool)
    mask[1:5, 2:7] = True
    mask[2:4, 4:6] = False
    (outer, hole), *rest = mask_polygons(mask)
    assert not rest
    assert sorted(map(tuple, outer[:-1].tolist())) == [(2, 1), (2, 5), (7, 1), (7, 5)]
    assert sorted(map(tuple, hole[:-1].tolist())) == [(4, 2), (4, 4), (6, 2), (6, 4)]
    assert mask_polygons(np.zeros((3, 3), bool)) == []


def test_px_that_meet_at_a_corner_around_a_hole_make_two_rings():
    """Walked around at once, the outline would touch itself, which QuPath calls invalid."""
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    ((outer, hole),) = mask_polygons(mask)
    assert (area(outer), area(hole)) == (8, -1)
    assert sorted(map(tuple, hole[:-1].tolist())) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    two_holes = np.ones((4, 4), bool)
    two_holes[1, 1] = two_holes[2, 2] = False
    ((outer, *holes),) = mask_polygons(two_holes)
    assert [area(outer), *map(area, holes)] == [16, -1, -1]


def check_as_qupath_reads(feature: dict) -> None:
    """What QuPath (0.4 and later) asks of a feature; of another kind it would make an annotation."""
    assert set(feature) == {"type", "geometry", "properties"}
    assert feature["type"] == "Feature"
    geometry, properties = feature["geometry"], feature["properties"]
    assert set(geometry) == {"type", "coordinates"}
    assert geometry["type"] == "Polygon"
    for ring in geometry["coordinates"]:
        assert len(ring) >= 5
        assert ring[0] == ring[-1]
        assert all(len(point) == 2 and np.isfinite(point).all() for point in ring)
        assert len({tuple(point) for point in ring}) == len(ring) - 1
    assert set(properties) <= {"objectType", "classification", "measurements"}
    assert properties["objectType"] in ("annotation", "tile")
    assert set(properties["classification"]) == {"name", "color"}
    assert properties["classification"]["name"]
    colour = properties["classification"]["color"]
    assert len(colour) == 3
    assert all(isinstance(part, int) and 0 <= part <= 255 for part in colour)
    for name, value in properties.get("measurements", {}).items():
        assert isinstance(name, str)
        assert isinstance(value, int | float)


def test_a_tiled_slide_is_exported_for_qupath(cohort, tmp_path):
    image = cohort.image_paths()[0]
    tile_slide(image, "a", tmp_path, TileSettings(tile_px=64))
    found = json.loads(export_geojson(tmp_path, "a").read_text())
    assert found["type"] == "FeatureCollection"
    for feature in found["features"]:
        check_as_qupath_reads(feature)
    tiles = load_tiles(tmp_path, "a")
    kinds = pd.Series([feature["properties"]["objectType"] for feature in found["features"]])
    assert (kinds == "tile").sum() == len(tiles.table)
    assert (kinds == "annotation").sum() >= 1
    covered = sum(
        area(np.array(ring))
        for feature in found["features"]
        if feature["properties"]["objectType"] == "annotation"
        for ring in feature["geometry"]["coordinates"]
    )
    mm2 = covered * tiles.record.mpp**2 / 1e6
    assert abs(mm2 - tiles.record.tissue_mm2) < 0.02 * tiles.record.tissue_mm2
    tile = next(f for f in found["features"] if f["properties"]["objectType"] == "tile")
    assert set(tile["properties"]["measurements"]) >= {"tissue", "focus", "pen"}
    assert tile["properties"]["classification"]["name"] in {"kept", "pen", "fold", "blurred"}


def test_a_rerun_leaves_what_is_true_and_what_is_not_offsites(cohort, tmp_path):
    image = cohort.image_paths()[0]
    tile_slide(image, "a", tmp_path, TileSettings(tile_px=64))
    file = export_geojson(tmp_path, "a")
    first, written = file.read_bytes(), file.stat().st_ino
    assert export_geojson(tmp_path, "a").stat().st_ino == written
    tile_slide(image, "a", tmp_path, TileSettings(tile_px=96))
    assert export_geojson(tmp_path, "a").read_bytes() != first
    for foreign in (b"", b'{"type":"FeatureCollection","features":[]}'):
        file.write_bytes(foreign)
        with pytest.raises(InputError) as refused:
            export_geojson(tmp_path, "a")
        assert refused.value.code == "not_ours"
        assert file.read_bytes() == foreign


def test_coordinates_count_from_the_scanned_area():
    record = SlideRecord(slide="a", image="a.mrxs", status="done", size=100, bounds_offset=(1000, 300))  # fmt: skip
    table = pd.DataFrame({"x": [1200], "y": [500], "tissue": [0.7], "status": ["kept"]})
    (feature,) = tile_features(SlideTiles(table, record))
    assert feature["geometry"]["coordinates"][0][0] == [200, 200]
    assert feature["geometry"]["coordinates"][0][2] == [300, 300]
