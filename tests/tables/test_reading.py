"""Files of tables: separators, row numbers, and faults that name their row."""

from pathlib import Path

import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.tables.reading import is_table, read_table

KNOWN = ("image", "note")


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


@pytest.mark.parametrize(("mark", "comma"), [(",", False), (";", True), ("\t", True)])
def test_a_separator_is_known_by_the_header(tmp_path: Path, mark: str, comma: bool) -> None:
    table = read_table(written(tmp_path, f"image{mark}other\na.png{mark}1\n"), KNOWN)
    assert table.rows.to_dict("list") == {"image": ["a.png"], "other": ["1"]}
    assert table.decimal_comma is comma


def test_a_separator_within_quotes_separates_nothing(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, 'image,"a;b;c"\na.png,"x;y"\n'), KNOWN)
    assert table.rows.loc[2].tolist() == ["a.png", "x;y"]


def test_rows_are_numbered_as_a_spreadsheet_does(tmp_path: Path) -> None:
    text = '\n\nimage,note\na.png,"two\nlines"\n\n,\nb.png,\n'
    table = read_table(written(tmp_path, text), KNOWN)
    assert table.rows.index.tolist() == [4, 7]
    assert table.rows["image"].tolist() == ["a.png", "b.png"]


def test_columns_without_a_name_or_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, ",image,x,x\n0,a.png,1,2\n"), KNOWN)
    assert table.rows.columns.tolist() == ["unnamed_1", "image", "x", "x.1"]


def test_a_fault_names_the_row(tmp_path: Path) -> None:
    with pytest.raises(InputError) as longer:
        read_table(written(tmp_path, "\nimage,note\na,b\na,b,c\n"), KNOWN)
    assert (longer.value.code, longer.value.row) == ("too_many_cells", 4)
    (tmp_path / "t.csv").write_bytes("image\na\nü\n".encode("latin-1"))
    with pytest.raises(InputError) as letters:
        read_table(tmp_path / "t.csv", KNOWN)
    assert (letters.value.code, letters.value.row) == ("encoding", 3)


def test_identifiers_of_parquet_keep_their_type(tmp_path: Path) -> None:
    frame = pd.DataFrame({" Image": ["007"], "age": [41]})
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", KNOWN)
    assert table.rows.to_dict("list") == {"image": ["007"], "age": [41]}


def test_tables_are_known_by_their_names() -> None:
    names = ("a.csv", "a.TSV", "a.csv.gz", "a.parquet", "a.xlsx")
    assert all(is_table(Path(name)) for name in names)
    assert not any(is_table(Path(name)) for name in ("a.gz", "a.svs", "csv", "a.csv.png"))
