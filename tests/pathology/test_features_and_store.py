import importlib.util
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from offsite.errors import InputError
from offsite.files import write_json
from offsite.pathology.features.file import (
    SlideFeatures,
    is_fresh,
    read_features,
    read_origin,
    write_features,
)
from offsite.pathology.features.store import pack_features

_spec = importlib.util.spec_from_file_location(
    "bag_helpers", Path(__file__).with_name("test_bags.py")
)
helpers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(helpers)


def _slide(rows=4, **changes):
    features = np.arange(rows * 3, dtype=np.float16).reshape(rows, 3)
    coords = np.arange(rows * 2, dtype=np.int64).reshape(rows, 2)
    return SlideFeatures(features=features, coords=coords, origin=helpers.origin(**changes))


def test_a_feature_file_reads_back_as_written(tmp_path):
    path = tmp_path / "a.h5"
    write_features(path, _slide(slide_fingerprint="f", bounds_x=7))
    found = read_features(path)
    np.testing.assert_array_equal(found.features, _slide().features)
    np.testing.assert_array_equal(found.coords, _slide().coords)
    assert found.origin == helpers.origin(slide_fingerprint="f", bounds_x=7)
    with h5py.File(path) as file:
        assert (file["features"].chunks, file["features"].compression) == (None, None)


def test_a_file_is_fresh_only_for_what_it_was_made_from(tmp_path):
    path = tmp_path / "a.h5"
    assert not is_fresh(path, helpers.origin())
    write_features(path, _slide())
    assert is_fresh(path, helpers.origin())
    for change in ({"encoder_digest": "x"}, {"tiles_digest": "x"}, {"slide_fingerprint": "x"}):
        assert not is_fresh(path, helpers.origin(**change))


def test_a_cut_file_is_refused_by_name(tmp_path):
    path = tmp_path / "a.h5"
    write_features(path, _slide(200))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"a\.h5") as caught:
        read_features(path)
    assert caught.value.code == "bad_feature_file"


def test_one_changed_bit_is_refused_by_name_and_is_not_fresh(tmp_path):
    path = tmp_path / "a.h5"
    slide = _slide(200)
    write_features(path, slide)
    data = bytearray(path.read_bytes())
    place = data.index(slide.features[:50].tobytes())
    data[place + 9] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.h5.*offsite workflow embed") as caught:
        read_features(path)
    assert caught.value.code == "bad_feature_file"
    assert not is_fresh(path, slide.origin)


def test_numbers_that_are_not_finite_are_never_written(tmp_path):
    slide = _slide()
    slide.features[0, 0] = np.inf
    with pytest.raises(ValueError, match="finite"):
        write_features(tmp_path / "a.h5", slide)
    assert list(tmp_path.iterdir()) == []


def test_the_digest_of_a_file_follows_its_content(tmp_path):
    write_features(tmp_path / "a.h5", _slide(4))
    write_features(tmp_path / "b.h5", _slide(5))
    digests = [read_origin(tmp_path / name)[1] for name in ("a.h5", "b.h5")]
    assert digests[0] == _slide(4).digest()
    assert digests[0] != digests[1]


def test_resident_and_mapped_stores_hold_the_same_rows(tmp_path):
    files = helpers.write_slides(tmp_path)
    resident, mapped = pack_features(files), pack_features(files, tmp_path / "packed")
    assert isinstance(mapped.features, np.memmap)
    assert resident.digest == mapped.digest
    np.testing.assert_array_equal(resident.features, mapped.features)
    np.testing.assert_array_equal(resident.coords, mapped.coords)
    np.testing.assert_array_equal(mapped.rows(1, np.array([4, 9])), mapped.rows(1)[[4, 9]])
    for slide, path in files.items():
        np.testing.assert_array_equal(
            resident.rows(resident.index(slide)), read_features(path).features
        )


