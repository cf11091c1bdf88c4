"""Attention over the slide, as a picture."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from offsite.files import replacing
from offsite.preprocessing.tinting import coloured, opacity, tinted

_LEAST_TOP = 3.0


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of a slide lie.

    Attributes
    ----------
    coords : numpy.ndarray
        N x 2, level-0 x, y of the top left corners.
    tile_size : float
        Side of a tile, level-0 px.
    slide_size : (int, int)
        Width and height of the slide, level-0 px.
    """

    coords: np.ndarray
    tile_size: float
    slide_size: tuple[int, int]


def relative_attention(attention: np.ndarray) -> np.ndarray:
    """Return attention in units of the slide's average: 1 everywhere where it is uniform.

    Unlike the raw weights, which shrink with the number of tiles, it can be compared between
    slides; unlike ranks, it does not paint hot spots onto a slide that has none.

    Examples
    --------
    >>> relative_attention(np.array([0.5, 0.25, 0.25])).tolist()
    [1.5, 0.75, 0.75]
    """
    return np.asarray(attention, np.float64) * len(attention)


def attention_map(shape: tuple[int, int], grid: TileGrid, values: np.ndarray) -> np.ndarray:
    """Spread the tiles' values over a picture of the slide.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the picture, px.
    values : numpy.ndarray
        N, one number per tile.

    Returns
    -------
    numpy.ndarray
        float32, the mean over the tiles that cover a pixel; NaN where there is none.
    """
    height, width = shape
    across, down = width / grid.slide_size[0], height / grid.slide_size[1]
    corners = np.asarray(grid.coords, np.float64)
    left = np.clip(np.rint(corners[:, 0] * across).astype(int), 0, width)
    top = np.clip(np.rint(corners[:, 1] * down).astype(int), 0, height)
    right = np.clip(np.rint((corners[:, 0] + grid.tile_size) * across).astype(int), 0, width)
    bottom = np.clip(np.rint((corners[:, 1] + grid.tile_size) * down).astype(int), 0, height)
    # Four signed corners per tile; their cumulative sum is the sum over the tiles at each pixel.
    total, count = np.zeros((height + 1, width + 1)), np.zeros((height + 1, width + 1))
    for y, x, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(total, (y, x), sign * values)
        np.add.at(count, (y, x), sign)
    covered = np.rint(count.cumsum(0).cumsum(1)[:-1, :-1])
    summed = total.cumsum(0).cumsum(1)[:-1, :-1]
    mean = np.full(shape, np.nan, np.float32)
    np.divide(summed, covered, out=mean, where=covered > 0, casting="same_kind")
    return mean


def colour_top(relative: np.ndarray) -> float:
    """Return the relative attention that gets the hottest colour: the 99th percentile, or 3."""
    return float(max(np.quantile(relative, 0.99), _LEAST_TOP)) if len(relative) else _LEAST_TOP


def attention_overlay(shape: tuple[int, int], grid: TileGrid, attention: np.ndarray) -> np.ndarray:
    """Return the heatmap as a transparent picture (H x W x 4, uint8, RGBA) to lay over a view."""
    relative = relative_attention(attention)
    values = attention_map(shape, grid, relative)
    covered = np.isfinite(values)
    levels = np.clip(np.nan_to_num(values) / colour_top(relative), 0, 1)
    # Softened at the tiles' edges, within the covered area only.
    sigma = max(grid.tile_size * shape[1] / grid.slide_size[0] / 5, 0.5)
    weight = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), sigma)
    soft = cv2.GaussianBlur((levels * covered).astype(np.float32), (0, 0), sigma)
    levels = np.divide(soft, weight, out=np.zeros_like(soft), where=weight > 1e-3)
    return tinted(levels, covered)


def write_heatmap(
    path: str | Path, view: np.ndarray, grid: TileGrid, attention: np.ndarray, title: str = ""
) -> None:
    """Write the slide's view with the heatmap over it and a colour bar beside it, as PNG.

    Parameters
    ----------
    view : numpy.ndarray
        H x W x 3, uint8, RGB: the whole slide, small.
    attention : numpy.ndarray
        N, sum 1, in the order of the grid.
    title : str
        One line above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = view.shape[:2]
    overlay = attention_overlay((height, width), grid, attention)
    share = overlay[..., 3:].astype(np.float32) / 255
    grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)[..., None]  # colour is left to the attention
    blended = np.rint(grey * (1 - share) + overlay[..., :3] * share).astype(np.uint8)
    top = colour_top(relative_attention(attention))
    size = (7.0 + 1.1, 7.0 * height / width + 0.5)
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(blended, interpolation="antialiased")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=10, loc="left")
    bar = figure.colorbar(_scale(top), ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("attention (1 = average tile)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _scale(top: float):  # type: ignore[no-untyped-def]
    """The colour bar's scale, as the colours look over tissue."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    levels = np.linspace(0, 1, 256, dtype=np.float32)
    share = opacity(levels)[:, None] / 255
    ramp = coloured(levels) * share + 200 * (1 - share)
    return ScalarMappable(Normalize(0, top), ListedColormap(ramp / 255))
