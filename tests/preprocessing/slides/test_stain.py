import re

import numpy as np
import pytest

from offsite.preprocessing.augment import stain
from offsite.preprocessing.augment.stain import (
    HEDJitter,
    RandomTemplate,
    StainAugmentationSettings,
    fit_statistics,
    stain_augmentation,
)
from offsite.preprocessing.stain import (
    REFERENCE,
    apply_lab_tables,
    fit_macenko,
    fit_reinhard,
    macenko_transform,
    reinhard_tables,
)
from offsite.preprocessing.synthetic.slides.biology import grow
from offsite.preprocessing.synthetic.slides.rendering import render
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.preprocessing.tiles.masks import masks_of
from offsite.preprocessing.tiles.quality import QualitySettings
from offsite.preprocessing.tiles.tissue import TissueSettings, white_point

WHITE = np.array([240.0, 238.0, 242.0])


def stained(haematoxylin, eosin, seed=0, n=20_000):
    """Pixels of a slide whose stains are known exactly."""
    generator = np.random.default_rng(seed)
    vectors = np.array([haematoxylin, eosin])
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pure = generator.random(n) < 0.5
    strong, weak = generator.uniform(0.3, 1.0, n), generator.uniform(0, 0.01, n)
    amounts = np.where(pure[:, None], np.stack([strong, weak], 1), np.stack([weak, strong], 1))
    density = amounts @ vectors
    return np.clip(np.rint(WHITE * 10**-density), 1, 255).astype(np.uint8), vectors


@pytest.mark.parametrize("profile", SITES, ids=lambda profile: profile.name)
def test_macenko_finds_the_stains_that_were_used(profile):
    pixels, vectors = stained(profile.haematoxylin, profile.eosin)
    fit = fit_macenko(pixels, WHITE, density_floor=0.01)
    assert not fit.identity
    for found, true in zip((fit.haematoxylin, fit.eosin), vectors, strict=True):
        assert np.degrees(np.arccos(np.clip(np.dot(found, true), -1, 1))) < 2.5


def test_normalised_twins_come_closer(picture):
    biology = grow(8, "high_grade", width_um=260, height_um=240)
    fits, tissues, images = [], [], []
    for profile in (SITES[1], SITES[2]):
        image = render(biology, profile, seed=1, mpp=0.5)
        tissue = masks_of(image, None, 0.5, TissueSettings(), QualitySettings()).tissue
        fits.append(fit_macenko(image[tissue], white_point(image)))
        tissues.append(tissue)
        images.append(image)
    both = tissues[0] & tissues[1]
    before = np.abs(images[0][both].mean(0) - images[1][both].mean(0)).max()
    moved = [
        macenko_transform(fit, REFERENCE)(image) for fit, image in zip(fits, images, strict=True)
    ]
    after = np.abs(moved[0][both].mean(0) - moved[1][both].mean(0)).max()
    assert after < 0.6 * before
    glass = ~tissues[0]
    assert np.abs(moved[0][glass].mean(0) - REFERENCE.white).max() < 4


def test_a_slide_normalised_to_itself_stays_as_it_is():
    pixels, _ = stained(SITES[0].haematoxylin, SITES[0].eosin)
    fit = fit_macenko(pixels, WHITE, density_floor=0.01)
    image = pixels[:10_000].reshape(100, 100, 3)
    moved = macenko_transform(fit, fit)(image)
    assert np.abs(moved.astype(int) - image).mean() < 2.0


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.empty((0, 3), np.uint8), "no tissue pixels"),
        (np.full((5000, 3), 239, np.uint8), "0 stained pixels"),  # blank glass
        (np.full((5000, 3), 90, np.uint8), "degrees apart|absorbing"),  # one grey
    ],
)
def test_what_cannot_be_fitted_is_left_as_it_is(pixels, reason):
    fit = fit_macenko(pixels, WHITE)
    assert fit.identity
    assert re.search(reason, fit.reason)
    assert macenko_transform(fit, REFERENCE) is None


def test_reinhard_moves_mean_and_deviation():
    generator = np.random.default_rng(0)
    source = generator.normal([180, 120, 170], 15, (4000, 3)).clip(0, 255).astype(np.uint8)
    target = generator.normal([150, 100, 160], 25, (4000, 3)).clip(0, 255).astype(np.uint8)
    tables = reinhard_tables(fit_reinhard(source), fit_reinhard(target))
    moved = fit_reinhard(apply_lab_tables(source.reshape(50, 80, 3), tables).reshape(-1, 3))
    wanted = fit_reinhard(target)
    assert np.abs(np.subtract(moved.mean, wanted.mean)).max() < 2
    assert np.abs(np.subtract(moved.deviation, wanted.deviation)).max() < 2
    blank = fit_reinhard(np.full((4000, 3), 240, np.uint8))
    assert blank.identity
    assert reinhard_tables(blank, wanted) is None


def test_jitter_of_strength_zero_changes_nothing(picture):
    tile = np.ascontiguousarray(picture[300:428, 300:428])
    same = HEDJitter(0.0, p=1.0)(image=tile)["image"]
    assert np.abs(same.astype(int) - tile).max() <= 1


def test_jitter_equals_the_formula_step_by_step(picture):
    tile = np.ascontiguousarray(picture[300:428, 300:428])
    factors, shifts = np.array([1.1, 0.9, 1.05]), np.array([0.01, -0.01, 0.005])
    ours = HEDJitter(0.1).apply(tile, factors, shifts)
    density = -np.log10(np.maximum(tile, 1) / 255)
    amounts = density @ np.linalg.inv(stain._STAINS) * factors + shifts
    expected = np.clip(np.rint(255 * 10 ** -(amounts @ stain._STAINS)), 0, 255)
    assert np.abs(ours - expected).max() <= 1


def test_a_template_moves_the_mean_slide_to_the_template(picture):
    fits = [fit_reinhard(render(grow(n, "normal", width_um=120, height_um=120), site, seed=n, mpp=1.0).reshape(-1, 3)) for n, site in enumerate(SITES)]  # fmt: skip
    statistics = fit_statistics(fits)
    template = RandomTemplate(statistics, spread=0.0)
    tile = np.ascontiguousarray(picture[300:428, 300:428])
    same = template.apply(tile, np.array(statistics.mean_mean), np.array(statistics.deviation_mean))
    assert np.abs(same.astype(int) - tile).mean() < 1.5
    brighter = np.add(statistics.mean_mean, [20, 0, 0])
    moved = template.apply(tile, brighter, np.array(statistics.deviation_mean))
    assert moved.mean() > tile.mean() + 8


def test_the_pipeline_follows_its_seed(picture):
    tile = np.ascontiguousarray(picture[300:364, 300:364])
    fits = [fit_reinhard(picture.reshape(-1, 3)), fit_reinhard(picture[::-1, :400].reshape(-1, 3))]
    statistics = fit_statistics(fits)

    def run(seed: int) -> list[bytes]:
        pipeline = stain_augmentation(StainAugmentationSettings(seed=seed), statistics)
        return [pipeline(image=tile)["image"].tobytes() for _ in range(12)]

    assert run(3) == run(3)
    assert run(3) != run(4)
    assert len(set(run(3))) > 6
