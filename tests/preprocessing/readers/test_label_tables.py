"""Tables of CLAM and of STAMP become a cohort table, or say in which row they cannot."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.readers.building import write_cohort
from offsite.preprocessing.readers.label_tables import read_clam_table, read_stamp_tables
from offsite.workflows.cli import app

CLAM = (
    "case_id,slide_id,label,source\np1,S1,normal,east\np1,S2,tumour,east\np2,S3.svs,normal,west\n"
)
CLINICAL = "PATIENT,isMSIH,CENTER\np1,MSIH,east\np2,nonMSIH,west\np3,,west\np4,MSIH,west\n"
SLIDES = "PATIENT,FILENAME\np1,batch/S1.h5\np1,S2.H5\np2,S3\np3,S4.h5\n"


def tables(folder: Path, **texts: str) -> list[Path]:
    paths = [folder / f"{name}.csv" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


def told(
    caught: pytest.ExceptionInfo[InputErrors],
) -> list[tuple[str, int | None, str | None, str]]:
    return [(Path(str(f.file)).name, f.row, f.column, f.code) for f in caught.value.faults]


def test_clam_s_table_is_read_with_the_column_that_says_the_site(tmp_path: Path) -> None:
    (file,) = tables(tmp_path, clam=CLAM)
    cohort = read_clam_table(file, site_column="Source")
    rows = cohort.table[["slide", "patient", "site", "label"]].to_numpy().tolist()
    assert rows == [
        ["S1", "p1", "east", "normal"], ["S2", "p1", "east", "tumour"],
        ["S3.svs", "p2", "west", "normal"],
    ]  # fmt: skip
    written = write_cohort(cohort, tmp_path / "out" / "labels.csv")
    assert list(pd.read_csv(written)) == ["slide", "patient", "label", "site"]
    again = load_cohort(written, images_named=None)
    assert again.table[["slide", "site"]].equals(cohort.table[["slide", "site"]])
    assert set(read_clam_table(file, site="north", label="LABEL").table["site"]) == {"north"}


def test_stamp_s_slides_have_label_and_site_of_their_patients(tmp_path: Path) -> None:
    clinical, slides = tables(tmp_path, clini=CLINICAL, slides=SLIDES)
    cohort, without = read_stamp_tables(
        clinical, slides, ("nonMSIH", "MSIH"), label="isMSIH", site_column="CENTER"
    )
    rows = cohort.table[["slide", "patient", "site", "label"]].to_numpy().tolist()
    assert rows == [
        ["S1", "p1", "east", "MSIH"], ["S2", "p1", "east", "MSIH"], ["S3", "p2", "west", "nonMSIH"],
        ["S4", "p3", "west", ""],
    ]  # fmt: skip
    assert (without, cohort.classes) == (1, ("nonMSIH", "MSIH"))


@pytest.mark.parametrize("named", [{}, {"site": "north", "site_column": "source"}])
def test_the_site_is_never_guessed(tmp_path: Path, named: dict[str, str]) -> None:
    (file,) = tables(tmp_path, clam=CLAM)
    with pytest.raises(InputError) as caught:
        read_clam_table(file, **named)
    assert caught.value.code == "no_site"
    assert "--site-column COLUMN, or --site NAME" in caught.value.remedy
    assert "case_id, slide_id, label, source" in caught.value.remedy


def test_faults_name_table_row_and_column_as_they_are_there(tmp_path: Path) -> None:
    clam, clini, slides, few = tables(
        tmp_path,
        clam="case_id,slide_id,label,source\n,S1,normal,east\np2,S2,normal,\np3,S2,normal,west\n",
        clini="PATIENT,isMSIH,CENTER\np1,MSIH,east\np1,nonMSIH,east\np2,high,unknown\n",
        slides="PATIENT,FILENAME\np1,a/S1.h5\np1,b/S1.h5\np9,S3.h5\np2,S4.h5\np2,S5.h5\np1,\n",
        few="PATIENT,FILENAME\np7,S1.h5\n",
    )
    with pytest.raises(InputErrors) as caught:
        read_clam_table(clam, site_column="source")
    assert set(told(caught)) == {
        ("clam.csv", 2, "case_id", "blank"), ("clam.csv", 3, "source", "blank"),
        ("clam.csv", 4, "slide_id", "image_twice"),
    }  # fmt: skip
    of_stamp = {"label": "isMSIH", "site_column": "CENTER", "classes": ("nonMSIH", "MSIH")}
    with pytest.raises(InputErrors) as caught:
        read_stamp_tables(clini, slides, **of_stamp)
    assert sorted(told(caught), key=str) == sorted([
        ("clini.csv", 3, "PATIENT", "patient_twice"), ("clini.csv", 4, "CENTER", "missing_word"),
        ("clini.csv", 4, "isMSIH", "unknown_label"), ("slides.csv", 3, "FILENAME", "image_twice"),
        ("slides.csv", 4, "PATIENT", "unknown_patient"), ("slides.csv", 7, "FILENAME", "blank"),
    ], key=str)  # fmt: skip
    with pytest.raises(InputErrors) as caught:
        read_stamp_tables(clini, few, **of_stamp)
    assert ("few.csv", 2, "PATIENT", "unknown_patient") in told(caught)
    with pytest.raises(InputError, match="missing column slide_id") as missing:
        read_clam_table(clini, site_column="CENTER")
    assert missing.value.code == "missing_column"
    with pytest.raises(InputError, match="missing column FILENAME"):
        read_stamp_tables(slides, clini, **of_stamp)


def test_an_option_of_another_layout_is_refused(tmp_path: Path) -> None:
    clinical, slides = tables(tmp_path, clini=CLINICAL, slides=SLIDES)
    words = ["cohort", "read", str(clinical), "-o", str(tmp_path / "labels.csv"), "--layout"]
    stamp = ["stamp", "--label", "isMSIH", "--site", "north"]
    for given, said in (
        (["clam", "--site", "north", "--slides", str(slides)], "--slides is of --layout stamp"),
        (["table", "--label", "isMSIH"], "--label is of --layout clam and stamp"),
        (stamp, "--slides TABLE"),
    ):
        done = CliRunner().invoke(app, [*words, *given], env={"COLUMNS": "300"})
        assert done.exit_code == 2
        assert said in done.output
    done = CliRunner().invoke(app, [*words, *stamp, "--slides", str(slides)])
    assert done.exit_code == 0
    assert "Left out: patients of clini.csv without a slide, 1" in done.output
    assert set(pd.read_csv(tmp_path / "labels.csv")["site"]) == {"north"}
