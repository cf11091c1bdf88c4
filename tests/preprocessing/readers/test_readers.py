from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.uid import generate_uid

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.formats.photographs import PHOTOGRAPHS
from offsite.preprocessing.readers.building import GRADES, write_cohort
from offsite.preprocessing.readers.class_folders import left_out, read_class_folders
from offsite.preprocessing.readers.gdrbench import read_gdrbench
from offsite.preprocessing.readers.medmnist import read_medmnist
from offsite.preprocessing.slides.formats import FORMATS
from tests.workflows.dicom_files import write_dicom, write_dicom_slide


def picture(path, value=9):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 20, 3), value, np.uint8))


@pytest.fixture
def gdrbench(tmp_path):
    lists = {
        # the folder says moderate, the list mild: the list is right
        "IDRID_train": ["IDRID/pdr/IDRiD_001.jpg 4", "IDRID/moderate_npdr/IDRiD_001.jpg 1"],
        "IDRID_crossval": ["IDRID/nodr/IDRiD_002.JPG 0"],
        "EYEPACS_train": ["EYEPACS/Images/1_left.jpeg 0", "EYEPACS/Images/2_right.jpeg 3"],
        "EYEPACS_crossval": ["EYEPACS/Images/1_right.jpeg 2"],
        "DEEPDR_train": ["DEEPDR/nodr/347_l1.jpg 0", "DEEPDR/nodr/347_r2.jpg 1"],
    }
    (tmp_path / "splits").mkdir()
    for name, lines in lists.items():
        (tmp_path / f"splits/{name}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            picture(tmp_path / "images" / line.rsplit(" ", 1)[0])
    return tmp_path


def test_gdrbench_labels_come_from_the_lists_and_names_repeat_between_folders(gdrbench):
    table = read_gdrbench(gdrbench).table.set_index("image")
    assert table.loc["images/IDRID/moderate_npdr/IDRiD_001.jpg", "label"] == "mild"
    assert table.loc["images/IDRID/pdr/IDRiD_001.jpg", "label"] == "proliferative"
    assert table["slide"].is_unique


def test_gdrbench_patients_and_eyes_come_from_file_names_where_they_tell(gdrbench):
    table = read_gdrbench(gdrbench).table.set_index("image")
    left = table.loc["images/EYEPACS/Images/1_left.jpeg"]
    right = table.loc["images/EYEPACS/Images/1_right.jpeg"]
    assert left["patient"] == right["patient"] == "EYEPACS-1"
    assert (left["eye"], right["eye"]) == ("left", "right")
    assert (left["split"], right["split"]) == ("train", "val")
    deep = table[table["site"] == "DEEPDR"]
    assert deep["patient"].nunique() == 1
    idrid = table[table["site"] == "IDRID"]
    assert idrid["patient"].is_unique


def test_a_held_out_site_of_gdrbench_is_test_throughout(gdrbench):
    table = read_gdrbench(gdrbench, held_out=("EYEPACS",)).table
    assert set(table.loc[table["site"] == "EYEPACS", "split"]) == {"test"}
    with pytest.raises(InputError) as error:
        read_gdrbench(gdrbench, held_out=("DDR",))
    assert error.value.code == "unknown_site"


@pytest.mark.parametrize("line", ["IDRID/a.jpg", "IDRID/a.jpg 7", "../a.jpg 1", "/a.jpg 1"])
def test_a_bad_line_is_named_with_its_row(gdrbench, line):
    (gdrbench / "splits/IDRID_train.txt").write_text(f"IDRID/nodr/x.jpg 0\n{line}\n")
    with pytest.raises(InputError) as error:
        read_gdrbench(gdrbench)
    assert (error.value.code, error.value.row) == ("bad_line", 2)


def test_a_written_cohort_is_read_back_from_another_place(gdrbench, tmp_path):
    read = read_gdrbench(gdrbench, held_out=("EYEPACS",))
    file = write_cohort(read, tmp_path / "elsewhere/deep/cohort.csv")
    loaded = load_cohort(file, GRADES)
    assert loaded.table["label"].tolist() == read.table["label"].tolist()
    assert all(path.is_file() for path in loaded.image_paths())


def test_a_cohort_is_written_as_parquet_where_the_name_says_so(gdrbench, tmp_path):
    read = read_gdrbench(gdrbench, held_out=("EYEPACS",))
    loaded = load_cohort(write_cohort(read, tmp_path / "cohort.parquet"), GRADES)
    assert loaded.table["patient"].tolist() == read.table["patient"].tolist()


def test_class_folders_name_site_label_and_patient(tmp_path):
    for name in ("north/mild/7_a.png", "north/mild/7_b.png", "south/none/9_a.JPG"):
        picture(tmp_path / name)
    (tmp_path / "north/mild/notes.txt").write_text("no image")
    (tmp_path / "north/mild/._7_a.png").write_bytes(b"what a Mac leaves")
    cohort = read_class_folders(tmp_path, ["none", "mild"], patient_pattern=r"^(\d+)_")
    assert cohort.classes == ("none", "mild")
    assert cohort.table["patient"].tolist() == ["north-7", "north-7", "south-9"]
    assert cohort.table["site"].tolist() == ["north", "north", "south"]
    load_cohort(write_cohort(cohort, tmp_path / "cohort.csv"), cohort.classes)


def test_class_folders_of_one_site_and_without_a_pattern(tmp_path):
    picture(tmp_path / "b/1.png")
    picture(tmp_path / "a/1.png")
    cohort = read_class_folders(tmp_path, site="only")
    assert cohort.classes == ("a", "b")
    assert cohort.table["patient"].is_unique


def test_class_folders_take_all_that_can_be_read_and_a_slide_of_several_files_once(tmp_path):
    """Whatever the list of formats holds, the reader takes."""
    ends = {end for kind in (*PHOTOGRAPHS.values(), *FORMATS.values()) for end in kind.suffixes}
    folder, beside = tmp_path / "site" / "mild", tmp_path / "site" / "severe"
    folder.mkdir(parents=True)
    for number, end in enumerate(sorted(ends)):
        (folder / f"{number:02}{end.upper() if number % 2 else end}").write_bytes(b"content")
    first = write_dicom_slide(
        beside,
        [np.zeros((480, 480, 3), np.uint8), np.zeros((240, 240, 3), np.uint8)],
        0.5,
        jpeg=False,
    )
    grey, series = bytes(3 * 16 * 16), generate_uid()
    for name in ("left", "right"):  # of one visit
        write_dicom(beside / f"{name}.dcm", (16, 16), grey, SeriesInstanceUID=series)
    for name in ("scan.vms", "scan(0,0).jpg", "scan_map2.jpg"):
        (beside / name).write_bytes(b"content")
    (beside / "notes.heic").write_bytes(b"content")
    images = read_class_folders(tmp_path).table["image"]
    assert {Path(name).suffix.lower() for name in images} == ends
    assert [Path(name).name for name in images if "severe" in name] == sorted(
        [first.name, "left.dcm", "right.dcm", "scan.vms"]
    )
    assert dict(left_out(tmp_path)) == {".heic": 1}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"classes": ["other"]}, "unknown_class"),
        ({"patient_pattern": "("}, "bad_pattern"),
        ({"patient_pattern": "x"}, "bad_pattern"),
    ],
)
def test_class_folders_refuse_what_they_cannot_use(tmp_path, arguments, code):
    picture(tmp_path / "site/mild/1.png")
    with pytest.raises(InputError) as error:
        read_class_folders(tmp_path, **arguments)
    assert error.value.code == code


