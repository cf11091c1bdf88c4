import numpy as np
import pytest

from offsite.preprocessing.fundus.field_of_view import find_field
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.shrinking import halved, halvings
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CameraProfile

PLAIN = CameraProfile(noise=0.0, vignette=0.0)


def test_halving_is_the_mean_over_blocks_and_leaves_out_what_fills_none():
    pixels = np.random.default_rng(0).integers(0, 256, (67, 90, 3), dtype=np.uint8)
    found = halved(pixels, 2)
    blocks = pixels[:64, :88].reshape(16, 4, 22, 4, 3).mean(axis=(1, 3))
    assert found.shape == (16, 22, 3)
    assert np.abs(found - blocks).max() <= 1
    assert (halved(pixels, 0) == pixels).all()


@pytest.mark.parametrize(
    ("side", "least", "times"), [(2048, 320, 2), (639, 320, 0), (640, 320, 1), (9, 16, 0)]
)
def test_a_side_stays_at_least_as_long_as_asked(side, least, times):
    assert halvings(side, least) == times


def test_a_large_photograph_is_prepared_as_its_half():
    """The same eye at 1,400 px and, by area means, at 700 px: halving stops at 256 px for both."""
    large = make_photograph(4, 2, PLAIN, px=1400)
    large = large[: len(large) // 2 * 2, : large.shape[1] // 2 * 2]
    small = halved(large, 1)
    fields = find_field(large), find_field(small)
    assert fields[0].centre_x == pytest.approx(2 * fields[1].centre_x, abs=3)
    assert fields[0].radius_x == pytest.approx(2 * fields[1].radius_x, rel=0.005)
    prepared = [
        prepare_photograph(p, FundusSettings(px=128)).pixels.astype(int) for p in (large, small)
    ]
    assert np.abs(prepared[0] - prepared[1]).mean() < 1.5


def test_a_strip_is_no_retina_and_no_crash():
    assert find_field(np.full((16, 40_000, 3), 90, np.uint8)) is None
