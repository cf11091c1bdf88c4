"""Kept tiles as tar shards of JPEG, for those who cannot pass slides on."""

import glob
import io
import re
import tarfile
from pathlib import Path

import numpy as np
import simplejpeg

from offsite.files import replacing
from offsite.preprocessing.tiles.reading import read_tiles
from offsite.preprocessing.tiles.table import SlideTiles

MAX_SHARD_TILES = 100_000


def export_shards(
    image: str | Path,
    tiles: SlideTiles,
    folder: str | Path,
    *,
    shard_tiles: int = 2000,
    quality: int = 90,
    threads: int = 1,
) -> list[Path]:
    """Write the kept tiles of a slide as ``<slide>-00000.tar``, ... and return the paths.

    A member is named ``<slide>/<x>_<y>.jpg`` by its level-0 corner. The bytes depend on the pixels
    and the settings alone. Unreadable tiles are left out. Shards that an earlier export of the
    slide wrote beyond these are removed.

    Parameters
    ----------
    shard_tiles : int
        Tiles of a shard.
    quality : int
        JPEG quality; what is stored is not bit-equal to the slide.
    """
    if not 1 <= shard_tiles <= MAX_SHARD_TILES:
        raise ValueError(f"shard_tiles must be between 1 and {MAX_SHARD_TILES}")
    slide = tiles.record.slide
    paths = []
    batches = read_tiles(image, tiles, batch_size=shard_tiles, threads=threads)
    for number, batch in enumerate(batches):
        path = Path(folder) / f"{slide}-{number:05d}.tar"
        with replacing(path) as temporary, tarfile.open(temporary, "w") as shard:
            for pixels, (x, y) in zip(batch.pixels, batch.coords.tolist(), strict=True):
                data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality)
                member = tarfile.TarInfo(f"{slide}/{x}_{y}.jpg")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
        paths.append(path)
    for old in Path(folder).glob(f"{glob.escape(slide)}-*.tar"):
        if re.fullmatch(rf"{re.escape(slide)}-\d{{5}}\.tar", old.name) and old not in paths:
            old.unlink()
    return paths