@pytest.mark.parametrize("other", ["north/Mild", "North/mild"])
def test_class_folders_refuse_a_site_or_class_in_two_spellings(tmp_path, other):
    for number, folder in enumerate(("north/mild", other)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        picture(tmp_path / folder / f"{number}.png")
    with pytest.raises(InputError) as refused:
        read_class_folders(tmp_path)
    assert refused.value.code == "two_spellings"
    named = {"north/Mild": ["mild", "Mild"], "North/mild": ["mild"]}[other]
    if other == "north/Mild":  # whoever names both means both
        assert read_class_folders(tmp_path, named).classes == ("mild", "Mild")


def test_what_class_folders_hold_beside_images_is_counted(tmp_path):
    picture(tmp_path / "n/a/1.png")
    picture(tmp_path / "n/b/4.png")
    others = ("a/2.HEIC", "a/3.heic", "a/.DS_Store", "b/notes")
    for name in (*others, "a/5.mrxs", "a/5/Data0001.dat", "b/deeper/6.png"):
        (tmp_path / "n" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "n" / name).write_bytes(b"")
    wanted = {".heic": 2, "hidden files": 1, "no ending": 1, "folders": 1}
    assert left_out(tmp_path) == wanted
    assert left_out(tmp_path / "n", site="n") == wanted
    assert len(read_class_folders(tmp_path).table) == 3


def test_class_folders_hold_slides_of_several_formats(tmp_path):
    (tmp_path / "site/tumour").mkdir(parents=True)
    for name in ("a.svs", "b.NDPI", "c.tiff", "d.mrxs"):
        (tmp_path / "site/tumour" / name).touch()
    table = read_class_folders(tmp_path).table
    assert table["slide"].str[-1].tolist() == ["a", "b", "c", "d"]


def test_class_folders_refuse_names_in_which_the_pattern_finds_no_patient(tmp_path):
    for name in ("17_left.png", "0017 right.png", "_x.png"):
        picture(tmp_path / "site/mild" / name)
    with pytest.raises(InputErrors) as error:
        read_class_folders(tmp_path, patient_pattern=r"^(\d+)?_")
    assert [fault.code for fault in error.value.faults] == ["no_patient"] * 2
    assert [Path(fault.file).name for fault in error.value.faults] == ["0017 right.png", "_x.png"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError) as error:
        read_class_folders(tmp_path)
    assert error.value.code == "no_images"


def medmnist(path, **changes):
    generator = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 4), ("val", 2), ("test", 3)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (n, 28, 28, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(n).reshape(-1, 1) % 3
    np.savez(path, **{**arrays, **changes})
    return arrays


def test_medmnist_keeps_pixels_labels_and_splits(tmp_path):
    arrays = medmnist(tmp_path / "m.npz")
    cohort = read_medmnist(tmp_path / "m.npz", tmp_path / "out", ["x", "y", "z"])
    assert cohort.table["split"].value_counts().to_dict() == {"train": 4, "val": 2, "test": 3}
    assert cohort.table["label"].tolist()[:4] == ["x", "y", "z", "x"]
    first = cv2.imread(str(cohort.image_paths()[0]))[..., ::-1]
    assert np.array_equal(first, arrays["train_images"][0])
    loaded = load_cohort(write_cohort(cohort, tmp_path / "out/cohort.csv"), cohort.classes)
    assert loaded.sites == ("m",)


def test_medmnist_images_of_another_file_are_not_taken_for_this_ones(tmp_path):
    medmnist(tmp_path / "one.npz")
    grey = {f"{split}_images": np.full((n, 28, 28), 7, np.uint8)
            for split, n in (("train", 4), ("val", 2), ("test", 3))}  # fmt: skip
    medmnist(tmp_path / "other.npz", **grey)
    for _ in range(2):
        read_medmnist(tmp_path / "one.npz", tmp_path / "out", ["x", "y", "z"])
        read_medmnist(tmp_path / "other.npz", tmp_path / "grey", ["x", "y", "z"])
    with pytest.raises(InputError) as error:
        read_medmnist(tmp_path / "other.npz", tmp_path / "out", ["x", "y", "z"])
    assert error.value.code == "other_images"


@pytest.mark.parametrize(
    "changes",
    [
        {"train_labels": np.array([[0, 1]] * 4)},
        {"train_images": np.zeros((4, 28, 28, 3), np.float32)},
        {"train_labels": np.array([[7]] * 4)},
        {"val_labels": np.array(["x", object()], dtype=object)},
    ],
)
def test_medmnist_files_of_another_kind_are_refused(tmp_path, changes):
    medmnist(tmp_path / "m.npz", **changes)
    with pytest.raises(InputError) as error:
        read_medmnist(tmp_path / "m.npz", tmp_path / "out", ["x", "y", "z"])
    assert error.value.code == "not_medmnist"


def test_the_real_retinamnist_has_its_published_counts(real_data, tmp_path):
    cohort = read_medmnist(real_data / "medmnist/retinamnist.npz", tmp_path, GRADES)
    train = cohort.table[cohort.table["split"] == "train"]["label"].value_counts()
    assert train.reindex(GRADES).tolist() == [486, 128, 206, 194, 66]
