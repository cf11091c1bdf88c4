"""The files of a DICOM slide are found by their headers, each header read once."""

import os
import struct
from pathlib import Path

import pytest

from offsite.preprocessing.formats import dicom_series
from offsite.preprocessing.formats.companions import companions
from offsite.preprocessing.formats.dicom_series import WHOLE_SLIDE, files_of_series, slide_series
from offsite.preprocessing.slides.fingerprints import slide_fingerprint

EXPLICIT, IMPLICIT, DEFLATED = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99",
)  # fmt: skip


def element(tag: tuple[int, int], kind: bytes, value: bytes, explicit: bool = True) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH", *tag)
    if not explicit:
        return head + struct.pack("<I", len(value)) + value
    if kind in (b"SQ", b"OB", b"UN"):
        return head + kind + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + kind + struct.pack("<H", len(value)) + value


def unknown_length(tag: tuple[int, int], items: bytes) -> bytes:
    """A sequence that does not say how long it is, with one such item."""
    marks = [struct.pack("<HHI", *mark) for mark in ((0xFFFE, 0xE000, 0xFFFFFFFF),
             (0xFFFE, 0xE00D, 0), (0xFFFE, 0xE0DD, 0))]  # fmt: skip
    head = struct.pack("<HH", *tag) + b"SQ\0\0" + struct.pack("<I", 0xFFFFFFFF)
    return head + marks[0] + items + marks[1] + marks[2]


def part(series: str, pixels: bytes = b"px", syntax: str = EXPLICIT, kind: str = WHOLE_SLIDE):
    """A file whose own series comes after that of another in a sequence."""
    explicit = syntax != IMPLICIT
    meta = element((2, 0x10), b"UI", syntax.encode())
    body = element((8, 0x16), b"UI", kind.encode(), explicit)
    if explicit:
        inner = element((0x20, 0xE), b"UI", b"1.2.3.999")
        body += unknown_length((8, 0x1115), inner)
        body += element((9, 0x1001), b"UN", bytes(100_000))
    body += element((0x20, 0xE), b"UI", series.encode(), explicit)
    return bytes(128) + b"DICM" + meta + body + element((0x7FE0, 0x10), b"OB", pixels, explicit)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_the_series_of_a_slide_is_its_own(tmp_path: Path, syntax: str) -> None:
    (tmp_path / "a.dcm").write_bytes(part("1.2.3.4", syntax=syntax))
    assert slide_series(tmp_path / "a.dcm") == "1.2.3.4"


def test_what_is_no_part_of_a_slide_has_no_series(tmp_path: Path) -> None:
    whole = part("1.2.3.4")
    loop = bytes(128) + b"DICM" + element((2, 0x10), b"UI", EXPLICIT.encode()) + 200_000 * (
        struct.pack("<HH", 8, 0x1115) + b"SQ\0\0" + struct.pack("<I", 0xFFFFFFFF)
    )  # fmt: skip
    for content in (
        b"", b"a letter", whole[:200], whole[:140], bytes(128) + b"DICM" + b"\x01" * 3000, loop,
        part("1.2.3.4", syntax=DEFLATED), part("1.2.3.4", kind="1.2.840.10008.5.1.4.1.1.77.1.5.1"),
    ):  # fmt: skip
        (tmp_path / "a.dcm").write_bytes(content)
        assert slide_series(tmp_path / "a.dcm") == ""


def test_pydicom_reads_the_same(real_data: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    files = sorted((real_data / "wsi").rglob("*.dcm"))
    assert len(files) == 5
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        assert slide_series(file) == header.SeriesInstanceUID
        assert {*files_of_series(file), file} == set(file.parent.glob("*.dcm"))


def test_one_slide_more_changes_no_other(tmp_path: Path) -> None:
    for name, series in (("a-0", "1.1"), ("a-1", "1.1"), ("b-0", "1.2")):
        (tmp_path / f"{name}.dcm").write_bytes(part(series, name.encode()))
    (tmp_path / "photograph.dcm").write_bytes(part("1.1", kind="1.2"))
    assert companions(tmp_path / "a-0.dcm") == [tmp_path / "a-1.dcm"]
    assert companions(tmp_path / "photograph.dcm") == []
    before = {file: slide_fingerprint(file) for file in sorted(tmp_path.iterdir())}
    (tmp_path / "c-0.dcm").write_bytes(part("1.3"))
    assert {file: slide_fingerprint(file) for file in before} == before
    (tmp_path / "a-1.dcm").write_bytes(part("1.1", b"other pixels"))
    changed = {file.name for file in before if slide_fingerprint(file) != before[file]}
    assert changed == {"a-0.dcm", "a-1.dcm"}
    (tmp_path / "a-2.dcm").write_bytes(part("1.1"))  # a level that came late is one of it
    assert companions(tmp_path / "a-0.dcm") == [tmp_path / "a-1.dcm", tmp_path / "a-2.dcm"]


@pytest.mark.parametrize("settled", [False, True])
def test_each_header_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    read: list[str] = []
    real = dicom_series.slide_series

    def counted(path: str) -> str:
        read.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(dicom_series, "slide_series", counted)
    files = [tmp_path / f"{number}.dcm" for number in range(40)]
    for file in files:
        file.write_bytes(part(f"1.{file.stem}"))
        os.utime(file, (1e9, 1e9))
    if settled:
        os.utime(tmp_path, (1e9, 1e9))
    for file in files:
        slide_fingerprint(file)
    assert sorted(read) == sorted(file.name for file in files)
