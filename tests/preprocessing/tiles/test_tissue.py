from dataclasses import replace

import cv2
import numpy as np
import pytest

from offsite.preprocessing.slides.density import densities_at, density_planes
from offsite.preprocessing.slides.scaling import area_reduced
from offsite.preprocessing.synthetic.slides.biology import RASTER_UM, grow
from offsite.preprocessing.synthetic.slides.rendering import (
    PEN_COLOURS,
    Artefacts,
    render,
    truth_masks,
)
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.preprocessing.tiles.pieces import without_small
from offsite.preprocessing.tiles.quality import tile_quality
from offsite.preprocessing.tiles.tissue import white_point
from tests.preprocessing.tiles.drawn import QUALITY, artefacts_of, coarse, judged, overview_of


@pytest.fixture(scope="module")
def biology():
    return grow(21, "low_grade", width_um=800, height_um=720)


@pytest.mark.parametrize("profile", SITES, ids=lambda profile: profile.name)
def test_tissue_agrees_with_the_truth_at_every_site(biology, profile):
    artefacts = artefacts_of(biology, profile)
    pixels = overview_of(biology, profile, artefacts)
    found = judged(pixels).tissue
    truth = truth_masks(biology, artefacts)
    tissue, ink = coarse(truth["tissue"]), coarse(truth["pen"])
    near_ink = cv2.dilate(ink.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    found, tissue = found[~near_ink], tissue[~near_ink]
    assert (found & tissue).sum() / (found | tissue).sum() >= 0.94


@pytest.mark.parametrize("profile", SITES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("colour", sorted(PEN_COLOURS))
def test_ink_is_found_on_glass_and_on_tissue(biology, profile, colour):
    artefacts = artefacts_of(biology, profile, colour)
    pixels = overview_of(biology, profile, artefacts)
    found = judged(pixels).pen
    truth = coarse(truth_masks(biology, artefacts)["pen"])
    assert (found & truth).sum() / truth.sum() >= 0.9
    near = cv2.dilate(truth.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert (found & ~near).mean() < 0.01


@pytest.mark.parametrize("profile", SITES, ids=lambda profile: profile.name)
def test_clean_tissue_has_neither_ink_nor_folds(biology, profile):
    found = judged(overview_of(biology, profile))
    assert not found.pen.any()
    assert found.fold.sum() < 0.02 * found.tissue.sum()


@pytest.mark.parametrize("profile", SITES, ids=lambda profile: profile.name)
def test_folds_are_found(biology, profile):
    artefacts = replace(artefacts_of(biology, profile), pen=(), blur=())
    pixels = overview_of(biology, profile, artefacts)
    found = judged(pixels).fold
    truth = coarse(truth_masks(biology, artefacts)["fold"])
    assert (found & truth).sum() / truth.sum() >= 0.9
    assert (found & truth).sum() / found.sum() >= 0.65


def test_focus_falls_with_blur(biology):
    image = render(biology, SITES[0], seed=1, mpp=0.5)
    rows, columns = np.nonzero(biology.lesion > 0.3)
    y, x = (int(np.median(values) * RASTER_UM / 0.5) for values in (rows, columns))
    tile = image[y - 128 : y + 128, x - 128 : x + 128]
    white = white_point(image)
    focus = []
    for sigma_um in (0.01, 1.0, 2.0, 4.0):
        blurred = cv2.GaussianBlur(tile, (0, 0), sigma_um / 0.5)
        small = area_reduced(blurred, (64, 64))
        focus.append(float(tile_quality(small[None], white, QUALITY).focus[0]))
    assert focus == sorted(focus, reverse=True)
    assert focus[0] > 2 * QUALITY.min_focus
    assert focus[-1] < QUALITY.min_focus


def test_empty_glass_is_no_tissue_whatever_its_noise():
    generator = np.random.default_rng(0)
    for level in (200, 225, 250):
        glass = generator.normal(level, 3, (150, 200, 3)).clip(0, 255).astype(np.uint8)
        assert not judged(glass).tissue.any()


def test_missing_data_is_never_tissue(biology):
    pixels = overview_of(biology, SITES[1]).copy()
    valid = np.ones(pixels.shape[:2], bool)
    valid[:, :60] = False
    pixels[~valid] = 0  # as a reader would that forgets the alpha
    found = judged(pixels, valid).tissue
    assert not found[~valid].any()
    whole = judged(overview_of(biology, SITES[1])).tissue
    assert (found[:, 70:] == whole[:, 70:]).mean() > 0.99


def test_density_is_the_decimal_logarithm_of_what_passes():
    pixels = np.array([[[239, 24, 1], [255, 255, 255]]], np.uint8)
    density = density_planes(pixels, np.array([239.0, 239.0, 239.0]))
    found = np.array(density)[:, 0]
    np.testing.assert_allclose(found[:, 0], [0, np.log10(239 / 24), np.log10(239)], atol=1e-6)
    assert (found[:, 1] < 0).all()  # brighter than glass
    assert not np.any(densities_at(density, np.array([1])))


def test_small_pieces_go_by_their_area():
    mask = np.zeros((20, 20), bool)
    mask[1:4, 1:4] = True
    mask[10:15, 10:15] = True
    kept = without_small(mask, 10)
    assert kept.sum() == 25
    assert without_small(mask, 9).sum() == 34


# Where ink was seen by eye on the real pictures: x, y of points, as shares of width and height.
REAL_INK = {
    "diagnostic-slide-thumb-rgb.png": (
        40.0,
        [(0.323, 0.089), (0.721, 0.081), (0.068, 0.675), (0.551, 0.9), (0.885, 0.784),
         (0.22, 0.22), (0.481, 0.631), (0.857, 0.637), (0.383, 0.772), (0.446, 0.496),
         (0.085, 0.18), (0.893, 0.258), (0.981, 0.595), (0.384, 0.169), (0.821, 0.175)],
    ),
    "tcga-green-pen.png": (4.0, [(0.5, 0.1), (0.4, 0.4), (0.35, 0.5), (0.28, 0.8), (0.3, 0.95)]),
    "tcga-red-pen.png": (4.0, [(0.25, 0.4), (0.1, 0.6), (0.2, 0.75), (0.3, 0.9), (0.3, 0.3)]),
    "wsi-blue-pen.png": (100.0, [(0.88, 0.49), (0.94, 0.52), (0.98, 0.53), (0.98, 0.01), (0.896, 0.766), (0.879, 0.9)]),
}  # fmt: skip


def test_real_ink_is_found(real_data):
    hits = []
    for name, (mpp, points) in REAL_INK.items():
        pixels = cv2.imread(str(real_data / "histology_tiles/histolab_thumbnails" / name))[
            ..., ::-1
        ]
        found = judged(pixels, mpp=mpp).pen
        height, width = found.shape
        hits += [bool(found[int(y * height), int(x * width)]) for x, y in points]
        assert found.mean() > 0.02
    assert np.mean(hits) >= 0.9


CLEAN = [
    "histolab/high-nuclei-score-level2.png", "histolab/low-nuclei-score-level1.png",
    "histolab/medium-nuclei-score-level1.png", "histolab/medium-nuclei-score-level1-2.png",
    "histolab/medium-nuclei-score-level2.png", "histolab/no-tissue.png",
    "histolab/no-tissue2.png", "histolab/liver-level2-10907-7808-11707-8608.png",
    "histolab/liver-level2-57138-8209-57938-9009.png",
    "histolab/kidney-ihc-level0-310-500-360-530.png", "histolab/almost-white-1.png",
    "histolab/tissue-level0-7352-11762-7864-12274.png", "torchstain/source.png",
    "torchstain/target.png", "histolab_thumbnails/tcga-lung-rgb.png",
]  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_real_clean_pictures_show_no_ink(real_data, name):
    pixels = cv2.imread(str(real_data / "histology_tiles" / name))[..., ::-1]
    mpp = 0.5 if "level0" in name or "lung" in name else 4.0
    found = judged(pixels, mpp=mpp).pen
    assert not found.any()


def test_real_empty_glass_has_no_tissue(real_data):
    folder = real_data / "histology_tiles/histolab"
    for name in ("no-tissue.png", "almost-white-1.png", "liver-level2-38626-13514-39426-14315.png"):
        pixels = np.ascontiguousarray(cv2.imread(str(folder / name))[..., ::-1])
        assert judged(pixels).tissue.mean() < 0.002


def test_artefacts_default_to_none(biology):
    clean = truth_masks(biology, Artefacts())
    assert not any(clean[name].any() for name in ("pen", "fold", "blur"))
