import h5py
import numpy as np
import pytest
import torch

from offsite.errors import InputError
from offsite.pathology.features.folders import has_coordinates, read_any, read_header
from offsite.pathology.features.locating import locate
from offsite.pathology.features.store import pack_features

ROWS = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
COORDS = np.arange(18, dtype=np.int64).reshape(9, 2) * 256


def _h5(path, name, features, coords=None, coord_attributes=None, **attributes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[name] = features
        if coords is not None:
            file["coords"] = coords
            file["coords"].attrs.update(coord_attributes or {})
        file.attrs.update(attributes)
    return path


def _same(slide, coords=COORDS):
    np.testing.assert_array_equal(slide.features, ROWS.astype(np.float16))
    np.testing.assert_array_equal(slide.coords, coords)


def test_clam_h5_is_read_with_and_without_a_leading_axis(tmp_path):
    for name, features in (("a", ROWS), ("b", ROWS[None])):
        path = _h5(tmp_path / f"{name}.h5", "features", features, COORDS)
        _same(read_any(path))
        header = read_header(path)
        assert (header.layout, header.rows, header.dimensions) == ("clam", 9, 5)


def test_trident_h5_gives_the_tile_s_size_at_level_0(tmp_path):
    attributes = {"patch_size": 256, "patch_size_level0": 512, "target_magnification": 20}
    path = _h5(tmp_path / "a.h5", "features", ROWS, COORDS, attributes, encoder="uni_v1")
    header = read_header(path)
    assert (header.layout, header.origin.encoder) == ("trident", "uni_v1")
    assert (header.origin.tile_px, header.origin.tile_size_level0) == (256, 512.0)
    _same(read_any(path))


def test_stamp_coordinates_in_um_are_not_taken_for_pixels(tmp_path):
    path = _h5(
        tmp_path / "a.h5", "feats", ROWS.astype(np.float16), COORDS / 4.0, unit="um",
        tile_size_um=256.0, tile_size_px=224, extractor="chief-ctranspath", stamp_version="2.3",
    )  # fmt: skip
    header, slide = read_header(path), read_any(path)
    assert (header.layout, header.origin.encoder) == ("stamp", "chief-ctranspath")
    assert header.origin.mpp == pytest.approx(256 / 224)
    _same(slide, np.full((9, 2), -1))
    assert not has_coordinates(slide)


def test_clam_pt_takes_its_coordinates_from_the_h5_beside(tmp_path):
    (tmp_path / "pt_files").mkdir()
    torch.save(torch.tensor(ROWS), tmp_path / "pt_files" / "a.pt")
    _same(read_any(tmp_path / "pt_files" / "a.pt"), np.full((9, 2), -1))
    _h5(tmp_path / "h5_files" / "a.h5", "features", ROWS, COORDS)
    _same(read_any(tmp_path / "pt_files" / "a.pt"))


def test_a_pt_file_that_carries_code_is_refused_and_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"x": Hostile()}, tmp_path / "a.pt")
    with pytest.raises(InputError) as caught:
        read_any(tmp_path / "a.pt")
    assert caught.value.code == "bad_feature_file"
    assert not (tmp_path / "made").exists()


def test_slides_are_found_in_nested_folders_with_or_without_suffixes(tmp_path):
    nested = _h5(tmp_path / "20x" / "feats" / "x.y.h5", "features", ROWS, COORDS)
    (tmp_path / "pt_files").mkdir()
    torch.save(torch.tensor(ROWS), tmp_path / "pt_files" / "x.y.pt")
    assert locate(tmp_path, ["x.y", "gone"]) == {"x.y": nested}
    assert locate(tmp_path, ["x.y.svs"]) == {"x.y.svs": nested}
    assert locate(tmp_path, ["x.y.h5"]) == {"x.y.h5": nested}


def test_two_files_of_one_slide_are_not_chosen_between(tmp_path):
    _h5(tmp_path / "uni" / "a.h5", "features", ROWS)
    _h5(tmp_path / "conch" / "a.h5", "features", ROWS)
    with pytest.raises(InputError) as caught:
        locate(tmp_path, ["a"])
    assert caught.value.code == "two_feature_files"


