"""How fast tiles are read, beside the readers one would otherwise use, on identical pixels.

    python -m benchmarks.tiling [--side 20480] [--tiles 2000] [--real SLIDE.svs] [--json FILE]

One synthetic slide, JPEG at quality 80, and a real one, warm page cache. CPU time of the process, best of several
runs (wall time beside it): trust the ratios. Every reader's output is hashed; a reader whose
pixels differ from the reference is marked, for its speed belongs to other pixels.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from benchmarks.tiling_cases import Row, run_case, tissue_places
from benchmarks.tiling_peers import ON_GRID, RIVALS, Reader
from benchmarks.tiling_readers import (
    bare,
    bare_half_size,
    batches,
    deepzoom,
    half_size,
    naive,
    ours,
)
from benchmarks.tiling_whole import whole_slide
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.synthetic.slides.biology import grow
from offsite.preprocessing.synthetic.slides.rendering import render
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.preprocessing.synthetic.slides.writing import write_slide

BLOCK = 4096


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
