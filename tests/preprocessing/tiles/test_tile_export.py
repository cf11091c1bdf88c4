import io
import tarfile

import numpy as np
import pytest
import simplejpeg

from offsite.preprocessing.tiles.export import export_shards
from offsite.preprocessing.tiles.reading import read_tiles
from offsite.preprocessing.tiles.table import TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_slide


def test_shards_hold_every_kept_tile_once(cohort, tmp_path):
    image = cohort.image_paths()[0]
    tile_slide(image, "a", tmp_path, TileSettings(tile_px=64))
    tiles = load_tiles(tmp_path, "a")
    paths = export_shards(image, tiles, tmp_path / "shards", shard_tiles=30, threads=2)
    assert len(paths) == -(-tiles.record.kept // 30)
    found = {}
    for path in paths:
        with tarfile.open(path) as shard:
            for member in shard:
                stream = shard.extractfile(member)
                assert stream is not None
                found[member.name] = simplejpeg.decode_jpeg(io.BytesIO(stream.read()).getvalue())
    kept = tiles.kept()
    assert set(found) == {f"a/{x}_{y}.jpg" for x, y in zip(kept["x"], kept["y"], strict=True)}
    batch = next(read_tiles(image, tiles, batch_size=4))
    x, y = batch.coords[2]
    assert np.abs(found[f"a/{x}_{y}.jpg"].astype(int) - batch.pixels[2]).mean() < 4
    again = export_shards(image, tiles, tmp_path / "again", shard_tiles=30)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    beside = tmp_path / "again" / "a-b-00000.tar"  # of another slide
    beside.write_bytes(b"")
    fewer = export_shards(image, tiles, tmp_path / "again", shard_tiles=1000)
    assert sorted((tmp_path / "again").iterdir()) == [*fewer, beside]
    with pytest.raises(ValueError, match="shard_tiles"):
        export_shards(image, tiles, tmp_path, shard_tiles=0)
