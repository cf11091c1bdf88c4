"""Each row of the table of spellings in docs/cohort.md says what happens."""

import gzip
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pydantic import Field

from offsite.errors import InputError
from offsite.evaluation.predictions.table import load_predictions
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.settings import Settings
from offsite.workflows.jobs.yaml_settings import load_settings
from offsite.yaml_files import parse_yaml

PAGE = Path(__file__).parents[3] / "docs" / "cohort.md"
ROWS = [
    {"image": "a.png", "patient": "p1", "site": "north", "label": "mild", "slide": "a",
     "split": "train", "eye": "left", "scanner": "x1", "mpp": "0.5"},
    {"image": "b.png", "patient": "p2", "site": "north", "label": "mild", "slide": "b",
     "split": "val", "eye": "", "scanner": "x1", "mpp": ""},
    {"image": "c.png", "patient": "p3", "site": "south", "label": "", "slide": "c",
     "split": "test", "eye": "right", "scanner": "x2", "mpp": "1"},
]  # fmt: skip
CELL = {"slide", "split", "eye", "patient", "site", "label", "mpp"}


def documented() -> list[tuple[str, str, str]]:
    text = PAGE.read_text(encoding="utf-8").split("## Spellings")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    cases = []
    for where, written, outcome in rows[1:]:
        spellings = re.findall(r"`([^`]+)`", written) or written.strip().split("; ")
        cases += [(where.strip(), spelling, outcome.strip()) for spelling in spellings]
    return cases


def seen(text: str) -> str:
    return re.sub(r"<U\+([0-9A-F]+)>", lambda match: chr(int(match[1], 16)), text)


def table(folder: Path, rows: list[dict[str, str]], separator: str = ",") -> Path:
    for row in rows:
        (folder / row["image"]).touch()
    file = folder / "cohort.csv"
    pd.DataFrame(rows).to_csv(file, index=False, sep=separator)
    return file


def in_header(where: str, written: str, folder: Path) -> Cohort:
    column = re.findall(r"`(\w+)`", where)[0]
    rows = [{written if name == column else name: row[name] for name in row} for row in ROWS]
    file = table(folder, rows)
    if column == "scanner" and written != "Scanner":  # a second column of that name
        text = pd.DataFrame(ROWS).to_csv(index=False)
        file.write_text(text.replace("scanner", written))
    return load_cohort(file)


def in_cell(where: str, written: str, folder: Path) -> Cohort:
    column = re.findall(r"`(\w+)`", where)[0]
    rows = [dict(row) for row in ROWS]
    rows[0][column] = written
    separator = ";" if "semicolons" in where else ","
    classes = re.findall(r"`(\w+)`", where)[1:] if "classes `" in where else None
    return load_cohort(table(folder, rows, separator), classes)


def in_folder(where: str, written: str, folder: Path) -> Cohort:
    there = folder / re.findall(r"there is `([^`]+)`", where)[0]
    there.parent.mkdir(exist_ok=True)
    there.touch()
    file = table(folder, ROWS)
    rows = [dict(row) for row in ROWS]
    rows[0]["image"] = written
    pd.DataFrame(rows).to_csv(file, index=False)
    return load_cohort(file)


def in_file(where: str, written: str, folder: Path) -> Cohort:
    text = table(folder, ROWS).read_text()
    lines = text.splitlines()
    plain = pd.DataFrame(ROWS)
    of_lists, of_bytes = plain.assign(patient=[["p"]] * 3), plain.assign(patient=[b"p"] * 3)
    name, data = {
        "commas": ("c.csv", text.encode()),
        "semicolons": ("c.csv", text.replace(",", ";").encode()),
        "tabs in .csv": ("c.csv", text.replace(",", "\t").encode()),
        ".tsv": ("c.tsv", text.replace(",", "\t").encode()),
        ".csv.gz": ("c.csv.gz", gzip.compress(text.encode())),
        ".parquet": ("c.parquet", pd.DataFrame(ROWS).to_parquet()),
        "UTF-8 with a mark": ("c.csv", text.encode("utf-8-sig")),
        "UTF-16 with a mark": ("c.csv", text.encode("utf-16")),
        "Windows line ends": ("c.csv", text.replace("\n", "\r\n").encode()),
        "old Macintosh line ends": ("c.csv", text.replace("\n", "\r").encode()),
        "a first line sep=,": ("c.csv", f"sep=,\r\n{text}".encode()),
        "a .parquet of lists": ("c.parquet", of_lists.to_parquet()),
        "a .parquet of bytes": ("c.parquet", of_bytes.to_parquet()),
        "blank lines": ("c.csv", "\n\n".join(["", *lines, ""]).encode()),
        "rows of separators only": ("c.csv", "\n,,,,,,,,\n".join([*lines, ""]).encode()),
        "Latin-1": ("c.csv", text.replace("north", "nörth").encode("latin-1")),
        "UTF-16 without a mark": ("c.csv", text.encode("utf-16-le")),
        ".xlsx": ("c.xlsx", b"PK\3\4"),
        ".ods": ("c.ods", b"PK\3\4"),
        "a row longer than the header": ("c.csv", f"{text.strip()},more\n".encode()),
        "a quotation mark never closed": ("c.csv", text.replace("p2", '"p2').encode()),
        "a .parquet that is none": ("c.parquet", text.encode()),
        "a header alone": ("c.csv", lines[0].encode()),
        "nothing": ("c.csv", b""),
    }[written]
    (folder / name).write_bytes(data)
    return load_cohort(folder / name)


