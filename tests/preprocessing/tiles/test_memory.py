"""Memory does not grow with the slide, nor with the number of slides."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from offsite.preprocessing.synthetic.slides.writing import encode_tile

SIDE, TILE = 100_000, 256
_RUN = """
import resource, sys
from offsite.preprocessing.tiles.table import TileSettings
from offsite.preprocessing.tiles.tiling import tile_slide
peaks = []
for number in range(int(sys.argv[3])):
    record = tile_slide(sys.argv[1], f"s{number}", sys.argv[2], TileSettings(tile_px=64 * int(sys.argv[4])))
    assert record.status == "done", record.message
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(record.kept, *peaks)
"""


def write_huge(path: Path, tissue: np.ndarray) -> None:
    """A slide of 100,000 px a side: tissue in the middle, holes and glass around it."""
    stream = encode_tile(tissue, 80, "420", "ycbcr")
    glass = encode_tile(np.full((TILE, TILE, 3), 243, np.uint8), 80, "420", "ycbcr")
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for factor in (1, 4, 16, 64):
            side = SIDE // factor
            count = -(-side // TILE)

            def tiles(count: int = count):
                for row in range(count):
                    for column in range(count):
                        place = max(abs(row / count - 0.5), abs(column / count - 0.5))
                        if row == column == 0 or 0.06 < place < 0.08:
                            yield glass
                        else:
                            yield stream if place < 0.06 else b""

            tiff.write(
                tiles(), shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE),
                compression="jpeg", photometric="ycbcr", subsampling=(2, 2), metadata=None,
                subfiletype=int(factor > 1), resolution=(4e4 / factor, 4e4 / factor),
                resolutionunit="CENTIMETER",
            )  # fmt: skip


def run(path: Path, out: Path, slides: int, tile: int) -> tuple[int, list[float]]:
    command = [sys.executable, "-c", _RUN, str(path), str(out), str(slides), str(tile)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    kept, *peaks = done.stdout.split()
    return int(kept), [float(peak) for peak in peaks]


@pytest.mark.slow
def test_a_huge_slide_fits_into_half_a_gigabyte(picture, tmp_path):
    path = tmp_path / "huge.tiff"
    write_huge(path, np.ascontiguousarray(picture[300:556, 300:556]))
    kept, (peak,) = run(path, tmp_path / "out", 1, 4)
    assert kept > 100
    assert peak < 500, peak


@pytest.mark.slow
def test_memory_is_flat_over_a_hundred_slides(cohort, tmp_path):
    _, peaks = run(cohort.image_paths()[0], tmp_path, 100, 1)
    assert peaks[-1] < peaks[9] + 30
