"""How fast tiles are read, beside the readers one would otherwise use, on identical pixels.

    python -m benchmarks.tiling [--side 20480] [--tiles 2000] [--real SLIDE.svs] [--json FILE]

One synthetic slide, JPEG at quality 80, and a real one, warm page cache. CPU time of the process, best of several
runs (wall time beside it): trust the ratios. Every reader's output is hashed; a reader whose
pixels differ from the reference is marked, for its speed belongs to other pixels.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import openslide
import simplejpeg
import tifffile
from openslide.deepzoom import DeepZoomGenerator

from benchmarks.tiling_peers import ON_GRID, RIVALS, Place, Reader, hs2p_seconds
from offsite.preprocessing.slides.geometry import lay_tiles
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.slides.overview import read_overview
from offsite.preprocessing.slides.scaling import area_reduced
from offsite.preprocessing.synthetic.slides.biology import grow
from offsite.preprocessing.synthetic.slides.rendering import render
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.preprocessing.tiles.masks import masks_of
from offsite.preprocessing.tiles.quality import QualitySettings
from offsite.preprocessing.tiles.selection import cell_means
from offsite.preprocessing.tiles.table import TileSettings
from offsite.preprocessing.tiles.tiling import tile_slide
from offsite.preprocessing.tiles.tissue import TissueSettings

BLOCK = 4096
BATCH = 64


@dataclass
class Row:
    """One line of the result."""

    case: str
    reader: str
    cpu_ms: float
    wall_ms: float
    times_naive: float
    pixels: str


def make_picture(side: int) -> np.ndarray:
    """A slide of ``side`` px: glass with a band of tissue over some 35 % of it.

    Tissue lies compact, as sections do; one rendered block is repeated.
    """
    block = min(side, BLOCK)
    biology = grow(1, "high_grade", width_um=block / 4, height_um=block / 4, tissue_share=0.85)
    tissue = render(biology, SITES[0], seed=1, mpp=0.25)
    count = -(-side // block)
    noise = np.random.default_rng(0).normal(243, 1.5, tissue.shape)
    glass = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    first, last = count // 4, count // 4 + max(round(0.45 * count), 1)
    rows = [tissue if first <= row < last else glass for row in range(count)]
    return np.concatenate([np.tile(row, (1, count, 1)) for row in rows])[:side, :side]


def naive(size: int, out: int) -> Reader:
    """The usual loop: OpenSlide, then drop the alpha."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        with openslide.OpenSlide(path) as slide:
            for place in places:
                tile = slide.read_region(place, 0, (size, size)).convert("RGB")
                if out != size:
                    tile = tile.resize((out, out), resample=1)  # LANCZOS, as most do
                yield np.asarray(tile)

    return read


