"""The trunk as a tile encoder."""

import numpy as np
import pytest

from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.pathology.tile_encoders.structure import StructureBaseline
from offsite.training.trunk import weights

WIDTHS = {"last": 640, "late": 1024, "all": 1632}


@pytest.fixture(scope="module")
def tiles():
    return np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), np.uint8)


def encoder(name="efficientnet-lite0", **more):
    return load_encoder(EncoderSettings(name=name, tile_px=64, device="cpu", **more))


@pytest.mark.parametrize(("statistics", "width"), WIDTHS.items())
def test_features_are_of_the_stages_that_are_read(tiles, statistics, width):
    chosen = encoder(statistics=statistics)
    found = chosen.encode(tiles)
    assert (found.shape, found.dtype) == ((11, width), np.float32)
    assert chosen.dimensions == width
    np.testing.assert_allclose(found, encoder().encode(tiles)[:, -width:], atol=1e-5)


def test_a_tile_has_the_features_that_it_has_alone(tiles):
    chosen = encoder()
    alone = np.concatenate([chosen.encode(tiles[n : n + 1]) for n in range(len(tiles))])
    np.testing.assert_allclose(chosen.encode(tiles), alone, atol=1e-4)
    assert chosen.encode(tiles[:0]).shape == (0, 1632)


def test_joined_features_are_those_of_both(tiles):
    joined = encoder("efficientnet-lite0+structure")
    structure = StructureBaseline(64, 0.5)
    found = joined.encode(tiles)
    np.testing.assert_array_equal(found[:, :1632], encoder().encode(tiles))
    np.testing.assert_array_equal(found[:, 1632:], structure.encode(tiles))
    assert joined.name == "efficientnet-lite0+structure"
    assert joined.dimensions == found.shape[1]


def test_the_digest_follows_whatever_changes_the_features(tmp_path):
    from safetensors.torch import save_file

    other = {name: tensor + 0.001 for name, tensor in weights.trunk_state().items()}
    save_file(other, tmp_path / "other.safetensors")
    digests = [
        encoder().digest,
        encoder(statistics="late").digest,
        encoder(read_px=48).digest,
        encoder(mpp=0.25).digest,
        encoder(weights=str(tmp_path / "other.safetensors")).digest,
        encoder("efficientnet-lite0+structure").digest,
    ]
    assert len(set(digests)) == len(digests)
    assert encoder().digest == digests[0]


def test_tiles_may_be_read_smaller_than_they_are_cut(tiles):
    small = encoder(read_px=32)
    assert small.encode(tiles).shape == (11, 1632)
    assert not np.allclose(small.encode(tiles), encoder().encode(tiles), atol=1e-2)
