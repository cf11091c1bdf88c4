import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from offsite.children.pool import HERE
from offsite.preprocessing.cohort.audit import audit_cohort, label_shift
from offsite.preprocessing.cohort.near_duplicates import joined_groups, near_pairs, signature
from offsite.preprocessing.cohort.strict_splits import strict_cohort
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.readers.building import GRADES, cohort_of, write_cohort
from offsite.preprocessing.readers.gdrbench import read_gdrbench
from offsite.preprocessing.readers.pictures import are_slides as slides_in
from offsite.preprocessing.readers.pictures import fault_of_slide, nuisances_of, pixels_of
from offsite.preprocessing.slides.opening import are_slides
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, CameraProfile
from offsite.preprocessing.synthetic.slides.writing import write_slide
from tests.workflows.dicom_files import write_dicom


def write(path, seed, grade=2, camera=CLINICS[0].camera, px=128, quality=95):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = make_photograph(seed, grade, camera, px=px)
    cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def cohort(folder, rows):
    table = [
        dict(zip(("image", "patient", "site", "label", "split"), r, strict=True)) for r in rows
    ]
    for row in table:
        row["slide"] = row["image"].replace("/", "-").rsplit(".", 1)[0]
    return cohort_of(table, GRADES, folder, "test")


@pytest.fixture
def faulty(tmp_path):
    for name, seed in (("a/1", 1), ("a/2", 2), ("a/3", 3), ("b/4", 4), ("b/5", 5), ("b/6", 6)):
        write(tmp_path / f"{name}.jpg", seed)
    shutil.copy(tmp_path / "a/1.jpg", tmp_path / "a/1copy.jpg")
    shutil.copy(tmp_path / "a/2.jpg", tmp_path / "b/2copy.jpg")
    write(tmp_path / "b/4again.jpg", 4, quality=60)
    (tmp_path / "b/broken.jpg").write_bytes(b"no picture")
    return cohort(
        tmp_path,
        [
            ("a/1.jpg", "p1", "a", "none", "train"),
            ("a/1copy.jpg", "p2", "a", "severe", "test"),
            ("a/2.jpg", "p3", "a", "mild", "train"),
            ("b/2copy.jpg", "p4", "b", "mild", "train"),
            ("a/3.jpg", "p5", "a", "mild", "train"),
            ("b/4.jpg", "p6", "b", "mild", "train"),
            ("b/4again.jpg", "p7", "b", "mild", "val"),
            ("b/5.jpg", "p8", "b", "none", "train"),
            ("b/6.jpg", "p8", "b", "none", "test"),
            ("b/broken.jpg", "p9", "b", "none", "train"),
        ],
    )


def found(audit, kind):
    return {finding.rows for finding in audit.findings if finding.kind == kind}


def test_the_audit_finds_each_fault_that_was_put_in_and_no_other(faulty):
    audit = audit_cohort(faulty, workers=1)
    assert found(audit, "identical") == {(0, 1), (2, 3)}
    assert found(audit, "near_identical") == {(5, 6)}
    assert found(audit, "conflicting_labels") == {(0, 1)}
    assert found(audit, "leak") == {(0, 1), (2, 3), (5, 6)}
    assert found(audit, "straddling_patient") == {(7, 8)}
    assert not found(audit, "two_names")
    assert found(audit, "unreadable") == {(9,)}
    assert audit.findings[0].severity == "error"
    assert "1copy.jpg" in audit.table(faulty)["images"].str.cat()


def test_strict_drops_what_cannot_be_trusted_and_leaves_no_error(faulty):
    audit = audit_cohort(faulty, workers=1)
    clean, report = strict_cohort(faulty, audit)
    kept = set(clean.table["image"])
    assert {"a/1.jpg", "a/1copy.jpg"}.isdisjoint(kept)
    assert ("a/2.jpg" in kept) != ("b/2copy.jpg" in kept)
    assert "b/4again.jpg" in kept  # validation is guarded before training
    assert "b/4.jpg" not in kept
    moved = report[report["change"] == "moved"]
    assert moved["image"].tolist() == ["b/5.jpg"]
    again = audit_cohort(clean, workers=1)
    left = {f.kind for f in again.findings if f.severity == "error"}
    assert left <= {"unreadable"}