def ours(size: int, out: int, reader: str = "direct") -> Reader:
    """The readers of this project, a tile at a time."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        with open_slide(path, reader=reader) as slide:
            for place in places:
                pixels = slide.read_region(*place, 0, size, size).pixels
                yield area_reduced(pixels, (out, out))

    return read


def half_size(size: int, out: int) -> Reader:
    """The direct reader, each native tile decoded at 1/2 of its size."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        with open_slide(path, reader="direct") as slide:
            for place in places:
                pixels = slide.read_reduced(*place, 0, size, size, size // out).pixels
                yield area_reduced(pixels, (out, out))

    return read


def bare_half_size(size: int, native: int) -> Reader:
    """The limit of that: nothing but decoding the native tiles at half their size (aligned grid)."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        decode = bare(native, {"min_height": native // 2, "min_width": native // 2})
        side = range(0, size, native)
        yield from decode(path, [(x + dx, y + dy) for x, y in places for dy in side for dx in side])

    return read


def batches(size: int, out: int, threads: int) -> Reader:
    """The direct reader as ``tile_reading.read_tiles`` uses it: batches made ahead in threads."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        with open_slide(path, reader="direct") as slide, ThreadPoolExecutor(threads) as pool:

            def batch(start: int) -> np.ndarray:
                part = places[start : start + BATCH]
                pixels = np.empty((len(part), out, out, 3), np.uint8)
                for row, place in enumerate(part):
                    region = slide.read_region(*place, 0, size, size)
                    pixels[row] = area_reduced(region.pixels, (out, out))
                return pixels

            tasks = (pool.submit(batch, start) for start in range(0, len(places), BATCH))
            pending = list(islice(tasks, threads + 1))
            while pending:
                yield from pending.pop(0).result()
                pending.extend(islice(tasks, 1))

    return read


def bare(size: int, least: dict[str, int] | None = None) -> Reader:
    """The limit: nothing but reading and decoding the native tiles (aligned grid only)."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            offsets, lengths = page.dataoffsets, page.databytecounts
            across = -(-page.imagewidth // size)
            colour = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
            rgb = page.photometric == tifffile.PHOTOMETRIC.RGB
            head = b"\xff\xd8" + (colour if rgb else b"") + (page.jpegtables or b"    ")[2:-2]
        file = os.open(path, os.O_RDONLY)
        for x, y in places:
            index = y // size * across + x // size
            stream = head + os.pread(file, lengths[index], offsets[index])[2:]
            yield simplejpeg.decode_jpeg(stream, "RGB", **(least or {}))
        os.close(file)

    return read


def deepzoom(size: int) -> Reader:
    """OpenSlide's own tile generator (aligned grid, no overlap)."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        with openslide.OpenSlide(path) as slide:
            zoom = DeepZoomGenerator(slide, tile_size=size, overlap=0)
            for x, y in places:
                yield np.asarray(zoom.get_tile(zoom.level_count - 1, (x // size, y // size)))

    return read


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
    for decoding in ("scaled", "full"):
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


def real_slide(path: Path, folder: Path, tiles: int, repeats: int) -> list[Row]:
    """A real SVS: its own grid of native tiles, and tiles of half its scale."""
    with open_slide(path) as opened:
        picture = opened.read_region(0, 0, 0, *opened.dimensions).pixels
        native, mpp = opened.native_tiles[0][0], opened.mpp
    case = f"{path.name}, its own grid of {native} px"
    readers: dict[str, Reader] = {
        "openslide, naive": naive(native, native),
        "offsite openslide": ours(native, native, "openslide"),
        "offsite direct": ours(native, native),
        "bare decoder": bare(native),
        **{name: make(native) for name, make in {**RIVALS, **ON_GRID}.items()},
    }
    rows = run_case(case, path, tissue_places(picture, native, 0, tiles), readers, repeats)
    half: dict[str, Reader] = {
        "openslide, naive": naive(2 * native, native),
        "offsite direct": ours(2 * native, native),
        "offsite direct, half size": half_size(2 * native, native),
        "bare decoder, half size": bare_half_size(2 * native, native),
    }
    case = f"{path.name}, {native} px at {2 * mpp:.3g} um from {mpp:.3g} um"
    places = tissue_places(picture, 2 * native, 0, tiles)
    rows += run_case(case, path, places, half, repeats, same_pixels=False)
    return rows + whole_slide(path, folder / "real", path.name, mpp)


def main() -> None:
    """Run everything and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--side", type=int, default=20480, help="side of the slide, px")
    parser.add_argument("--tiles", type=int, default=2000, help="tiles of each case at most")
    parser.add_argument("--repeats", type=int, default=2, help="runs of which the best counts")
    parser.add_argument("--only-whole", action="store_true", help="only slide to tissue tiles")
    parser.add_argument("--real", type=Path, help="a real SVS, measured as well")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    picture = make_picture(options.side)
    print("| case | reader | CPU ms | wall ms | x naive | pixels |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        aligned, odd = folder / "aligned.tiff", folder / "odd.svs"
        write_slide(aligned, picture, mpp=0.25, flavour="generic", quality=80)
        if options.only_whole:
            whole_slide(aligned, folder / "out", "synthetic", 0.25)
            return
        write_slide(odd, picture, mpp=0.25, quality=80, tile_px=240)
        rivals = {name: make(256) for name, make in RIVALS.items()}
        usual: dict[str, Reader] = {"openslide, naive": naive(256, 256)}
        mine: dict[str, Reader] = {
            "offsite openslide": ours(256, 256, "openslide"),
            "offsite direct": ours(256, 256),
            "offsite direct, batches, 1 thread": batches(256, 256, 1),
            "offsite direct, batches, 2 threads": batches(256, 256, 2),
        }
        zoom: dict[str, Reader] = {"openslide DeepZoom": deepzoom(256), "bare decoder": bare(256)}
        rows = run_case(
            "aligned grid", aligned, tissue_places(picture, 256, 0, options.tiles),
            usual | mine | zoom | rivals | {name: make(256) for name, make in ON_GRID.items()},
            options.repeats,
        )  # fmt: skip
        rows += run_case(
            "256 px on 240 px tiles", odd, tissue_places(picture, 256, 0, options.tiles),
            usual | mine | rivals, options.repeats,
        )  # fmt: skip
        rows += run_case(
            "grid shifted by 128", aligned, tissue_places(picture, 256, 128, options.tiles),
            usual | mine | rivals, options.repeats,
        )  # fmt: skip
        half: dict[str, Reader] = {
            "openslide, naive": naive(512, 256),
            "offsite direct": ours(512, 256),
            "offsite direct, half size": half_size(512, 256),
            "bare decoder, half size": bare_half_size(512, 256),
            "offsite direct, batches, 1 thread": batches(512, 256, 1),
            "offsite direct, batches, 2 threads": batches(512, 256, 2),
        }
        rows += run_case(
            "0.5 um from 0.25 um", aligned, tissue_places(picture, 512, 0, options.tiles // 2),
            half, options.repeats, same_pixels=False,
        )  # fmt: skip
        rows += whole_slide(aligned, folder / "out", "synthetic", 0.25)
        if options.real:
            rows += real_slide(options.real, folder, options.tiles, options.repeats)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main()
