"""A slide and what became of its tiles, side by side in one small picture."""

from pathlib import Path

import cv2
import numpy as np

from offsite.preprocessing.tiles.pictures import MASK_COLOURS, picture_paths
from offsite.preprocessing.tiles.table import FOLDER, KEPT, SlideRecord, SlideTiles
from offsite.written import write_own

PANEL_PX = 480
"""Longer side of each half."""
COLOURS = {
    KEPT: (46, 139, 70),
    "unreadable": (205, 35, 45),
    "no_data": (150, 150, 155),
    "pen": (35, 100, 215),
    "fold": (135, 55, 165),
    "dark": (25, 25, 30),
    "pale": (240, 196, 50),
    "blurred": (226, 115, 30),
}
"""Of each status; one that is not here is grey."""
OTHER = (120, 120, 125)
_QUALITY = 82
_OUTLINE = (40, 40, 45)


def picture_path(out: str | Path, slide: str) -> Path:
    """Where the picture of a slide's tiles is."""
    return Path(out) / FOLDER / f"{slide}.tiles.jpg"


def panel_size(record: SlideRecord) -> tuple[int, int]:
    """Return width and height of each half, px."""
    assert record.width is not None
    assert record.height is not None
    scale = PANEL_PX / max(record.width, record.height)
    return max(round(record.width * scale), 1), max(round(record.height * scale), 1)


def save_tile_picture(out: str | Path, tiles: SlideTiles) -> tuple[int, int]:
    """Write the picture of a slide (JPEG); returns width and height of each half, px.

    Raises
    ------
    InputError
        Code ``not_ours``.
    """
    picture = tile_picture(tiles, *(_read(path) for path in picture_paths(out, tiles.record.slide)))
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    assert done
    write_own(picture_path(out, tiles.record.slide), bytes(data))
    return picture.shape[1] // 2, picture.shape[0]


def tile_picture(
    tiles: SlideTiles, thumbnail: np.ndarray | None, mask: np.ndarray | None
) -> np.ndarray:
    """Return the slide, and beside it, faded, its tissue's outline and its tiles by status.

    Parameters
    ----------
    tiles : SlideTiles
        With tissue, as they were laid.
    thumbnail, mask : numpy.ndarray, optional
        H x W x 3, uint8, RGB, of one shape, the mask in ``MASK_COLOURS``; white where there is none.

    Returns
    -------
    numpy.ndarray
        h x 2w x 3, uint8, RGB; the longer of w and h is ``PANEL_PX``.
    """
    record = tiles.record
    size = panel_size(record)
    scale = max(size) / max(record.width or 1, record.height or 1)
    if thumbnail is None:
        thumbnail = np.full((size[1], size[0], 3), 255, np.uint8)
    plain = cv2.resize(thumbnail, size, interpolation=cv2.INTER_AREA)
    shown = (0.5 * plain + 127.5).astype(np.uint8)
    painted = shown.copy()
    for x, y, status in tiles.table[["x", "y", "status"]].itertuples(index=False):
        side = record.size or 1
        first = (int(x * scale), int(y * scale))
        last = (int((x + side) * scale) - 1, int((y + side) * scale) - 1)
        last = (max(last[0], first[0]), max(last[1], first[1]))
        cv2.rectangle(painted, first, last, COLOURS.get(status, OTHER), cv2.FILLED)
    shown = np.asarray(cv2.addWeighted(painted, 0.6, shown, 0.4, 0), np.uint8)
    if mask is not None:
        tissue = np.any([(mask == MASK_COLOURS[name]).all(-1) for name in ("tissue", "fold")], 0)
        small = cv2.resize(tissue.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, contours, -1, _OUTLINE, 1)
    return np.concatenate([plain, shown], axis=1)


def _read(path: Path) -> np.ndarray | None:
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) if path.is_file() else None
