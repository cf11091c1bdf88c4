"""What becomes of the tiles of real slides: counts by reason, and drawings of their masks.

    python benchmarks/real_slides_tiles.py --data FOLDER [--drawings docs/images/masks]

FOLDER holds ``wsi``. Tiles of 224 px at 0.5 um per px, all settings the defaults. A drawing shows the mask
and the tiles alone, nothing of the slide's own pixels. Prints Markdown.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from offsite.preprocessing.tiles.pictures import picture_paths
from offsite.preprocessing.tiles.table import KEPT, STATUSES, TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide

REASONS = tuple(name for name in STATUSES if name != KEPT)
_SIDE = 320  # px of a drawing, at most
_OUTLINES = {KEPT: (30, 90, 200)}
_OTHER = (150, 150, 150)


class Known(NamedTuple):
    """A slide, and the um per px where its file is wrong or says nothing."""

    file: str
    shown: str
    mpp: float | None = None


SLIDES = (
    Known("CMU-1-Small-Region.svs", "cmu-1"),
    Known("CMU-1-Small-Region.jpeg.tiff", "", 0.499),
    Known("unreadable/CMU-1-Small-Region.webp.tiff", "", 0.499),
    Known("unreadable/OS-1-detail.ome.tif", "os-1"),
    Known("unreadable/OS-2-ndpi.ome.tif", "os-2-ndpi"),
    Known("unreadable/OS-2-vsi.ome.tif", "os-2-vsi"),
)


def drawing(folder: Path, slide: str) -> np.ndarray:
    """The mask (BGR) with the tiles that hold tissue over it, the kept ones in blue."""
    tiles = load_tiles(folder, slide)
    mask = cv2.imread(str(picture_paths(folder, slide)[1]))
    assert tiles.record.width
    assert tiles.record.size
    scale = min(_SIDE / max(mask.shape[:2]), 1.0) * mask.shape[1] / tiles.record.width
    size = (round(tiles.record.width * scale), round((tiles.record.height or 0) * scale))
    drawn = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    side = round(tiles.record.size * scale)
    for tile in tiles.table.sort_values("status", key=lambda names: names == KEPT).itertuples():
        x, y = round(tile.x * scale), round(tile.y * scale)
        colour = _OUTLINES.get(tile.status, _OTHER)[::-1]
        cv2.rectangle(drawn, (x, y), (x + side - 1, y + side - 1), colour, 1)
    return np.asarray(drawn)


def main() -> None:
    """Print the table, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--drawings", type=Path, help="draw masks into this folder")
    options = parser.parse_args()
    head = ["slide", "um per px", "tissue mm2", "fat mm2", "tiles with tissue", "kept", *REASONS]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for number, known in enumerate(SLIDES):
            path = options.data / "wsi" / known.file
            record = tile_slide(path, f"{number}", folder, TileSettings(), known.mpp)
            name = Path(known.file).name
            if record.status == "failed":
                print(f"| {name} | {record.message} |")
                continue
            counts = record.counts
            judged = sum(counts[status] for status in STATUSES)
            cells = [
                f"{record.mpp:.4g}",
                f"{record.tissue_mm2:.3f}",
                f"{record.fat_mm2:.3f}",
                judged,
            ]
            cells += [counts[status] for status in (KEPT, *REASONS)]
            print(f"| {name} | {' | '.join(map(str, cells))} |", flush=True)
            if options.drawings and known.shown:
                options.drawings.mkdir(parents=True, exist_ok=True)
                file = options.drawings / f"{known.shown}.png"
                cv2.imwrite(str(file), drawing(folder, f"{number}"))


if __name__ == "__main__":
    main()
