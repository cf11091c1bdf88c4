"""A folder of another tool's features against the slides of a table: what is used, and what is said."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from offsite.errors import InputError, InputErrors
from offsite.pathology.features.external import FeatureKind, look_through
from offsite.pathology.features.locating import located
from offsite.pathology.features.settings import ExternalEncoder, FeatureSettings
from offsite.pathology.features.store import pack_features
from tests.workflows.feature_folders import LABEL, LAYOUTS, WIDTH, bags, write

ENCODER = ExternalEncoder(label=LABEL)


def folder_of(root: Path, layout: str = "trident", slides: int = 8) -> dict[str, np.ndarray]:
    _, features = bags(slides)
    for slide, rows in features.items():
        write(root, layout, slide, rows)
    return features


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_recognised_and_holds_the_same_features(tmp_path: Path, layout: str) -> None:
    features = folder_of(tmp_path, layout)
    looked = look_through(tmp_path, features, ENCODER)
    assert looked.layouts == {layout: len(features)}
    assert looked.kind.dimensions == WIDTH
    assert not looked.faults
    store = pack_features(looked.files, kind=looked.kind)
    assert store.encoder == LABEL
    for number, rows in enumerate(features.values()):
        np.testing.assert_array_equal(store.rows(number), rows)
    has_pixels = layout in ("clam", "trident", "offsite")
    assert (store.coords >= 0).all() == has_pixels


def test_files_of_another_encoder_width_or_tiles_are_rows_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    features = folder_of(tmp_path, slides=12)
    named, wide, tiles, empty, cut, nan = list(features)[:6]
    for slide in (named, empty, cut):
        next(tmp_path.rglob(f"{slide}.h5")).unlink()
    write(tmp_path, "trident", named, features[named], encoder="virchow2")
    write(tmp_path, "trident", wide, np.zeros((4, 7), np.float16))
    write(tmp_path, "trident", empty, np.zeros((0, WIDTH), np.float16))
    with h5py.File(next(tmp_path.rglob(f"{tiles}.h5")), "a") as file:
        file["coords"].attrs["target_magnification"] = 10
    whole = write(tmp_path, "trident", cut, features[cut])
    whole.write_bytes(whole.read_bytes()[:700])
    with h5py.File(next(tmp_path.rglob(f"{nan}.h5")), "a") as file:
        file["features"][2, 3] = np.nan
    looked = look_through(tmp_path, features, ENCODER)
    assert {slide: code for slide, (code, _) in looked.faults.items()} == {
        named: "other_encoder", wide: "other_encoder", tiles: "other_tiles", empty: "no_tiles",
        cut: "bad_feature_file",
    }  # fmt: skip
    assert "virchow2" in looked.faults[named][1]
    assert "7 numbers wide" in looked.faults[wide][1]
    assert "10 x magnification" in looked.faults[tiles][1]
    store = pack_features(looked.files, tmp_path / "packed", looked.kind)
    assert list(store.left_out) == [nan]
    assert "not finite" in store.left_out[nan][1]
    assert list(store.slides) == list(features)[6:]
    for number, slide in enumerate(store.slides):
        np.testing.assert_array_equal(store.rows(number), features[slide])
    again = pack_features(looked.files, tmp_path / "packed", looked.kind)
    assert (again.slides, again.left_out, again.digest) == (store.slides, store.left_out, store.digest)  # fmt: skip
    np.testing.assert_array_equal(again.features, store.features)


def test_a_file_that_names_the_encoder_otherwise_is_taken_where_the_user_says_so(
    tmp_path: Path,
) -> None:
    _, features = bags(4)
    for slide, rows in features.items():
        write(tmp_path, "stamp", slide, rows, encoder="mahmood-uni2")
    with pytest.raises(InputError) as caught:
        look_through(tmp_path, features, ENCODER)
    assert caught.value.code == "other_encoder"
    assert "features.encoder.written_as: [mahmood-uni2]" in caught.value.remedy
    same = ExternalEncoder(label=LABEL, written_as=("mahmood-uni2",))
    assert look_through(tmp_path, features, same).kind.encoder.label == LABEL


def test_two_widths_that_nobody_can_choose_between_are_refused(tmp_path: Path) -> None:
    _, features = bags(6)
    for number, (slide, rows) in enumerate(features.items()):
        write(tmp_path, "clam", slide, rows[:, : WIDTH if number % 2 else 5])
    with pytest.raises(InputError, match="3 of 6 files") as caught:
        look_through(tmp_path, features, ENCODER)
    assert "features.encoder.dimensions" in caught.value.remedy


def test_names_that_do_not_meet_are_said_of_both_sides(tmp_path: Path) -> None:
    folder_of(tmp_path, "clam", slides=3)
    with pytest.raises(InputError) as caught:
        look_through(tmp_path, ["a", "b", "c", "d", "e"], ENCODER)
    assert caught.value.code == "no_match"
    assert "(a, b, c and 2 more)" in caught.value.problem
    assert "3 files of no slide (S0-00.h5, S0-01.h5, S0-02.h5)" in caught.value.problem
    with pytest.raises(InputError, match=r"3 of 6 slides of the table have no file here \(x, y, z\); 0 files") as caught:  # fmt: skip
        look_through(tmp_path, ["S0-00", "S0-01.svs", "S0-02", "x", "y", "z"], ENCODER)
    assert caught.value.code == "features_missing"
    looked = look_through(tmp_path, ["S0-00.h5", "S0-01.svs", "x"], ENCODER)
    assert list(looked.files) == ["S0-00.h5", "S0-01.svs"]
    assert looked.faults["x"][0] == "not_embedded"
    assert {path.name for path in looked.of_none} == {"S0-02.h5"}


def test_all_doubled_slides_and_shared_files_are_named_at_once(tmp_path: Path) -> None:
    features = folder_of(tmp_path, slides=3)
    for slide in list(features)[:2]:
        write(tmp_path, "trident", slide, features[slide], encoder="virchow2")
    with pytest.raises(InputErrors) as caught:
        look_through(tmp_path, [*features, "S0-02.svs"], ENCODER)
    assert [fault.code for fault in caught.value.faults] == [
        "two_feature_files", "two_feature_files", "one_feature_file",
    ]  # fmt: skip


def test_linked_folders_are_searched_once_and_end(tmp_path: Path) -> None:
    features = folder_of(tmp_path / "real", "clam", slides=2)
    here = tmp_path / "here"
    here.mkdir()
    (here / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(here)
    (here / ".hidden").mkdir()
    os.link(tmp_path / "real" / "h5_files" / "S0-00.h5", here / ".hidden" / "S0-00.h5")
    match = located(here, features)
    assert sorted(match.files) == sorted(features)
    assert not match.several


def test_folder_and_encoder_go_together() -> None:
    with pytest.raises(ValueError, match="needs its encoder named"):
        FeatureSettings(folder="x")
    with pytest.raises(ValueError, match="needs the folder"):
        FeatureSettings(encoder=ENCODER)
    kind = FeatureKind(ENCODER, 5, {"px a side": 256.0})
    assert FeatureKind.from_json(kind.to_json()) == kind


def test_features_of_a_whole_slide_are_not_taken_for_tiles(tmp_path: Path) -> None:
    _, features = bags(3)
    for slide, rows in features.items():
        path = write(tmp_path, "stamp", slide, rows)
        with h5py.File(path, "a") as file:
            file.attrs["feat_type"] = "slide"
    with pytest.raises(InputError, match="features of a slide, and not of its tiles"):
        look_through(tmp_path, features, ENCODER)