def test_a_mapped_store_is_packed_again_only_when_a_file_changed(tmp_path):
    files = helpers.write_slides(tmp_path)
    packed = tmp_path / "packed"
    first = pack_features(files, packed)
    (rows,) = packed.glob("features-*.npy")
    stamp = rows.stat().st_mtime_ns
    assert pack_features(files, packed).digest == first.digest
    assert rows.stat().st_mtime_ns == stamp
    helpers.write_slides(tmp_path, seed=1)
    changed = pack_features(files, packed)
    assert changed.digest != first.digest
    np.testing.assert_array_equal(changed.rows(2), read_features(files["s2"]).features)
    assert len(list(packed.iterdir())) == 3  # rows, coordinates and record of one store


def test_a_cut_packed_array_is_packed_again(tmp_path):
    files = helpers.write_slides(tmp_path)
    whole = pack_features(files, tmp_path / "packed").features.copy()
    (rows,) = (tmp_path / "packed").glob("features-*.npy")
    rows.write_bytes(rows.read_bytes()[:-10])
    np.testing.assert_array_equal(pack_features(files, tmp_path / "packed").features, whole)


def test_two_processes_that_pack_into_one_folder_never_mix_their_stores(tmp_path, monkeypatch):
    """Before one writes its record, another has written its arrays, of more slides, and died."""
    files = helpers.write_slides(tmp_path)
    some = dict(list(files.items())[1:])
    packed = tmp_path / "packed"

    class Killed(BaseException):
        pass

    def dies(path, value):
        raise Killed

    def another_comes_between(path, value):
        monkeypatch.setattr("offsite.pathology.features.store.write_json", dies)
        with pytest.raises(Killed):
            pack_features(files, packed)
        write_json(path, value)

    monkeypatch.setattr("offsite.pathology.features.store.write_json", another_comes_between)
    one = pack_features(some, packed)
    monkeypatch.undo()
    for store in (one, pack_features(some, packed)):
        for slide, path in some.items():
            expected = read_features(path)
            number = store.index(slide)
            np.testing.assert_array_equal(store.rows(number), expected.features)
            np.testing.assert_array_equal(store.slide_coords(number), expected.coords)
    pack_features(files, packed)  # takes the place of the first, which stays mapped
    np.testing.assert_array_equal(one.rows(0), read_features(some["s1"]).features)


def test_features_of_two_encoders_are_not_mixed(tmp_path):
    files = helpers.write_slides(tmp_path)
    write_features(files["s1"], _slide(encoder_digest="other"))
    with pytest.raises(InputError) as caught:
        pack_features(files)
    assert caught.value.code == "mixed_encoders"


@pytest.mark.parametrize(
    ("change", "words"),
    [({"tile_px": 512}, "224 and 512 px"), ({"mpp": 1.0}, "0.5 and 1 um per px")],
)
def test_features_of_two_kinds_of_tiles_are_not_mixed(tmp_path, change, words):
    files = helpers.write_slides(tmp_path)
    first = read_features(files["s0"])
    origin = first.origin.model_copy(update=change)
    write_features(files["s1"], replace(first, origin=origin))
    with pytest.raises(InputError, match=words) as caught:
        pack_features(files)
    assert caught.value.code == "mixed_tiles"
    assert "'s0' and 's1'" in str(caught.value)
    nearly = first.origin.model_copy(update={"mpp": first.origin.mpp * 1.15})
    write_features(files["s1"], replace(first, origin=nearly))
    assert pack_features(files).counts[1] == len(first.features)


def test_a_damaged_part_of_a_file_is_refused_by_name(tmp_path):
    path = tmp_path / "a.h5"
    rows = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float16)
    for again in ("Extract the features", "offsite workflow embed"):
        with h5py.File(path, "w") as file:
            file.create_dataset("features", data=rows, compression="gzip", chunks=(40, 8))
            file["coords"] = np.zeros((400, 2), np.int64)
            place = file["features"].id.get_chunk_info(3).byte_offset
            if again == "offsite workflow embed":
                file.attrs.update(helpers.origin().model_dump())
        data = bytearray(path.read_bytes())
        data[place : place + 40] = bytes(40)
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"a\.h5.*{again}") as caught:
            pack_features({"a": path})
        assert caught.value.code == "bad_feature_file"
