"""Measure readers of tiles on the same places, and hash what they give, for `benchmarks/tiling.py`."""

import hashlib
import importlib.util
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.tiling_peers import ON_GRID, RIVALS, Place, Reader


@dataclass
class Row:
    """One line of the result."""

    case: str
    reader: str
    cpu_ms: float
    wall_ms: float
    times_naive: float
    pixels: str


def measure(
    read: Reader, path: Path, places: list[Place], repeats: int
) -> tuple[float, float, list[str]]:
    """Best CPU and wall time in ms per tile, and a hash of each tile."""
    best_cpu = best_wall = np.inf
    digests: list[str] = []
    for number in range(repeats + 1):
        cpu, wall = time.process_time(), time.perf_counter()
        if number:
            for _ in read(path, places):
                pass
            best_cpu = min(best_cpu, time.process_time() - cpu)
            best_wall = min(best_wall, time.perf_counter() - wall)
        else:  # the first pass warms the cache and hashes
            tiles: Iterable[np.ndarray] = read(path, places)
            digests = [hashlib.sha256(np.ascontiguousarray(tile)).hexdigest() for tile in tiles]
    return best_cpu / len(places) * 1e3, best_wall / len(places) * 1e3, digests


def tissue_places(picture: np.ndarray, size: int, offset: int, count: int) -> list[Place]:
    """Row by row, tiles on tissue."""
    small = cv2.resize(picture, None, fx=1 / 32, fy=1 / 32, interpolation=cv2.INTER_AREA)
    mask = small.min(axis=-1) < 215
    found = []
    for y in range(offset, picture.shape[0] - size + 1, size):
        for x in range(offset, picture.shape[1] - size + 1, size):
            part = mask[y // 32 : (y + size) // 32, x // 32 : (x + size) // 32]
            if part.mean() > 0.5:
                found.append((x, y))
                if len(found) == count:
                    return found
    return found


def run_case(
    case: str, path: Path, places: list[Place], readers: dict[str, Reader], repeats: int,
    *, same_pixels: bool = True,
) -> list[Row]:  # fmt: skip
    """Measure all readers on the same places; the first is the naive one and the reference."""
    rows: list[Row] = []
    reference: list[str] = []
    for name, read in readers.items():
        module = name.split()[0]
        if module in {**RIVALS, **ON_GRID} and importlib.util.find_spec(module) is None:
            rows.append(Row(case, name, np.nan, np.nan, np.nan, "not installed"))
            print(format_row(rows[-1]), flush=True)
            continue
        try:
            cpu, wall, digests = measure(read, path, places, repeats)
        except ValueError as error:
            if module not in {**RIVALS, **ON_GRID}:
                raise
            rows.append(Row(case, name, np.nan, np.nan, np.nan, f"refuses the file: {error}"))
            print(format_row(rows[-1]), flush=True)
            continue
        reference = reference or digests
        equal = "equal" if digests == reference else "differ" if same_pixels else "own resampling"
        naive_cpu = rows[0].cpu_ms if rows else cpu
        rows.append(Row(case, name, cpu, wall, naive_cpu / cpu, equal))
        print(format_row(rows[-1]), flush=True)
    return rows


def format_row(row: Row) -> str:
    """A line of the Markdown table."""
    if np.isnan(row.cpu_ms):
        return f"| {row.case} | {row.reader} | n/a | n/a | n/a | {row.pixels} |"
    return (
        f"| {row.case} | {row.reader} | {row.cpu_ms:.3f} | {row.wall_ms:.3f} |"
        f" {row.times_naive:.1f} | {row.pixels} |"
    )
