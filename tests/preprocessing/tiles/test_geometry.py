import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offsite.preprocessing.slides.geometry import choose_level, lay_tiles
from offsite.preprocessing.tiles.selection import cell_means


def test_the_coarsest_level_that_is_fine_enough_is_read():
    assert choose_level(0.25, (1, 4, 16), 0.5) == 0
    assert choose_level(0.25, (1, 4, 16), 1.0) == 1
    assert choose_level(0.2527, (1, 4, 16), 1.0) == 1  # 1.0108: within 2 %
    assert choose_level(0.2577, (1, 4, 16), 1.0) == 0
    assert choose_level(0.5, (1, 4), 0.25) == 0


@settings(max_examples=60, deadline=None)
@given(
    mpp=st.floats(0.2, 0.55),
    wanted=st.sampled_from([0.5, 1.0, 2.0]),
    tile_px=st.sampled_from([64, 128, 224, 256]),
    width=st.integers(500, 9000),
    height=st.integers(500, 9000),
)
def test_tiles_of_any_scanner_have_the_same_physical_size(mpp, wanted, tile_px, width, height):
    geometry = lay_tiles((width, height), (1.0, 4.0, 16.0), mpp, tile_px=tile_px, wanted_mpp=wanted)
    um = geometry.size * mpp
    unit = round(geometry.downsample) * mpp
    assert abs(um - tile_px * wanted) <= unit / 2 + 1e-9
    assert geometry.actual_mpp == pytest.approx(um / tile_px)
    assert geometry.read_px * geometry.downsample == geometry.size  # whole px at the level read
    x, y = geometry.origins()
    assert len(x) == width // geometry.size
    assert len(y) == height // geometry.size
    assert all(value % geometry.downsample == 0 for value in (*x, *y))


def test_tiles_cover_each_pixel_exactly_once():
    geometry = lay_tiles((1000, 700), (1.0, 4.0), 0.2277, tile_px=64, wanted_mpp=0.5)
    covered = np.zeros((700, 1000), int)
    x, y = geometry.origins()
    for top in y:
        for left in x:
            covered[top : top + geometry.size, left : left + geometry.size] += 1
    inside = covered[: len(y) * geometry.size, : len(x) * geometry.size]
    assert (inside == 1).all()
    assert covered.sum() == inside.sum()
    assert 1000 - len(x) * geometry.size < geometry.size


def test_a_stride_below_the_side_overlaps_by_the_rest():
    geometry = lay_tiles((1024, 512), (1.0,), 0.5, tile_px=256, wanted_mpp=0.5, stride_px=128)
    assert (geometry.columns, geometry.rows, geometry.stride) == (7, 3, 128)


def test_a_slide_smaller_than_a_tile_has_none():
    geometry = lay_tiles((100, 5000), (1.0,), 0.5, tile_px=224, wanted_mpp=0.5)
    assert geometry.columns == 0


@settings(max_examples=30, deadline=None)
@given(step=st.floats(3.0, 19.0), tile_px=st.sampled_from([32, 50, 77]), seed=st.integers(0, 99))
def test_the_mean_over_a_tile_counts_fractions_of_map_pixels(step, tile_px, seed):
    generator = np.random.default_rng(seed)
    mask = generator.random((30, 40)) > 0.5
    geometry = lay_tiles(
        (int(40 * step), int(30 * step)), (1.0,), 0.5, tile_px=tile_px, wanted_mpp=0.5
    )
    means = cell_means(mask, step, geometry)
    x, y = geometry.origins()
    row, column = int(generator.integers(len(y))), int(generator.integers(len(x)))

    def weights(start: int, count: int) -> np.ndarray:
        edges = np.arange(count + 1) * step
        overlap = np.minimum(edges[1:], start + geometry.size) - np.maximum(edges[:-1], start)
        return np.maximum(overlap, 0) / geometry.size

    by_hand = weights(y[row], 30) @ mask @ weights(x[column], 40)
    assert means[row, column] == pytest.approx(by_hand, abs=1e-9)
