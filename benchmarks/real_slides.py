"""What the masks find on real pictures with truth masks, and what they make of tissue tiles.

    python benchmarks/real_slides.py --data FOLDER [--pictures OUT] [--drawing FILE.png]
        [--only NAME ...] [--tiles N]

FOLDER holds ``real_tissue`` (pictures, ``NAME_mask.png`` coded 0 glass, 1 tissue, 2 pen, 3 fold,
4 other artefact, 255 not judged; ``NAME_fat.png``) and, for ``--tiles``, ``colon_tiles`` and
``histology_tiles``. Pictures finer than 4 um per px are area-averaged to 4, as a slide's overview
is. ``--changed`` asks how far the masks stay the same on the same picture at half and double its
scale as stated, compressed again as JPEG, and with another gamma. ``--drawing`` draws the masks that
were found, without any px of a picture. Prints Markdown.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from offsite.preprocessing.tiles.masks import Masks, masks_of
from offsite.preprocessing.tiles.pictures import MASK_COLOURS, palette_png
from offsite.preprocessing.tiles.quality import QualitySettings
from offsite.preprocessing.tiles.tissue import TissueSettings

GLASS, TISSUE, PEN, FOLD, ARTEFACT, UNJUDGED = 0, 1, 2, 3, 4, 255
MPP = {
    "fold_lung": 35.0, "fold_bowel": 21.0, "fold_muscle": 21.0, "fold_prostate": 2.38,
    "pale_fat_breast": 4.04, "pale_cores_edge": 18.0, "pen_green_blue_breast": 4.04,
    "pen_red": 20.0, "pen_black": 14.0, "ihc_lung_lesion": 3.5, "ihc_kidney": 10.0,
    "dense_node_edge": 20.0, "dense_pen_breast_whole": 12.12,
}  # fmt: skip
_DRAWN_PX, _DRAWN_A_ROW = 170, 5
HEAD = (
    "| picture | tissue, fat left out | fat | precision | ink | tissue called ink | tissue called fold |"
    " folds | edges called tissue | glass called tissue | s |"
)


class Picture(NamedTuple):
    """A picture, its truth (H x W, codes), where it is fat (or None), and um per px."""

    pixels: np.ndarray
    truth: np.ndarray
    fat: np.ndarray | None
    mpp: float


def read(folder: Path, name: str) -> Picture:
    """A picture at 4 um per px, or as it is where it is coarser."""
    file = next(path for path in (folder / f"{name}.png", folder / f"{name}.jpg") if path.exists())
    pixels = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    truth = cv2.imread(str(folder / f"{name}_mask.png"), cv2.IMREAD_GRAYSCALE)
    fat = cv2.imread(str(folder / f"{name}_fat.png"), cv2.IMREAD_GRAYSCALE)
    scale = min(MPP[name] / 4, 1)
    size = (round(truth.shape[1] * scale), round(truth.shape[0] * scale))
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    truth = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
    if fat is not None:
        fat = cv2.resize(fat, size, interpolation=cv2.INTER_NEAREST) > 0
    return Picture(pixels, truth, fat, MPP[name] / scale)


def judge(picture: Picture) -> Masks:
    """The masks by the default settings."""
    return masks_of(picture.pixels, None, picture.mpp, TissueSettings(), QualitySettings())


def share(mask: np.ndarray, where: np.ndarray) -> str:
    """How much of a place a mask covers; blank where there is no such place."""
    return f"{mask[where].mean():.3f}" if where.any() else ""


def row(name: str, picture: Picture, found: Masks, seconds: float) -> str:
    """A line of the table."""
    truth = picture.truth
    tissue = (truth == TISSUE) | (truth == FOLD)
    fat = np.zeros_like(tissue) if picture.fat is None else picture.fat & (truth == TISSUE)
    solid = tissue & ~fat
    called = found.tissue & (truth != UNJUDGED)
    cells = [
        name,
        share(found.tissue, solid),
        share(found.fat, fat),
        share(tissue, called) if solid.any() else "",
        share(found.pen, truth == PEN),
        share(found.pen, solid),
        share(found.fold, solid & (truth == TISSUE)),
        share(found.fold, truth == FOLD),
        share(found.tissue, truth == ARTEFACT),
        share(found.tissue, truth == GLASS),
        f"{seconds:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def painted(pixels: np.ndarray, found: Masks) -> np.ndarray:
    """The picture beside its masks."""
    colours = np.full_like(pixels, MASK_COLOURS["glass"])
    for name in ("fat", "tissue", "fold", "pen"):
        colours[getattr(found, name)] = MASK_COLOURS[name]
    axis = 1 if pixels.shape[0] >= pixels.shape[1] else 0
    return np.concatenate([pixels, colours], axis=axis)


def drawn(number: int, found: Masks) -> np.ndarray:
    """The masks of a picture as numbers of ``MASK_COLOURS``, with its own number above."""
    names = list(MASK_COLOURS)
    height, width = found.tissue.shape
    shown = np.zeros((height, width), np.uint8)
    for name in ("fat", "tissue", "fold", "pen"):
        shown[getattr(found, name)] = names.index(name)
    scale = _DRAWN_PX / max(height, width)
    size = (round(width * scale), round(height * scale))
    sheet = np.zeros((_DRAWN_PX + 26, _DRAWN_PX + 10), np.uint8)
    sheet[20 : 20 + size[1], 4 : 4 + size[0]] = cv2.resize(
        shown, size, interpolation=cv2.INTER_NEAREST
    )
    cv2.rectangle(sheet, (3, 19), (4 + size[0], 20 + size[1]), names.index("no_data"))
    cv2.putText(sheet, f"{number}", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, names.index("pen"))
    return sheet


def changes(picture: Picture) -> dict[str, Picture]:
    """The picture as others would have it."""
    coded = cv2.imencode(".jpg", picture.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    again = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
    gamma = {
        value: np.rint(255 * (np.arange(256) / 255) ** value).astype(np.uint8)
        for value in (0.85, 1.15)
    }
    return {
        "scale stated x0.5": picture._replace(mpp=picture.mpp / 2),
        "scale stated x2": picture._replace(mpp=picture.mpp * 2),
        "JPEG, quality 70": picture._replace(pixels=again),
        "gamma 0.85": picture._replace(pixels=cv2.LUT(picture.pixels, gamma[0.85])),
        "gamma 1.15": picture._replace(pixels=cv2.LUT(picture.pixels, gamma[1.15])),
    }


def tile_folds(folder: Path, step: int) -> None:
    """Share of fold in every ``step``-th colon tile and in the histology tiles without ink."""
    for name, shrink in (("as if 1 um per px, at 4", 4), ("as if 2 um per px, at 4", 2)):
        for source, pattern in (
            ("colon_tiles", "*/*/*.jpg"),
            ("histology_tiles", "histolab/*.png"),
        ):
            files = [
                file
                for file in sorted((folder / source).glob(pattern))[
                    :: step if "colon" in source else 1
                ]
                if "pen" not in file.name and "no-tissue" not in file.name
            ]
            shares = []
            for file in files:
                pixels = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
                side = (max(pixels.shape[1] // shrink, 8), max(pixels.shape[0] // shrink, 8))
                small = cv2.resize(pixels, side, interpolation=cv2.INTER_AREA)
                found = masks_of(small, None, 4.0, TissueSettings(), QualitySettings())
                shares.append(found.fold.mean())
            above = [(round(float(value), 3), file.name) for value, file in zip(shares, files, strict=True) if value > 0.05]  # fmt: skip
            print(f"{source}, {name}: {len(above)} of {len(files)} more than 5 % fold {above[:10]}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--only", nargs="*", default=list(MPP), help="these pictures")
    parser.add_argument("--pictures", type=Path, help="write pictures with their masks here")
    parser.add_argument("--drawing", type=Path, help="draw all masks into this file (PNG)")
    parser.add_argument("--changed", action="store_true", help="also the pictures changed")
    parser.add_argument("--tiles", type=int, default=0, help="every n-th colon tile; 0 for none")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(HEAD)
    print("|---" * (HEAD.count("|") - 1) + "|")
    sheets = []
    for number, name in enumerate(options.only, 1):
        picture = read(options.data / "real_tissue", name)
        start = time.process_time()
        found = judge(picture)
        print(row(name, picture, found, time.process_time() - start), flush=True)
        sheets.append(drawn(number, found))
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            shown = painted(picture.pixels, found)[..., ::-1]
            cv2.imwrite(str(options.pictures / f"{name}.png"), shown)
        for change, other in changes(picture).items() if options.changed else ():
            print(row(f"{name}, {change}", other, judge(other), 0.0), flush=True)
    if options.drawing:
        sheets += [np.zeros_like(sheets[0])] * (-len(sheets) % _DRAWN_A_ROW)
        rows = [
            np.hstack(sheets[at : at + _DRAWN_A_ROW]) for at in range(0, len(sheets), _DRAWN_A_ROW)
        ]
        options.drawing.write_bytes(palette_png(np.vstack(rows), compress_level=9))
    if options.tiles:
        tile_folds(options.data, options.tiles)


if __name__ == "__main__":
    main()
