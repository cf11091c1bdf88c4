"""Pictures beside the tiles, for looking at what was found."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from offsite.preprocessing.slides.scaling import area_reduced
from offsite.preprocessing.tiles.selection import SlideMasks
from offsite.preprocessing.tiles.table import FOLDER
from offsite.written import write_own

THUMBNAIL_PX = 1024
MASK_COLOURS = {
    "glass": (255, 255, 255),
    "fat": (250, 220, 110),
    "tissue": (225, 170, 200),
    "fold": (110, 40, 120),
    "pen": (40, 150, 120),
    "damaged": (210, 40, 40),
    "no_data": (200, 200, 200),
}


def picture_paths(out: str | Path, slide: str) -> tuple[Path, Path]:
    """Where thumbnail and mask of a slide are."""
    folder = Path(out) / FOLDER
    return folder / f"{slide}.thumbnail.png", folder / f"{slide}.mask.png"


def save_pictures(out: str | Path, slide: str, masks: SlideMasks) -> None:
    """Write the thumbnail and, in the colours of ``MASK_COLOURS``, the mask (PNG)."""
    thumbnail, mask = picture_paths(out, slide)
    height, width = masks.tissue.shape
    scale = min(THUMBNAIL_PX / max(height, width), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    write_own(thumbnail, encode_png(area_reduced(masks.overview.pixels, size)))
    shown = np.zeros((height, width), np.uint8)  # numbers of ``MASK_COLOURS``
    for where, name in (
        (masks.fat, "fat"),
        (masks.tissue, "tissue"),
        (masks.fold, "fold"),
        (masks.pen, "pen"),
        (~masks.overview.valid, "no_data"),
        (masks.overview.damaged, "damaged"),
    ):
        np.copyto(shown, list(MASK_COLOURS).index(name), where=where)
    write_own(mask, palette_png(cv2.resize(shown, size, interpolation=cv2.INTER_NEAREST)))


def palette_png(shown: np.ndarray, *, compress_level: int = 1) -> bytes:
    """PNG bytes of numbers of ``MASK_COLOURS`` (H x W, uint8)."""
    image = Image.fromarray(shown)
    image.putpalette(bytes(np.array(list(MASK_COLOURS.values()), np.uint8)))
    data = BytesIO()
    image.save(data, "PNG", compress_level=compress_level)
    return data.getvalue()


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG bytes of an RGB image (H x W x 3, uint8)."""
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    assert done
    return bytes(data)
