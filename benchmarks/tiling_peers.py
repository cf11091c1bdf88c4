"""Other tools that read or tile slides, for `benchmarks/tiling.py`; one that is absent is named so there."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

Place = tuple[int, int]
Reader = Callable[[Path, list[Place]], Iterator[np.ndarray]]


def tiffslide_reader(size: int) -> Reader:
    """tiffslide, straight to an array."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        import tiffslide

        with tiffslide.TiffSlide(path) as slide:
            for place in places:
                yield slide.read_region(place, 0, (size, size), as_array=True)

    return read


def pyvips_reader(size: int) -> Reader:
    """Libvips regions."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        import pyvips

        region = pyvips.Region.new(pyvips.Image.tiffload(str(path)))
        for x, y in places:
            data = region.fetch(x, y, size, size)
            yield np.frombuffer(data, np.uint8).reshape(size, size, -1)[..., :3]

    return read


def fastslide_reader(size: int) -> Reader:
    """Fastslide."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        import fastslide

        slide = fastslide.FastSlide.from_file_path(str(path))
        for place in places:
            tile = slide.read_region(location=place, level=0, size=(size, size))
            yield tile.numpy()[..., :3]

    return read


def microtome_reader(size: int) -> Reader:
    """microtome-wsi, which reads native tiles alone (on the file's own grid)."""

    def read(path: Path, places: list[Place]) -> Iterator[np.ndarray]:
        import microtome

        slide = microtome.open(str(path))
        for x, y in places:
            yield slide.read_tile(0, x // size, y // size)

    return read


RIVALS = {"tiffslide": tiffslide_reader, "pyvips": pyvips_reader, "fastslide": fastslide_reader}
ON_GRID = {"microtome": microtome_reader}


def hs2p_seconds(
    path: Path, mpp: float, px: int, um: float, *, checks: bool, backend: str = "vips"
) -> tuple[float, float, int]:
    """CPU and wall s of hs2p from the file to its tiles, in memory, and how many it keeps.

    With Otsu's mask at 4 um as ours has; with checks: white, black, grey and blurred tiles at 2 um.
    """
    import hs2p

    names = ("filter_white", "filter_black", "filter_grayspace", "filter_blur")
    cpu, wall = time.process_time(), time.perf_counter()
    found = hs2p.tile_slide(
        hs2p.SlideSpec(sample_id="whole", image_path=path, spacing_at_level_0=mpp),
        tiling=hs2p.TilingConfig(
            requested_spacing_um=um, requested_tile_size_px=px, tolerance=0.05, overlap=0.0,
            backend=backend, mask_backend=backend,
        ),
        segmentation=hs2p.SegmentationConfig(method="otsu", downsample=max(round(4 / mpp), 1)),
        filtering=hs2p.FilterConfig(**dict.fromkeys(names, checks), qc_spacing_um=2.0),
    )  # fmt: skip
    spent, took = time.process_time() - cpu, time.perf_counter() - wall
    return spent, took, len(found.x)
