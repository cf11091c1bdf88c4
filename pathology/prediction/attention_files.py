"""Where the model looked, as the files of a case."""

from pathlib import Path

import numpy as np

from offsite.files import write_bytes
from offsite.pathology.attention.geojson import write_geojson
from offsite.pathology.attention.heatmap import (
    TileGrid,
    attention_overlay,
    colour_top,
    relative_attention,
)
from offsite.preprocessing.views import blended, png
from offsite.training.prediction.codes import NOTICE


def save_attention(
    folder: Path,
    grid: TileGrid,
    attention: np.ndarray,
    view: np.ndarray,
    offset: tuple[int, int] = (0, 0),
) -> dict[str, str]:
    """Write attention over the view of the page, as a picture, and for QuPath.

    ``offset`` is the corner of the scanned area, level-0 px. Returns the files by kind.
    """
    overlay = attention_overlay(view.shape[:2], grid, attention)
    write_bytes(folder / "overlay.png", png(overlay))
    top = colour_top(relative_attention(attention))
    scale = f"Attention of the model. Strongest colour: {top:.1f} x the average tile."
    write_bytes(folder / "heatmap.png", png(blended(view, overlay, (scale, NOTICE))))
    write_geojson(folder / "heatmap.geojson.gz", grid, attention, offset=offset)
    return {
        "overlay": "overlay.png",
        "heatmap": "heatmap.png",
        "geojson": "heatmap.geojson.gz",
    }
