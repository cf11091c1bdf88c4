"""Feature files of eight bits: half the size, an error of half a step, and the earlier layout still reads."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.pathology.features.eight_bits import EightBits
from offsite.pathology.features.file import (
    LAYOUTS,
    FeatureOrigin,
    SlideFeatures,
    is_fresh,
    read_features,
    read_origin,
    write_features,
)
from offsite.pathology.features.folders import read_any, read_header
from offsite.pathology.features.settings import FeatureSettings
from offsite.pathology.features.store import pack_features

ORIGIN = FeatureOrigin(
    tile_px=224, mpp=0.5, tile_size_level0=224.0, encoder="test", encoder_digest="e"
)


def slide_of(bits: int, rows: int = 400, seed: int = 0) -> SlideFeatures:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 64)) * rng.uniform(0.01, 30, 64) + rng.normal(size=64)
    features[:, 7] = 3.25  # a dimension that does not vary
    return SlideFeatures(
        features=features.astype(np.float16),
        coords=rng.integers(0, 5000, (rows, 2)),
        origin=ORIGIN.model_copy(update={"version": LAYOUTS[bits]}),
    )


def written(folder: Path, bits: int, rows: int = 400) -> Path:
    path = folder / f"s{bits}.h5"
    write_features(path, slide_of(bits, rows))
    return path


def test_eight_bits_take_half_the_disk_and_err_by_half_a_step(tmp_path: Path) -> None:
    whole, half = (written(tmp_path, bits, rows=2000) for bits in (16, 8))
    arrays = [path.stat().st_size - 2000 * 2 * 8 for path in (whole, half)]  # without coordinates
    assert arrays[1] < 0.55 * arrays[0]
    one, other = read_features(whole), read_features(half)
    assert other.features.dtype == np.float16
    wide = one.features.astype(np.float64)
    error = np.abs(other.features.astype(np.float64) - wide)
    # Half a step, and the rounding to float16.
    assert (error <= np.ptp(wide, axis=0) / 510 + np.abs(wide) / 1024 + 1e-6).all()
    assert (other.features[:, 7] == one.features[:, 7]).all()
    np.testing.assert_array_equal(one.coords, other.coords)


def test_what_is_read_is_kept_again_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, 8)
    first = read_features(path)
    write_features(path, first)
    assert read_features(path).digest() == first.digest() == read_origin(path)[1]


def test_both_layouts_are_packed_together_and_only_the_wanted_one_is_fresh(tmp_path: Path) -> None:
    whole, half = (written(tmp_path, bits) for bits in (16, 8))
    store = pack_features({"a": whole, "b": half})
    np.testing.assert_array_equal(store.rows(1), read_any(half).features)
    assert read_header(half).rows == 400
    wanted = {bits: ORIGIN.model_copy(update={"version": LAYOUTS[bits]}) for bits in (16, 8)}
    assert is_fresh(whole, wanted[16])
    assert not is_fresh(whole, wanted[8])
    assert is_fresh(half, wanted[8])
    assert not is_fresh(half, wanted[16])


def test_a_slide_without_tiles_is_kept(tmp_path: Path) -> None:
    assert read_features(written(tmp_path, 8, rows=0)).features.shape == (0, 64)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("step", np.ones(3, np.float32), "int8 'features' with a float32 'step'"),
        ("start", None, "int8 'features' with a float32 'step'"),
        ("step", np.full(64, np.inf, np.float32), "not finite"),
        ("features", np.zeros((400, 64), np.float16), "int8 'features'"),
        ("features", np.zeros((400, 64), np.int8), "not those that were written"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    tmp_path: Path, name: str, value: np.ndarray | None, words: str
) -> None:
    path = written(tmp_path, 8)
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value
    with pytest.raises(InputError, match=words):
        read_features(path)


def test_levels_use_the_whole_range() -> None:
    kept = EightBits.of(slide_of(8).features)
    assert kept.levels.min() == -128
    assert kept.levels.max() == 127


def test_eight_bits_are_of_offsites_own_features_alone() -> None:
    assert FeatureSettings.model_validate({"bits": 8}).bits == 8
    with pytest.raises(ValidationError, match="a folder is only read"):
        FeatureSettings.model_validate({"folder": "f", "encoder": {"label": "x"}, "bits": 8})
