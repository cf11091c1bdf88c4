"""Real pictures with truth masks: what has to be found of each, and what may be lost."""

import cv2
import numpy as np
import pytest

from tests.preprocessing.tiles.drawn import judged

GLASS, TISSUE, PEN, FOLD, EDGE, UNJUDGED = 0, 1, 2, 3, 4, 255
MPP = {
    "fold_lung": 35, "fold_bowel": 21, "fold_muscle": 21, "fold_prostate": 2.38,
    "pale_fat_breast": 4.04, "pale_cores_edge": 18, "pen_green_blue_breast": 4.04,
    "pen_red": 20, "pen_black": 14, "ihc_lung_lesion": 3.5, "ihc_kidney": 10,
    "dense_node_edge": 20,
}  # fmt: skip
LARGEST = 1_600_000


def real_picture(folder, name):
    """Pixels, truth, fat (or None) and um per px; 4 or coarser, halved where it is large."""
    file = next(path for path in (folder / f"{name}.png", folder / f"{name}.jpg") if path.exists())
    pixels = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    truth = cv2.imread(str(folder / f"{name}_mask.png"), cv2.IMREAD_GRAYSCALE)
    fat = cv2.imread(str(folder / f"{name}_fat.png"), cv2.IMREAD_GRAYSCALE)
    scale = min(MPP[name] / 4, 0.5 if truth.size > LARGEST else 1, 1)
    size = (round(truth.shape[1] * scale), round(truth.shape[0] * scale))
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    truth, fat = (
        None if mask is None else cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        for mask in (truth, fat)
    )
    return pixels, truth, None if fat is None else fat > 0, MPP[name] / scale


@pytest.mark.parametrize("name", sorted(MPP))
def test_masks_of_real_pictures_hold_to_their_bounds(real_data, name):
    pixels, truth, fat, mpp = real_picture(real_data / "real_tissue", name)
    found = judged(pixels, mpp=mpp)
    tissue = (truth == TISSUE) | (truth == FOLD)
    solid = tissue if fat is None else tissue & ~fat
    if solid.any():
        assert found.tissue[solid].mean() >= 0.9
        assert tissue[found.tissue & (truth != UNJUDGED)].mean() >= 0.9
        assert found.fold[solid & (truth == TISSUE)].mean() <= 0.02
        assert found.pen[solid].mean() <= 0.01
    assert found.tissue[truth == GLASS].mean() <= 0.01
    if (truth == PEN).any():
        assert found.pen[truth == PEN].mean() >= 0.9
    if (truth == EDGE).any():
        assert found.tissue[truth == EDGE].mean() <= 0.1
    if (truth == FOLD).any():
        assert found.fold[truth == FOLD].mean() >= 0.7


def test_real_tiles_are_no_folds(real_data):
    """A fiftieth of the colon tiles, at 8 um a px as if they were of 4: the densest of them too."""
    files = sorted((real_data / "colon_tiles").glob("*/*/*.jpg"))[::50]
    shares = []
    for file in files:
        pixels = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        small = cv2.resize(pixels, (112, 112), interpolation=cv2.INTER_AREA)
        shares.append(judged(small).fold.mean())
    assert np.max(shares) <= 0.05
