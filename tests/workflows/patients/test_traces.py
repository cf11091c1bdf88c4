"""A patient is found in a file of any kind, and another of a name nearly the same is not."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from offsite.workflows.patients.identity import Identity
from offsite.workflows.patients.traces import holding

DIGEST = "3f" * 32


def known(patient: str) -> Identity:
    return Identity(
        patient=patient,
        images=frozenset({f"images/{patient}_L.jpg"}),
        slides=frozenset({f"{patient}_L"}),
        digests=frozenset({DIGEST}),
    )


def _hdf5(file: Path, text: str) -> None:
    with h5py.File(file, "w") as opened:
        opened.create_dataset("picture", data=[text, "x"], compression="gzip")


def _hdf5_attribute(file: Path, text: str) -> None:
    with h5py.File(file, "w") as opened:
        opened.create_group("a").attrs["slide"] = text


def _zip(file: Path, text: str) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", f"x {text} y" * 50)


WRITERS: dict[str, Callable[[Path, str], object]] = {
    "a.csv": lambda file, text: file.write_text(f'patient,n\n"{text}",3\n'),
    "one column.csv": lambda file, text: file.write_text(f"patient\n{text}\n"),
    "semicolons.csv": lambda file, text: file.write_text(f"n;case\n3;{text}\n"),
    "a.tsv": lambda file, text: file.write_text(f"case\tn\n{text}\t3\n"),
    "a.json": lambda file, text: file.write_text(json.dumps({"cases": [{"patient": text}]})),
    "a.html": lambda file, text: file.write_text(f"<td>{text}</td>"),
    "a.log": lambda file, text: file.write_bytes(b"\x00" * ((1 << 22) - 3) + f" {text} ".encode()),
    "a.parquet": lambda file, text: pd.DataFrame({"image": [text, "b"]}).to_parquet(file),
    "b.parquet": lambda file, text: pd.DataFrame({"a": [1]}, index=[text]).to_parquet(file),
    "a.npz": lambda file, text: np.savez_compressed(file, names=np.array([text, "b"])),
    "a.npy": lambda file, text: np.save(file, np.array([text])),
    "a.h5": _hdf5,
    "b.h5": _hdf5_attribute,
    "a.zip": _zip,
    "a.txt.gz": lambda file, text: file.write_bytes(gzip.compress(f"x {text} y".encode())),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("patient", ["aster-007", "4711"])
def test_a_patient_is_found_whatever_the_file(tmp_path: Path, name: str, patient: str) -> None:
    texts = [f"{patient}_L", f"images/{patient}_L.jpg", DIGEST]
    if patient == "aster-007":
        texts.append(patient)
    for text in texts:
        WRITERS[name](tmp_path / name, text)
        assert list(holding(tmp_path, known(patient))) == [tmp_path / name], text


@pytest.mark.parametrize("name", WRITERS)
def test_a_patient_of_nearly_the_same_name_is_another(tmp_path: Path, name: str) -> None:
    for text in ("aster-0071", "aster-0071_L", "master-007", "3f" * 31):
        WRITERS[name](tmp_path / name, text)
        assert list(holding(tmp_path, known("aster-007"))) == [], text


def test_a_number_is_a_patient_only_where_names_stand(tmp_path: Path) -> None:
    table = pd.DataFrame({"patient": ["12"], "n": ["3"]})
    table.to_csv(tmp_path / "named.csv", index=False)
    table.assign(patient="13", n="12").to_csv(tmp_path / "counted.csv", index=False)
    (tmp_path / "page.html").write_text("<td>12</td>")
    assert list(holding(tmp_path, known("12"))) == [tmp_path / "named.csv"]


def test_names_that_pages_escape_and_names_of_files_are_found(tmp_path: Path) -> None:
    from html import escape

    patient = known("O'Neil & Söhne")
    (tmp_path / "page.html").write_text(f"<p>{escape(patient.patient)}</p>")
    (tmp_path / "list.jsonl").write_text(json.dumps({"case": patient.patient}))
    (tmp_path / "O'Neil & Söhne_L.png").write_bytes(b"\x89PNG")
    (tmp_path / "other.png").write_bytes(b"\x89PNG O'Neil & S\xc3\xb6hne")  # pixels are no text
    (tmp_path / "link").symlink_to(tmp_path / "page.html")
    found = {path.name for path in holding(tmp_path, patient)}
    assert found == {"page.html", "list.jsonl", "O'Neil & Söhne_L.png"}


def test_a_damaged_file_is_read_as_text(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.npz", "a.h5", "a.json", "a.npy", "a.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8b no such kind, aster-007 is in it")
    assert len(list(holding(tmp_path, known("aster-007")))) == 6