class Texts(Settings):
    name: str = Field(description="A text.")


def check_yaml(where: str, written: str, folder: Path) -> None:
    if where == "YAML":
        assert parse_yaml(written) == yaml.safe_load(written)
        return
    file = folder / "settings.yaml"
    file.write_text(f"name: {written}\n")
    assert load_settings(file, Texts).name == yaml.safe_load(written)


PREDICTED = [
    {"image": "a", "patient": "p1", "site": "north", "split": "test", "label": "mild",
     "site_role": "training", "prob_none": "0.75", "prob_mild": "0.25"},
    {"image": "b", "patient": "p2", "site": "south", "split": "val", "label": "",
     "site_role": "training", "prob_none": "0.5", "prob_mild": "0.5"},
]  # fmt: skip


def in_predictions(where: str, written: str, folder: Path) -> pd.DataFrame:
    column = re.findall(r"`(\w+)`", where)[0]
    rows = [dict(row) for row in PREDICTED]
    if "header" in where:
        rows = [{written if name == column else name: row[name] for name in row} for row in rows]
    else:
        rows[0][column] = written
    file, separator = folder / "predictions.csv", ";" if "semicolons" in where else ","
    pd.DataFrame(rows).to_csv(file, index=False, sep=separator)
    return load_predictions(file).table


def reader(where: str) -> Callable[[str, str, Path], Any]:
    if where.startswith("predictions"):
        return in_predictions
    if where.startswith("header"):
        return in_header
    if where.startswith("`image`"):
        return in_folder
    if where == "file":
        return in_file
    return check_yaml if where.startswith("YAML") else in_cell


@pytest.mark.parametrize(("where", "written", "outcome"), documented())
def test_a_spelling_is_read_or_refused_as_documented(
    tmp_path: Path, where: str, written: str, outcome: str
) -> None:
    written, read = seen(written), reader(where)
    if outcome.startswith("refused"):
        with pytest.raises(InputError) as refused:
            read(where, written, tmp_path)
        codes = {fault.code for fault in getattr(refused.value, "faults", [refused.value])}
        assert codes == {re.findall(r"`(\w+)`", outcome)[0]}
        assert refused.value.remedy
        return
    cohort = read(where, written, tmp_path)
    if cohort is None:  # YAML, compared by its reader
        return
    meaning = re.findall(r"read as `([^`]+)`", outcome)
    if read is in_predictions:
        column = re.findall(r"`(\w+)`", where)[0]
        if "header" in where:
            assert cohort[column].tolist() == [row[column] for row in PREDICTED]
        else:
            assert str(cohort[column][0]) == (meaning[0] if meaning else written)
        return
    plain = load_cohort(table(tmp_path, ROWS)).table
    if read in (in_header, in_file):
        assert not meaning or meaning[0] in cohort.table.columns
        pd.testing.assert_frame_equal(cohort.table, plain)
    elif read is in_folder:
        assert cohort.image_paths()[0].is_file()
    else:
        column = re.findall(r"`(\w+)`", where)[0]
        assert str(cohort.table[column][0]) == unicodedata.normalize("NFC", meaning[0])
        others = [name for name in plain.columns if name != column]
        pd.testing.assert_frame_equal(cohort.table[others], plain[others])


def test_every_closed_word_and_every_way_of_writing_is_documented() -> None:
    places = {where for where, _, _ in documented()}
    named = {match for where in places for match in re.findall(r"^`(\w+)`", where)}
    assert named == CELL | {"image"}
    assert len(documented()) > 150


@pytest.mark.parametrize("separator", ["\n", "\n\n", "\n,,,,,,,,\n"])
def test_blank_rows_count_in_the_number_of_a_row(tmp_path: Path, separator: str) -> None:
    rows = [dict(row) for row in ROWS]
    rows[2]["eye"] = "both"
    file = table(tmp_path, rows)
    file.write_text(separator.join(file.read_text().splitlines()))
    with pytest.raises(InputError) as refused:
        load_cohort(file)
    assert refused.value.row == (4 if separator == "\n" else 7)
