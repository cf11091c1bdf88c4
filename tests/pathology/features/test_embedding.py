import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from offsite.files import temporary_prefix
from offsite.pathology.features.embedding import (
    EMBEDDED,
    FAILED,
    NO_TILES,
    embed_cohort,
    encode_slide,
)
from offsite.pathology.features.file import feature_path, read_features
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.preprocessing.tiles.reading import read_tile
from offsite.preprocessing.tiles.table import TileSettings, load_tiles
from offsite.preprocessing.tiles.tiling import tile_cohort

TILES = TileSettings(tile_px=96, mpp=1.0)
ENCODER = EncoderSettings(name="structure_baseline", tile_px=96, mpp=1.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two slides of coloured noise on glass, one of glass alone, one that is no slide."""
    root = tmp_path_factory.mktemp("slides")
    for number in range(2):
        rng = np.random.default_rng(number)
        image = np.full((800, 900, 3), 242, np.uint8)
        tissue = np.array([170, 90, 160]) + rng.normal(0, 30, (560, 640, 3))
        image[100:660, 100:740] = np.clip(tissue, 0, 255)
        write_slide(root / f"s{number}.svs", image, mpp=0.5)
    write_slide(root / "glass.svs", np.full((600, 600, 3), 242, np.uint8), mpp=0.5)
    (root / "bad.svs").write_bytes(b"no slide")
    names = ["s0", "s1", "glass", "bad"]
    table = pd.DataFrame(
        {
            "image": [f"{name}.svs" for name in names], "slide": names, "patient": names,
            "site": "east", "label": "", "mpp": np.nan,
        }
    )  # fmt: skip
    cohort = Cohort(table=table, classes=("a", "b"), path=root / "cohort.csv")
    tile_cohort(cohort, root, TILES)
    return cohort


@pytest.fixture(scope="module")
def embedded(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("features")
    return out, embed_cohort(cohort, cohort.path.parent, out, ENCODER, workers=2)


def test_every_slide_has_a_row_with_status_and_message(embedded, cohort):
    out, rows = embedded
    assert rows["slide"].tolist() == ["s0", "s1", "glass", "bad"]
    assert rows["status"].tolist() == [EMBEDDED, EMBEDDED, NO_TILES, FAILED]
    assert (rows["tiles"] > 0).tolist() == [True, True, False, False]
    assert rows["code"].tolist()[2:] == ["no_tissue", "slide_failed"]
    assert all(rows["message"][2:])
    written = pd.read_csv(out / "features.csv", keep_default_na=False)
    assert written["status"].tolist() == rows["status"].tolist()
    assert sorted(path.name for path in out.glob("*.h5")) == ["s0.h5", "s1.h5"]


def test_features_are_those_of_the_tiles_read_one_by_one(embedded, cohort):
    out, _ = embedded
    found = read_features(feature_path(out, "s0"))
    tiles = load_tiles(cohort.path.parent, "s0")
    np.testing.assert_array_equal(found.coords, tiles.kept()[["x", "y"]].to_numpy())
    encoder = load_encoder(ENCODER)
    with open_slide(cohort.path.parent / "s0.svs") as slide:
        pixels = [read_tile(slide, tiles.record, int(x), int(y)) for x, y in found.coords]
    np.testing.assert_array_equal(
        found.features, encoder.encode(np.stack(pixels)).astype(np.float16)
    )
    assert found.origin.tile_size_level0 == 192
    assert found.origin.slide_fingerprint == tiles.record.fingerprint


def test_in_memory_and_on_disk_features_are_the_same(embedded, cohort):
    image = cohort.path.parent / "s1.svs"
    tiles = load_tiles(cohort.path.parent, "s1")
    memory = encode_slide(image, tiles, load_encoder(ENCODER), threads=2)
    disk = read_features(feature_path(embedded[0], "s1"))
    assert memory.digest() == disk.digest()
    assert memory.origin == disk.origin


def test_only_stale_slides_are_embedded_again(cohort, tmp_path):
    root = cohort.path.parent
    embed_cohort(cohort, root, tmp_path, ENCODER)
    stamps = {name: (tmp_path / f"{name}.h5").stat().st_mtime_ns for name in ("s0", "s1")}
    (tmp_path / "s1.h5").write_bytes(b"cut off")
    embed_cohort(cohort, root, tmp_path, ENCODER)
    assert (tmp_path / "s0.h5").stat().st_mtime_ns == stamps["s0"]
    assert (tmp_path / "s1.h5").stat().st_mtime_ns != stamps["s1"]
    read_features(tmp_path / "s1.h5")
    other = ENCODER.model_copy(update={"mpp": 1.05})  # within tolerance, yet another encoder
    embed_cohort(cohort, root, tmp_path, other)
    assert (tmp_path / "s0.h5").stat().st_mtime_ns != stamps["s0"]


@pytest.mark.parametrize("place", [0, 0.4, 0.6])
def test_a_file_whose_signature_or_numbers_changed_by_a_bit_is_made_anew(
    cohort, embedded, tmp_path, place
):
    out = tmp_path / "features"
    shutil.copytree(embedded[0], out)
    file = feature_path(out, "s0")
    wanted = file.read_bytes()
    damaged = bytearray(wanted)
    damaged[int(place * (len(wanted) - 1))] ^= 1
    file.write_bytes(damaged)
    embed_cohort(cohort, cohort.path.parent, out, ENCODER, workers=1)
    assert np.array_equal(
        read_features(file).features, read_features(embedded[0] / "s0.h5").features
    )


def test_the_file_of_another_tool_stays_where_one_of_ours_was(cohort, embedded, tmp_path):
    out = tmp_path / "features"
    shutil.copytree(embedded[0], out)
    file = feature_path(out, "s0")
    file.unlink()
    with h5py.File(file, "w") as other:
        other["features"] = np.ones((4, 8), np.float32)
        other["coords"] = np.zeros((4, 2), np.int64)
        other["coords"].attrs["patch_size_level0"] = 512
    before = file.read_bytes()
    rows = embed_cohort(cohort, cohort.path.parent, out, ENCODER, workers=1)
    assert file.read_bytes() == before
    assert rows.loc[rows["slide"] == "s0", "code"].tolist() == ["not_ours"]


def test_parts_together_are_the_whole(embedded, cohort, tmp_path):
    for number in (1, 2):
        embed_cohort(cohort, cohort.path.parent, tmp_path, ENCODER, part=(number, 2))
    rows = pd.concat(
        [pd.read_csv(tmp_path / f"features.part-{number}-of-2.csv") for number in (1, 2)]
    )
    assert sorted(rows["slide"]) == ["bad", "glass", "s0", "s1"]
    for name in ("s0", "s1"):
        one, other = (read_features(feature_path(out, name)) for out in (tmp_path, embedded[0]))
        assert one.digest() == other.digest()


def test_tiles_of_another_scale_fail_by_name_and_leave_no_features(cohort, tmp_path):
    rows = embed_cohort(
        cohort, cohort.path.parent, tmp_path, EncoderSettings(name="structure_baseline", mpp=0.5)
    )
    assert rows["code"].tolist()[:2] == ["scale", "scale"]
    assert not list(tmp_path.glob("*.h5"))


def test_a_real_slide_is_embedded(real_data, tmp_path):
    table = pd.DataFrame(
        {
            "image": ["CMU-1-Small-Region.svs"], "slide": ["cmu"], "patient": ["p"],
            "site": ["cmu"], "label": [""], "mpp": [np.nan],
        }
    )  # fmt: skip
    cohort = Cohort(table=table, classes=("a", "b"), path=real_data / "wsi" / "cohort.csv")
    tile_cohort(cohort, tmp_path, TileSettings())
    rows = embed_cohort(
        cohort, tmp_path, tmp_path / "features", EncoderSettings(name="structure_baseline")
    )
    assert rows["status"].tolist() == [EMBEDDED]
    found = read_features(feature_path(tmp_path / "features", "cmu"))
    assert 20 < len(found.features) == rows["tiles"][0]
    assert np.isfinite(found.features).all()


def test_what_a_killed_run_left_behind_goes(cohort, tmp_path):
    """A file half written goes with the next call, and nothing else does."""
    half = [tmp_path / f"{temporary_prefix(name)}ab12.tmp" for name in ("s0.h5", "features.csv")]
    others = [tmp_path / ".s0.h5.notes", tmp_path / ".another.h5.ab12.tmp"]
    for file in half + others:
        file.write_bytes(b"half")
    embed_cohort(cohort, cohort.path.parent, tmp_path, ENCODER)
    assert not any(file.exists() for file in half)
    assert all(file.exists() for file in others)


def test_features_of_16_bits_are_kept_in_8_without_opening_the_slide(
    embedded, cohort, tmp_path, monkeypatch
):
    out, rows = tmp_path / "features", embedded[1]
    shutil.copytree(embedded[0], out)
    whole = {name: read_features(feature_path(out, name)) for name in ("s0", "s1")}
    with monkeypatch.context() as closed:
        closed.setattr("offsite.pathology.features.embedding.encode_slide", None)
        again = embed_cohort(cohort, cohort.path.parent, out, ENCODER, bits=8)
    assert again["tiles"].tolist() == rows["tiles"].tolist()
    for name, before in whole.items():
        kept = read_features(feature_path(out, name))
        assert kept.origin.version == 2
        step = np.ptp(before.features.astype(np.float32), axis=0) / 255
        np.testing.assert_array_less(
            np.abs(kept.features.astype(np.float32) - before.features.astype(np.float32)),
            step / 2 + np.abs(before.features.astype(np.float32)) / 1000 + 1e-6,
        )
    embed_cohort(cohort, cohort.path.parent, out, ENCODER)
    assert read_features(feature_path(out, "s0")).digest() == whole["s0"].digest()