def test_an_image_of_two_sites_stays_at_the_smaller(faulty):
    clean, _ = strict_cohort(faulty, audit_cohort(faulty, workers=1))
    assert "a/2.jpg" in set(clean.table["image"])


def test_one_image_under_two_names_makes_one_person_of_one_split_and_one_site(tmp_path):
    for number in range(6):
        write(tmp_path / f"{number}.jpg", number + 20)
    shutil.copy(tmp_path / "0.jpg", tmp_path / "0copy.jpg")
    shutil.copy(tmp_path / "2.jpg", tmp_path / "2copy.jpg")
    rows = [
        ("0.jpg", "p1", "a", "none", "train"),
        ("1.jpg", "p1", "a", "none", "train"),  # p1 and P01 are one person
        ("0copy.jpg", "P01", "a", "none", "test"),
        ("2.jpg", "P01", "a", "none", "test"),  # who was at b, too
        ("2copy.jpg", "q7", "b", "none", "train"),
        ("3.jpg", "q7", "b", "none", "train"),
        *((f"{number}.jpg", f"q{number}", "b", "none", "train") for number in (4, 5)),
    ]
    known = cohort(tmp_path, rows)
    assert found(audit_cohort(known, workers=1), "two_names") == {(0, 2), (3, 4)}
    clean, report = strict_cohort(known, audit_cohort(known, workers=1))
    by_image = clean.table.set_index("image")
    assert set(by_image.index) == {"1.jpg", "0copy.jpg", "2.jpg", "4.jpg", "5.jpg"}
    person = by_image.loc[["1.jpg", "0copy.jpg", "2.jpg"]]
    assert person["patient"].nunique() == 1
    assert set(person["split"]) == {"test"}
    changes = report.set_index("image")
    assert changes.loc["3.jpg", "reason"] == "another image shows that this person is at a too"
    assert changes[changes["change"] == "renamed"].index.tolist() == ["0copy.jpg", "2.jpg"]
    written = write_cohort(clean, tmp_path / "clean.csv")
    after = audit_cohort(load_cohort(written, GRADES), workers=1)
    assert not any(finding.severity == "error" for finding in after.findings)


def test_the_cleaned_table_loads(faulty, tmp_path):
    clean, _ = strict_cohort(faulty, audit_cohort(faulty, workers=1))
    clean.table.to_csv(tmp_path / "clean.csv", index=False)
    assert len(load_cohort(tmp_path / "clean.csv", GRADES).table) == len(clean.table)