def test_one_file_is_not_the_features_of_two_slides(tmp_path):
    shared = _h5(tmp_path / "S1.h5", "features", ROWS)
    assert locate(tmp_path, ["S1.svs"]) == {"S1.svs": shared}
    with pytest.raises(InputError, match=r"S1\.svs' and 'S1\.tif") as caught:
        locate(tmp_path, ["S1.svs", "S1.tif"])
    assert caught.value.code == "one_feature_file"
    shared.unlink()
    own = {f"S1{end}": _h5(tmp_path / f"S1{end}.h5", "features", ROWS) for end in (".svs", ".tif")}
    assert locate(tmp_path, own) == own


def test_coordinates_that_do_not_fit_the_features_are_refused_by_name(tmp_path):
    path = _h5(tmp_path / "a.h5", "features", ROWS, COORDS[:7])
    with pytest.raises(InputError, match=r"a\.h5.*7 coordinates for 9 tiles"):
        read_any(path)
    path = _h5(tmp_path / "b.h5", "features", ROWS, np.zeros((9, 3)))
    with pytest.raises(InputError, match=r"b\.h5.*\(9, 3\) are not N x 2"):
        read_any(path)
    (tmp_path / "pt_files").mkdir()
    torch.save(torch.tensor(ROWS), tmp_path / "pt_files" / "c.pt")
    _h5(tmp_path / "h5_files" / "c.h5", "features", ROWS[:8], COORDS[:8])
    with pytest.raises(InputError, match=r"h5_files/c\.h5.*8 coordinates for 9 tiles"):
        read_any(tmp_path / "pt_files" / "c.pt")


def test_a_kept_store_of_pt_files_loads_none_of_them(tmp_path, monkeypatch):
    load, mapped = torch.load, []

    def watched(*given, **named):
        mapped.append(named.get("mmap", False))
        return load(*given, **named)

    files = {"a": tmp_path / "a.PT", "b": tmp_path / "b.pt"}
    for file in files.values():
        torch.save(torch.tensor(ROWS), file)
    assert locate(tmp_path, ["a", "b"]) == files
    monkeypatch.setattr(torch, "load", watched)
    first = pack_features(files, tmp_path / "packed")
    assert mapped.count(False) == 2  # each once
    mapped.clear()
    np.testing.assert_array_equal(pack_features(files, tmp_path / "packed").rows(0), first.rows(0))
    assert all(mapped)
    torch.save(torch.tensor(ROWS), files["b"], _use_new_zipfile_serialization=False)
    assert read_header(files["b"]).rows == 9  # which cannot be mapped


def test_magnifications_are_not_mixed_and_an_unnamed_encoder_is_told_once(tmp_path, caplog):
    files = {}
    for slide, magnification in (("a", 20), ("b", 20), ("c", 10)):
        attributes = {"patch_size_level0": 512, "target_magnification": magnification}
        files[slide] = _h5(tmp_path / f"{slide}.h5", "features", ROWS, COORDS, attributes)
    with pytest.raises(InputError, match="20 and 10 x magnification") as caught:
        pack_features(files)
    assert caught.value.code == "mixed_tiles"
    caplog.clear()
    del files["c"]
    pack_features(files)
    assert [record.message.count("do not say which encoder") for record in caplog.records] == [1]


def test_features_that_float16_cannot_hold_are_refused(tmp_path):
    path = _h5(tmp_path / "a.h5", "features", ROWS * 1e6, COORDS)
    with pytest.raises(InputError, match="float16"):
        read_any(path)


def test_a_store_packs_a_foreign_folder(tmp_path):
    for name in "ab":
        _h5(tmp_path / f"{name}.h5", "features", ROWS, COORDS, {"patch_size_level0": 512})
    store = pack_features(locate(tmp_path, ["a", "b"]))
    assert store.offsets.tolist() == [0, 9, 18]
    np.testing.assert_array_equal(store.features[9:], ROWS.astype(np.float16))
