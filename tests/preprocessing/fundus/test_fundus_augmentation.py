import numpy as np
import pytest

from offsite.preprocessing.augment.fundus import fundus_artefacts, fundus_augmentation
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CameraProfile

KINDS = ("geometry", "standard", "artefacts")


@pytest.fixture(params=["none", "graham"])
def picture(request):
    settings = FundusSettings(px=64, enhancement=request.param)
    prepared = prepare_photograph(make_photograph(1, 3, CameraProfile(), px=128), settings)
    return prepared.pixels, settings.fill


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_pure_function_of_the_seed_whatever_came_before(picture, kind):
    pixels, fill = picture
    augment = fundus_augmentation(kind, fill=fill)
    first = augment(pixels, 2**40 + 7)
    augment(pixels, 8)
    assert np.array_equal(first, augment(pixels, 2**40 + 7))
    assert np.array_equal(first, fundus_augmentation(kind, fill=fill)(pixels, 2**40 + 7))
    assert not np.array_equal(first, augment(pixels, 2**40 + 8))


@pytest.mark.parametrize("kind", KINDS)
def test_the_surround_stays_at_its_fill_and_the_picture_given_stays_as_it_was(picture, kind):
    pixels, fill = picture
    before = pixels.copy()
    augment = fundus_augmentation(kind, fill=fill)
    for seed in range(6):
        assert (augment(pixels, seed)[:4, :4] == fill).all()
    assert np.array_equal(pixels, before)


def test_geometry_keeps_colours_and_the_disc_round():
    disc = np.zeros((96, 96, 3), np.uint8)
    y, x = np.mgrid[:96, :96]
    disc[np.hypot(x - 47.5, y - 47.5) < 30] = (200, 100, 50)
    augment = fundus_augmentation("geometry")
    for seed in range(8):
        found = augment(disc, seed)
        rows, columns = np.nonzero(found[..., 0] > 100)
        assert abs(np.ptp(rows) - np.ptp(columns)) <= 2
        middle = int(np.median(rows)), int(np.median(columns))
        assert found[middle].tolist() == [200, 100, 50]


def test_each_picture_of_a_batch_gets_its_own_artefacts():
    grey = np.full((64, 64, 3), 120, np.uint8)
    changed = [fundus_artefacts(grey, np.random.default_rng(seed)) for seed in range(20)]
    assert len({picture.tobytes() for picture in changed}) > 15


def test_without_augmentation_the_picture_is_itself(picture):
    assert fundus_augmentation("none")(picture[0], 3) is picture[0]
