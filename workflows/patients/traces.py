"""Which files of a folder hold a patient: by their names, and by looking into each."""

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from offsite.tables.reading import is_table
from offsite.workflows.patients.identity import Identity

_BLOCK = 1 << 22
_LONGEST = 4096  # bytes of a name, however it is spelt
_NAMES_ONLY = frozenset(
    (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svs", ".ndpi", ".mrxs", ".dcm", ".bif", ".scn")
)
"""Images: they are known by their names, and a letter of a name in them would be chance."""


def holding(folder: Path, patient: Identity) -> Iterator[Path]:
    """Yield the files below a folder that hold a patient, sorted; links are not followed.

    Tables (CSV, Parquet, Excel) are read cell by cell, NumPy and HDF5 files by their texts, JSON by
    its values, zipped files by what is in them, and everything else as running text.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        if is_named(path.relative_to(folder), patient) or holds(path, patient):
            yield path


def links_out(folder: Path) -> Iterator[Path]:
    """Yield the links below a folder that lead to a folder outside, which nobody looks through."""
    whole = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and path.is_dir() and not path.resolve().is_relative_to(whole):
            yield path


def is_named(path: Path, patient: Identity) -> bool:
    """Whether a path is named after the patient, or after an image of it."""
    if set(path.parts) & patient.certain or path.stem in patient.certain:
        return True
    return patient.is_in(str(path).encode())


def holds(path: Path, patient: Identity) -> bool:
    """Whether a file's content holds the patient."""
    suffix = path.suffix.lower()
    if suffix in _NAMES_ONLY:
        return False
    try:
        if suffix in (".h5", ".hdf5"):
            return _in_hdf5(path, patient)
        if suffix == ".parquet":
            return _in_parquet(path, patient)
        if suffix == ".npy":
            return _in_array(np.load(path, mmap_mode="r", allow_pickle=False), patient)
        if suffix in (".csv", ".tsv", ".xlsx") and is_table(path) and _in_table(path, patient):
            return True
        if suffix == ".json" and _in_json(json.loads(path.read_bytes()), patient):
            return True
        if zipfile.is_zipfile(path):
            return _in_zip(path, patient)
        if suffix == ".gz":
            with gzip.open(path) as stream:
                return _in_stream(stream, patient)
    except (OSError, EOFError, ValueError, pa.ArrowException, zipfile.BadZipFile, zlib.error):
        pass  # damaged, or of another kind than its name says
    return _in_bytes(path, patient)


def _in_bytes(path: Path, patient: Identity) -> bool:
    with path.open("rb") as file:
        return _in_stream(file, patient)


def _in_stream(stream: IO[bytes] | gzip.GzipFile, patient: Identity) -> bool:
    if not patient.words:
        return False
    before = b""
    while block := stream.read(_BLOCK):
        if patient.is_in(before + block):
            return True
        before = block[-_LONGEST:]
    return False


def _in_table(path: Path, patient: Identity) -> bool:
    if path.suffix.lower() == ".xlsx":
        return False  # it is a zip file, and read as one
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    separator = max(",;\t", key=first.count)  # of a table of one column any will do
    rows = pd.read_csv(
        path, dtype=str, keep_default_na=False, sep=separator, engine="python", header=None
    )
    header = [str(name).lower() for name in rows.iloc[0]]
    return any(
        _in_column(rows[number].iloc[1:], name, patient) for number, name in enumerate(header)
    )


def _in_column(values: pd.Series, name: str, patient: Identity) -> bool:
    """Whether a column has a cell of the patient; a number is one only where names stand."""
    names = any(word in name for word in ("patient", "image", "slide", "file", "input", "case"))
    wanted = patient.cells if names else [cell for cell in patient.certain if is_wordy(cell)]
    return bool(values.isin(wanted).any())


def is_wordy(cell: str) -> bool:
    """Whether a cell of this text is no number."""
    return not cell.replace(".", "").isdigit()


def _in_parquet(path: Path, patient: Identity) -> bool:
    file = pq.ParquetFile(path)
    texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
    table = file.read(columns=texts)
    columns = ((name, table[name].to_pandas().astype(str)) for name in texts)
    if any(_in_column(column, name.lower(), patient) for name, column in columns):
        return True
    metadata = file.schema_arrow.metadata or {}
    whole = b"\n".join([*metadata.keys(), *metadata.values()])
    return patient.is_in(whole)


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    )


def _in_array(array: np.ndarray, patient: Identity) -> bool:
    if array.dtype.kind not in "US":
        return False
    return bool(np.isin(array.astype(str).ravel(), list(patient.cells)).any())


def _in_json(value: object, patient: Identity) -> bool:
    if isinstance(value, dict):
        return any(_in_json(part, patient) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_in_json(part, patient) for part in value)
    return isinstance(value, str) and value in patient.certain and is_wordy(value)


def _in_zip(path: Path, patient: Identity) -> bool:
    """Whether a zipped file (``.npz``, ``.xlsx``, ``.zip``) has the patient in a name or a part."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if is_named(Path(entry.filename), patient):
                return True
            with archive.open(entry) as part:
                if entry.filename.endswith(".npy"):
                    if _text_array_in(part.read(), patient):
                        return True
                    continue
                if _in_stream(part, patient):
                    return True
    return False


def _text_array_in(content: bytes, patient: Identity) -> bool:
    try:
        return _in_array(np.load(io.BytesIO(content), allow_pickle=False), patient)
    except ValueError:
        return False


def _in_hdf5(path: Path, patient: Identity) -> bool:
    found = False

    def look(_: str, each: h5py.HLObject) -> None:
        nonlocal found
        found = found or any(str(value) in patient.cells for value in each.attrs.values())
        if isinstance(each, h5py.Dataset) and h5py.check_string_dtype(each.dtype) is not None:
            texts = np.asarray(each.asstr()[()]).ravel()
            found = found or bool(np.isin(texts.astype(str), list(patient.cells)).any())

    with h5py.File(path, "r", locking=False) as file:
        look("", file)
        file.visititems(look)
    return found
