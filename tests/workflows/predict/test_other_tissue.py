"""What the trunk sees of a slide: other tissue in the same stain is flagged, tissue of its own kind is not.

Slides are put together of drawn tiles, no tile in two of training, validation and test, as
`benchmarks/re_encoded_slides.py` does it with real ones.
"""

import cv2
import numpy as np
import pytest

from offsite.pathology.tile_encoders.trunk import TrunkEncoder
from offsite.preprocessing.synthetic.slides.biology import CLASSES, grow
from offsite.preprocessing.synthetic.slides.rendering import render
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.training.heads.site_sums import SiteSums
from offsite.training.trunk.settings import TrunkReadingSettings
from offsite.workflows.package.schema import DecisionRules
from offsite.workflows.package.trunk_distance import reference_of, referenced

TILE, SIDE = 64, 320  # px
TILES_OF_A_SLIDE = 9
SLIDES = {"train": 150, "val": 150, "test": 60}
LIMIT = DecisionRules(positive=CLASSES[1:]).ood_percentile
Pictures = list[np.ndarray]


def own(part: int, label: str, site: int) -> Pictures:
    """Tiles of drawn tissue of a class at a site."""
    found = []
    for number in range(3):
        biology = grow(
            (part, number, CLASSES.index(label), site), label, width_um=SIDE, height_um=SIDE,
            tissue_share=0.85,
        )  # fmt: skip
        found += squares(render(biology, SITES[site], seed=(part, number, site), mpp=1.0))
    return found


def muscle(site: int) -> Pictures:
    """Parallel fibres with long nuclei, in the site's colours."""
    rng = np.random.default_rng(site)
    field = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), sigmaX=30, sigmaY=1.5)
    pixels = eosin(site) + 1.2 * field[..., None] / field.std() * (6.0, 13.0, 8.0)
    for x, y in rng.integers(0, SIDE, (60, 2)).tolist():
        cv2.ellipse(pixels, (x, y), (9, 2), 0, 0, 360, haematoxylin(site), -1)
    return finished(pixels, rng)


def fat(site: int) -> Pictures:
    """Empty cells within thin walls."""
    rng = np.random.default_rng(9 + site)
    pixels = np.full((SIDE, SIDE, 3), 243.0)
    for x, y in rng.integers(0, SIDE, (140, 2)).tolist():
        cv2.circle(pixels, (x, y), int(rng.integers(14, 22)), eosin(site).tolist(), 2)
    return finished(pixels, rng)


def eosin(site: int) -> np.ndarray:
    return np.array((214.0, 130.0, 170.0)) + 8 * site


def haematoxylin(site: int) -> tuple[float, float, float]:
    return 96.0 + 8 * site, 60.0 + 8 * site, 130.0 + 8 * site


def finished(pixels: np.ndarray, rng: np.random.Generator) -> Pictures:
    soft = cv2.GaussianBlur(pixels, (0, 0), 0.7) + rng.normal(0, 2, pixels.shape)
    return squares(np.clip(soft, 0, 255).astype(np.uint8))


def squares(picture: np.ndarray) -> Pictures:
    """Squares of a picture that are mostly tissue, or walls."""
    cut = [
        picture[y : y + TILE, x : x + TILE]
        for y in range(0, picture.shape[0] - TILE + 1, TILE)
        for x in range(0, picture.shape[1] - TILE + 1, TILE)
    ]
    return [each for each in cut if (each.min(axis=2) < 225).mean() > 0.3]


@pytest.fixture(scope="module")
def features():
    encoder = TrunkEncoder(TrunkReadingSettings(), tile_px=TILE, device="cpu")
    return lambda tiles: encoder.encode(np.stack(tiles)).astype(np.float64)


def slides(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Mean features of slides of some tiles each."""
    chosen = rng.integers(0, len(pool), (count, TILES_OF_A_SLIDE))
    return pool[chosen].mean(axis=1)


def test_other_tissue_is_flagged_and_own_is_not(features) -> None:
    rng = np.random.default_rng(0)
    kinds = [(label, site) for label in range(3) for site in range(2)]
    rows: dict[str, np.ndarray] = {}
    for number, (part, count) in enumerate(SLIDES.items()):
        pools = [features(own(number, CLASSES[label], site)) for label, site in kinds]
        made = [slides(pool, count // len(kinds), rng) for pool in pools]
        rows[part] = np.concatenate(made)
    labels, sites = (
        np.repeat(each, SLIDES["train"] // len(kinds)) for each in zip(*kinds, strict=True)
    )
    sums = SiteSums.of(rows["train"], labels, [SITES[site].name for site in sites], len(CLASSES))
    detector = referenced(sums, reference_of(sums, rows["val"]))

    def flagged(seen: np.ndarray) -> float:
        percentiles = detector.percentile(detector.score(seen, np.empty((0, 0))))
        return float((percentiles >= LIMIT).mean())

    assert flagged(rows["test"]) <= 0.1
    for other in (muscle, fat):
        pool = np.concatenate([features(other(site)) for site in range(2)])
        assert flagged(slides(pool, 20, rng)) >= 0.95, other.__name__
