"""From a file to its tiles: reading all, the mask first, the whole stage, and hs2p, for `benchmarks/tiling.py`."""

import importlib.util
import time
from pathlib import Path

import numpy as np
import openslide

from benchmarks.tiling_cases import Row, format_row
from benchmarks.tiling_peers import hs2p_seconds
from offsite.preprocessing.slides.geometry import lay_tiles
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.slides.overview import read_overview
from offsite.preprocessing.tiles.masks import masks_of
from offsite.preprocessing.tiles.quality import QualitySettings
from offsite.preprocessing.tiles.selection import cell_means
from offsite.preprocessing.tiles.table import TileSettings
from offsite.preprocessing.tiles.tiling import tile_slide
from offsite.preprocessing.tiles.tissue import TissueSettings


def whole_slide(path: Path, folder: Path, what: str, mpp: float) -> list[Row]:
    """From the file to its tissue tiles: read everything and test whiteness, or mask first."""
    case = f"{what}: slide to tissue tiles (256 px at level 0)"
    cpu, wall = time.process_time(), time.perf_counter()
    kept = total = 0
    with openslide.OpenSlide(path) as slide:
        width, height = slide.dimensions
        for y in range(0, height - 255, 256):
            for x in range(0, width - 255, 256):
                tile = np.asarray(slide.read_region((x, y), 0, (256, 256)).convert("RGB"))
                kept += (tile.min(axis=-1) < 215).mean() > 0.5
                total += 1
    naive_cpu, naive_wall = time.process_time() - cpu, time.perf_counter() - wall
    rows = [Row(case, f"read all {total}, keep {kept}", naive_cpu * 1e3, naive_wall * 1e3, 1.0, "")]
    print(format_row(rows[-1]), flush=True)
    cpu, wall = time.process_time(), time.perf_counter()
    settings = TissueSettings()
    with open_slide(path) as opened:
        overview = read_overview(opened, mpp=settings.mpp, max_px=settings.max_px)
        mask = masks_of(
            overview.pixels, overview.valid, overview.mpp, settings, QualitySettings()
        ).tissue
        grid = lay_tiles(
            opened.dimensions, opened.level_downsamples, mpp, tile_px=256, wanted_mpp=mpp
        )
        rows_of, columns_of = np.nonzero(cell_means(mask, overview.step, grid) > 0.5)
        for row, column in zip(rows_of.tolist(), columns_of.tolist(), strict=True):
            opened.read_region(column * 256, row * 256, 0, 256, 256)
    spent, took = time.process_time() - cpu, time.perf_counter() - wall
    name = f"offsite, mask first, read {len(rows_of)}"
    rows.append(Row(case, name, spent * 1e3, took * 1e3, naive_cpu / spent, ""))
    print(format_row(rows[-1]), flush=True)
    for decoding in ("judging", "full"):
        settings = TileSettings(tile_px=256, mpp=mpp, decoding=decoding)
        best = (np.inf, np.inf)
        for number in range(3):
            cpu, wall = time.process_time(), time.perf_counter()
            record = tile_slide(path, "whole", folder / f"{decoding}-{number}", settings)
            best = min(best, (time.process_time() - cpu, time.perf_counter() - wall))
        name = f"offsite, whole stage ({decoding}): judge, fit stain, write; keep {record.kept}"
        rows.append(Row(case, name, best[0] * 1e3, best[1] * 1e3, naive_cpu / best[0], ""))
        print(format_row(rows[-1]), flush=True)
    for checks in (False, True):
        name = f"hs2p, {'with checks' if checks else 'mask only'}, in memory"
        if importlib.util.find_spec("hs2p") is None:
            rows.append(Row(case, name, np.nan, np.nan, np.nan, "not installed"))
        else:
            spent, took, kept, backend = _hs2p(path, mpp, checks)
            name = f"{name}, by {backend}; keep {kept}"
            rows.append(Row(case, name, spent * 1e3, took * 1e3, naive_cpu / spent, ""))
        print(format_row(rows[-1]), flush=True)
    return rows


def _hs2p(path: Path, mpp: float, checks: bool) -> tuple[float, float, int, str]:
    """The best of three runs by libvips; by OpenSlide where libvips cannot read it out of order."""
    for backend in ("vips", "openslide"):
        try:
            runs = [
                hs2p_seconds(path, mpp, 256, mpp, checks=checks, backend=backend) for _ in range(3)
            ]
        except Exception as error:  # of another package
            print(f"hs2p by {backend}: {type(error).__name__}: {error}".splitlines()[0])
            continue
        return *min(runs), backend
    return np.nan, np.nan, 0, "neither"
