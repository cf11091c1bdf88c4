"""Attention over the slide, as GeoJSON that QuPath opens."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np

from offsite.files import replacing
from offsite.pathology.attention.heatmap import TileGrid, relative_attention

_HEAD = '{"type":"FeatureCollection","features":[\n'
_TAIL = "\n]}\n"
_AT_ONCE = 4096


def write_geojson(
    path: str | Path,
    grid: TileGrid,
    attention: np.ndarray,
    *,
    offset: tuple[int, int] = (0, 0),
    further: dict[str, np.ndarray] | None = None,
) -> None:
    """Write a square per tile with its attention as a measurement, atomically.

    QuPath shows it by dragging the file onto the slide and colouring by measurement ("Measure, Show
    measurement maps").

    Parameters
    ----------
    path : path
        Ends with ``.geojson``, or ``.geojson.gz`` to be compressed.
    attention : numpy.ndarray
        N, sum 1; written as multiples of the average tile's.
    offset : (int, int)
        Left and upper edge of the scanned area, level-0 px: taken off, for QuPath counts from there.
    further : dict of str to numpy.ndarray
        More measurements by name, N each.

    Raises
    ------
    ValueError
        A number is not finite, or an array has not one number per tile.
    """
    measured = {"attention": relative_attention(attention), **(further or {})}
    for name, values in measured.items():
        if len(values) != len(grid.coords) or not np.isfinite(values).all():
            raise ValueError(f"measurement '{name}' needs a finite number for each tile")
    with replacing(path) as temporary, temporary.open("wb") as file:
        if str(path).endswith(".gz"):
            # No name and time inside: equal content gives equal bytes.
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=file, mtime=0)
            with packed, io.TextIOWrapper(cast(IO[bytes], packed), encoding="utf-8") as text:
                text.writelines(_features(grid, offset, measured))
        else:
            with io.TextIOWrapper(file, encoding="utf-8") as text:
                text.writelines(_features(grid, offset, measured))


def _features(
    grid: TileGrid, offset: tuple[int, int], measured: dict[str, np.ndarray]
) -> Iterator[str]:
    import json

    names = ",".join(
        f"{json.dumps(name)}:%.6g".replace("%", "%%").replace("%%.6g", "%.6g") for name in measured
    )
    template = (
        '{"type":"Feature","geometry":{"type":"Polygon","coordinates":'
        "[[[%d,%d],[%d,%d],[%d,%d],[%d,%d],[%d,%d]]]},"
        '"properties":{"objectType":"tile","measurements":{' + names + "}}}"
    )
    low = np.asarray(grid.coords, np.int64) - np.asarray(offset, np.int64)
    high = low + round(grid.tile_size)
    x, y, right, bottom = low[:, 0], low[:, 1], high[:, 0], high[:, 1]
    yield _HEAD
    for start in range(0, len(low), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        columns = [
            column[part].tolist()
            for column in (x, y, right, y, right, bottom, x, bottom, x, y, *measured.values())
        ]
        rows = ",\n".join([template % row for row in zip(*columns, strict=True)])
        yield (",\n" if start else "") + rows
    yield _TAIL
