"""Readers of tiles by OpenSlide, by this project, and by nothing but the decoder, for `benchmarks/tiling.py`."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import openslide
import simplejpeg
import tifffile
from openslide.deepzoom import DeepZoomGenerator

from benchmarks.tiling_peers import Place, Reader
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.slides.scaling import area_reduced

BATCH = 64


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