def test_compression_and_size_do_not_hide_a_copy_but_another_eye_is_another():
    plain = CameraProfile()
    pictures = [make_photograph(seed, 2, plain, px=200) for seed in range(12)]
    small = cv2.resize(pictures[3], (150, 150), interpolation=cv2.INTER_AREA)
    coded = cv2.imdecode(cv2.imencode(".jpg", pictures[7], [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 1)
    signatures = [signature(picture) for picture in [*pictures, small, coded]]
    assert near_pairs(signatures) == [(3, 12), (7, 13)]


def test_patients_whose_names_differ_in_spelling_alone_are_reported(tmp_path):
    names = ["P-017", "p_17", "P 17.0", "P-018", "P-17", "P-0180", "x10", "x1.0"]
    sites = ["a"] * 4 + ["b"] + ["a"] * 3
    rows = [
        (f"{n}.jpg", name, site, "none", "train")
        for n, (name, site) in enumerate(zip(names, sites, strict=True))
    ]
    rows[1] = (*rows[1][:4], "test")
    known = cohort(tmp_path, [*rows, ("8.jpg", "x01", "a", "none", "train")])
    reported = [f for f in audit_cohort(known, pictures=False).findings if f.kind[:5] == "alike"]
    assert [(f.rows, f.severity) for f in reported] == [((0, 1, 2), "error"), ((7, 8), "warning")]
    assert (
        reported[0].detail == "patients 'P-017' and 'p_17' and 'P 17.0' may be one, in two splits"
    )


def test_groups_join_what_pairs_connect():
    assert joined_groups([(1, 2), (2, 9), (4, 5)]) == [[1, 2, 9], [4, 5]]


def test_label_shift_is_the_total_variation():
    table = pd.DataFrame(
        {"site": ["a"] * 4 + ["b"] * 2, "label": ["none"] * 3 + ["mild"] + ["mild", ""]}
    )
    shift = label_shift(table, GRADES)
    assert shift["total_variation"].tolist() == [0.75]


def test_size_and_format_that_name_the_site_are_reported(tmp_path):
    rows = []
    for number in range(6):
        for site, px in (("a", 64), ("b", 90)):
            write(tmp_path / f"{site}/{number}.jpg", number + 10 * px, px=px)
            rows.append((f"{site}/{number}.jpg", f"{site}{number}", site, "none", ""))
    audit = audit_cohort(cohort(tmp_path, rows), near=False, workers=1)
    given = audit.giveaways.set_index("feature")["balanced_accuracy"]
    assert given["size"] == 1
    assert given["format"] == 0.5
    assert any("size alone" in finding.detail for finding in audit.findings)


def test_of_slides_only_the_compression_gives_a_site_away(tmp_path):
    rows = []
    for number in range(6):
        for site, quality in (("a", 30), ("b", 95)):
            path = tmp_path / f"{site}/{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            px = 64 if site == "a" else 90
            pixels = np.random.default_rng(number).integers(0, 256, (px, px, 3), dtype=np.uint8)
            cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
            rows.append((f"{site}/{number}.jpg", f"{site}{number}", site, "none", ""))
    (tmp_path / "a/0.jpg").write_bytes(b"nobody opens it")
    audit = audit_cohort(cohort(tmp_path, rows), slides=True, workers=1)
    assert [finding.kind for finding in audit.findings] == ["giveaway"]
    assert "compression alone" in audit.findings[0].detail
    assert "acquisition table" in audit.findings[0].detail


def test_a_slide_that_does_not_open_is_found_with_its_reason(tmp_path, picture):
    write_slide(tmp_path / "good.svs", picture, mpp=0.5, downsamples=(1,))
    write_slide(tmp_path / "no_scale.tiff", picture, mpp=None, flavour="generic", downsamples=(1,))
    (tmp_path / "letter.svs").write_bytes(b"a letter")
    write(tmp_path / "photograph.jpg", 1)
    names = ("good.svs", "no_scale.tiff", "letter.svs", "photograph.jpg", "no_scale.tiff")
    made = cohort(tmp_path, [(name, f"p{n}", "a", "none", "") for n, name in enumerate(names)])
    made.table.loc[4, "mpp"] = 0.5  # the table says what the file does not
    assert are_slides(made.image_paths())
    audit = audit_cohort(made, slides=True, opened=fault_of_slide, workers=1)
    reasons = {f.rows: f.detail for f in audit.findings if f.kind == "unreadable"}
    assert set(reasons) == {(1,), (2,), (3,)}
    assert "how many um a pixel is" in reasons[(1,)]
    assert "column 'mpp'" in reasons[(1,)]
    assert "cut short" in reasons[(2,)]
    assert "a jpeg picture, not a slide" in reasons[(3,)]
    for asked in ({"near": False}, {"pictures": False}):
        again = audit_cohort(made, slides=True, opened=fault_of_slide, workers=1, **asked)
        assert not found(again, "unreadable")


def test_pictures_in_strips_are_slides_where_the_table_gives_their_scale(tmp_path, picture):
    """They state none, as photographs do not."""
    for name in ("a.tif", "b.tif"):
        Image.fromarray(picture[:400, :400]).save(tmp_path / name)
    made = cohort(tmp_path, [(name, name, "a", "none", "") for name in ("a.tif", "b.tif")])
    made.table["mpp"] = [np.nan, 0.5]
    assert not are_slides(made.image_paths())
    assert slides_in(made.image_paths(), HERE, made.table["mpp"].to_numpy(float))
    audit = audit_cohort(made, slides=True, opened=fault_of_slide, workers=1)
    reasons = {f.rows: f.detail for f in audit.findings if f.kind == "unreadable"}
    assert set(reasons) == {(0,)}
    assert "column 'mpp' states its scale" in reasons[(0,)]
    assert nuisances_of(tmp_path / "b.tif", 0.5, slides=True) is not None
    assert nuisances_of(tmp_path / "a.tif", None, slides=True) is None


def test_one_file_of_another_kind_does_not_change_what_the_others_are(tmp_path):
    svs, jpg = ([tmp_path / f"{n}{end}" for n in range(3)] for end in (".svs", ".jpg"))
    assert are_slides([*svs, jpg[0]])
    assert not are_slides([*jpg, svs[0]])
    assert not are_slides(jpg)


def labelled(real_data, *sites):
    rows = []
    for site in sites:
        for row in pd.read_csv(real_data / site / "labels.csv").to_dict("records"):
            rows.append(
                (f"{site}/{row['file']}", row["file"], site, GRADES[row["dr_grade"]],
                 row.get("split", ""))
            )  # fmt: skip
    return cohort(real_data, rows)


def test_the_real_sites_hold_the_duplicates_they_are_known_for(real_data):
    known = labelled(real_data, "dr_idrid", "dr_messidor2", "dr_aptos_filtered")
    audit = audit_cohort(known, near=False, workers=1)
    site_of = known.table["site"].to_numpy()
    groups = pd.Series([site_of[group[0]] for group in audit.identical]).value_counts()
    conflicts = pd.Series([site_of[rows[0]] for rows in found(audit, "conflicting_labels")])
    assert groups.to_dict() == {"dr_aptos_filtered": 123, "dr_idrid": 6, "dr_messidor2": 4}
    assert conflicts.value_counts().to_dict() == {"dr_aptos_filtered": 30, "dr_idrid": 3}
    leaks = found(audit, "leak")
    assert [known.table["image"].iloc[list(rows)].tolist() for rows in leaks] == [
        ["dr_idrid/images/train_IDRiD_118.jpg", "dr_idrid/images/test_IDRiD_064.jpg"]
    ]


def test_gdrbenchs_lists_leak_rldr_into_eyepacs_and_straddle_29_patients(real_data):
    lists = read_gdrbench(real_data / "nowhere", lists=real_data / "gdrbench_splits")
    assert len(lists.table) == 112_575
    audit = audit_cohort(lists, pictures=False)
    assert audit.count("straddling_patient") == 29
    shared = [finding for finding in audit.findings if finding.kind == "shared_names"]
    assert len(shared) == 1
    assert shared[0].detail.startswith("1593 file names of EYEPACS are names of RLDR")
    assert "953 of 1593 (59.8%)" in shared[0].detail
    furthest = audit.label_shift[~audit.label_shift.isin(["EYEPACS", "DDR"]).any(axis=1)].iloc[0]
    assert (furthest["site"], furthest["other"]) == ("FGADR", "MESSIDOR")
    assert furthest["total_variation"] == pytest.approx(0.568, abs=0.001)
    clean, report = strict_cohort(lists, audit)
    dropped = report[report["change"] == "dropped"]
    # 1,593 images, and of the same persons 1,417 that RLDR does not show.
    assert dropped["site"].value_counts().to_dict() == {"EYEPACS": 1593 + 1417}
    numbers = clean.table["patient"].str.split("-").str[1].groupby(clean.table["site"]).unique()
    assert not np.isin(numbers["RLDR"], numbers["EYEPACS"]).any()
    assert clean.table.groupby("patient")["split"].nunique().max() == 1
    assert np.array_equal(
        clean.table["site"].value_counts().reindex(["RLDR", "EYEPACS"]), [1593, 87_104 - 1417]
    )


def test_photographs_in_dicom_are_compared_as_pictures(tmp_path):
    rows = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        pixels = make_photograph(seed, 2, CLINICS[0].camera, px=128)
        write_dicom(tmp_path / f"{name}.dcm", (128, 128), pixels.tobytes())
        rows.append((f"{name}.dcm", name, "a", "mild", "train"))
    (tmp_path / "torn.dcm").write_bytes((tmp_path / "other.dcm").read_bytes()[:400])
    made = cohort(tmp_path, [*rows, ("torn.dcm", "torn", "a", "mild", "train")])
    assert not are_slides(made.image_paths())
    audit = audit_cohort(made, decode=pixels_of)
    assert found(audit, "near_identical") == {(0, 1)}
    assert found(audit, "unreadable") == {(3,)}
