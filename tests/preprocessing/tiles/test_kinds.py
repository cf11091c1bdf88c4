"""Each kind of thing that real slides showed and that masks once got wrong."""

import cv2
import numpy as np
import pytest

from offsite.preprocessing.tiles.masks import masks_of
from offsite.preprocessing.tiles.tissue import TissueSettings
from tests.preprocessing.tiles.drawn import QUALITY, judged
from tests.preprocessing.tiles.stained import (
    DAB,
    EOSIN,
    HAEMATOXYLIN,
    SIDE,
    disc,
    layer,
    picture,
    texture,
)

PIECE = disc(150, 150, 90)
INKS = {
    "green": (0.55, 0.22, 0.30),
    "blue": (0.80, 0.45, 0.15),
    "red": (0.05, 0.70, 0.52),
    "black": (0.70, 0.72, 0.68),
}


def recall(found, truth):
    return (found & truth).sum() / truth.sum()


@pytest.mark.parametrize(
    ("stain", "amount"),
    [(EOSIN, 0.08), (HAEMATOXYLIN, 0.08), (DAB, 0.10), (0.5 * (DAB + HAEMATOXYLIN), 0.15)],
    ids=["eosin", "haematoxylin", "brown", "brown and blue"],
)
def test_pale_tissue_is_tissue_beside_dark_tissue_and_glass_is_not(stain, amount):
    dark = disc(60, 60, 40)
    pixels = picture(
        layer(PIECE & ~dark, amount, stain) + layer(dark, 1.2, HAEMATOXYLIN + 0.5 * EOSIN, 3)
    )
    found = judged(pixels)
    assert recall(found.tissue, PIECE | dark) >= 0.95
    far = cv2.dilate((PIECE | dark).astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    assert not found.tissue[far].any()
    assert not found.pen.any()
    assert found.fold[PIECE].mean() <= 0.02


def test_neither_a_dark_area_nor_ink_nor_an_edge_moves_the_threshold():
    pale = layer(PIECE, 0.1, EOSIN)
    alone = judged(picture(pale)).tissue
    crowded = pale + layer(disc(250, 40, 30), 2.0, HAEMATOXYLIN)
    crowded[:, :12] = 1.5
    crowded[270:290, 60:] += np.array(INKS["green"])
    far = cv2.dilate((disc(250, 40, 30)).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    far[:, :20] = far[260:] = False
    assert np.array_equal(judged(picture(crowded)).tissue[far], alone[far])


@pytest.mark.parametrize("width", [2, 8, 25])
def test_edges_of_slide_and_coverslip_and_their_shadows_are_no_tissue(width):
    density = layer(PIECE, 0.4, EOSIN)
    edge = np.zeros((SIDE, SIDE))
    edge[20 : 20 + width] = 0.6
    edge[:, 275:] = np.linspace(0, 1.2, 25)  # a shadow that deepens
    found = judged(picture(density + edge[..., None]))
    assert found.tissue[(edge > 0.05) & ~PIECE].mean() <= 0.02
    assert recall(found.tissue, PIECE) >= 0.95


@pytest.mark.parametrize("colour", sorted(INKS))
def test_ink_over_pale_and_over_dense_tissue_is_ink_as_far_as_it_goes(colour):
    stroke = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(stroke, (20, 60), (280, 230), 1, 24)
    ink = stroke > 0
    density = layer(PIECE, 0.35, EOSIN) + layer(disc(185, 180, 40), 0.25, HAEMATOXYLIN, 4)
    fading = np.linspace(1.0, 0.45 if colour != "black" else 0.8, SIDE)[None, :, None]
    found = judged(picture(density + ink[..., None] * fading * np.array(INKS[colour])))
    assert recall(found.pen, ink) >= 0.9
    near = cv2.dilate(stroke, np.ones((9, 9), np.uint8)) > 0
    assert (found.pen & ~near).sum() <= 0.01 * PIECE.sum()
    assert not (found.tissue & found.pen).any()


def test_a_cellular_tumour_beside_pale_stroma_is_no_fold():
    tumour = disc(190, 150, 60)
    nuclei = texture(9, 1.2, 0.6)[..., None] * layer(tumour, 0.5, HAEMATOXYLIN, 5)
    found = judged(picture(layer(disc(150, 150, 130), 0.25, EOSIN) + nuclei))
    assert found.tissue[tumour].all()
    assert found.fold.mean() <= 0.001


def test_a_fold_is_found_beside_dark_epithelium_and_the_epithelium_is_not():
    tissue = disc(150, 150, 130)
    density = layer(tissue, 0.25, EOSIN) + layer(tissue, 0.05, HAEMATOXYLIN, 2)
    for x, y in ((80, 90), (120, 220), (220, 120)):
        ring = disc(x, y, 16) & ~disc(x, y, 9)
        density += layer(ring, 0.55, HAEMATOXYLIN, 6)
    crease = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(crease, (110, 140), (210, 190), 1, 7)
    fold = crease > 0
    density[fold] *= 2.2
    found = judged(picture(density)).fold
    assert recall(found, fold) >= 0.9
    near = cv2.dilate(crease, np.ones((7, 7), np.uint8)) > 0
    assert (found & ~near).sum() <= 0.002 * tissue.sum()


def test_layers_that_let_no_light_through_are_a_fold_however_wide():
    tissue = disc(150, 150, 130)
    density = layer(tissue, 0.4, HAEMATOXYLIN + EOSIN)
    wide = disc(150, 210, 45)
    density[wide] *= 3
    assert recall(judged(picture(density)).fold, wide & tissue) >= 0.9


def fat_cells():
    """Membranes about cells of 80 um, some of them cut."""
    density = np.zeros((SIDE, SIDE), np.float32)
    generator = np.random.default_rng(2)
    for y in range(-10, SIDE + 10, 18):
        for x in range(-10, SIDE + 10, 20):
            centre = (x + 10 * (y // 18 % 2) + int(generator.integers(-2, 3)), y)
            cv2.ellipse(density, centre, (10, 9), 0, 0, 360, 0.06, 1)
    return density


def test_fat_is_measured_apart_and_kept_or_left_as_the_setting_says():
    solid = disc(60, 150, 50)
    fat = disc(190, 150, 90) & ~solid
    density = layer(solid, 0.4, EOSIN) + (fat * fat_cells())[..., None] * EOSIN / EOSIN.max()
    pixels = picture(density, noise=0.5)
    left = judged(pixels)
    assert recall(left.fat | left.tissue, fat) >= 0.85
    assert recall(left.fat, fat) >= 0.7
    assert not (left.fat & left.tissue).any()
    glass = cv2.dilate((solid | fat).astype(np.uint8), np.ones((61, 61), np.uint8)) == 0
    assert not left.fat[glass].any()
    kept = masks_of(pixels, None, 4.0, TissueSettings(fat=True), QUALITY)
    assert np.array_equal(kept.tissue, left.tissue | left.fat)
    assert np.array_equal(kept.fat, left.fat)


def test_a_picture_of_grey_values_alone_has_no_tissue():
    density = np.repeat(layer(PIECE, 0.5, np.ones(3))[..., :1], 3, axis=-1)
    assert not judged(picture(density, noise=0.3)).tissue.any()
