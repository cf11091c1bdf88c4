"""Which DICOM files of a folder are one slide, from their headers alone.

Our own few lines: a header of somebody else's is read up to the series' name, in bounded time and
memory, without an optional package, and once for a folder and not for each of its slides.
"""

import os
import struct
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from offsite.files import check_plain

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""The class of DICOM files that are parts of a slide (VL Whole Slide Microscopy Image Storage)."""
_IMPLICIT = "1.2.840.10008.1.2"
_NOT_READ = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")  # deflated; big-endian, retired
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_SYNTAX, _CLASS, _SERIES = (0x0002, 0x0010), (0x0008, 0x0016), (0x0020, 0x000E)
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF
_MOST_ELEMENTS, _MOST_DEPTH, _LONGEST_UID = 20_000, 16, 64
_FOLDERS_KEPT = 16
_SETTLED_NS = 2_000_000_000  # a folder's time of change may be as coarse as that


class _NoHeader(Exception):
    """The bytes are not the header of a DICOM file as we read it."""


def slide_series(path: str | Path) -> str:
    """Return the series that a file is a part of as a slide; "" for all that is no such file.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    check_plain(path)
    with Path(path).open("rb") as file:
        try:
            found = _Header(file).values()
        except (_NoHeader, struct.error, UnicodeDecodeError):
            return ""
    return found.get(_SERIES, "") if found.get(_CLASS) == WHOLE_SLIDE else ""


class _Header:
    """Walks the elements of a file up to the series' name; values are skipped, never held."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._explicit = True
        self._left = _MOST_ELEMENTS
        self._size = os.fstat(file.fileno()).st_size

    def values(self) -> dict[tuple[int, int], str]:
        """Transfer syntax, class and series, as far as they are there."""
        found: dict[tuple[int, int], str] = {}
        self._file.seek(128)
        if self._file.read(4) != b"DICM":
            raise _NoHeader
        while True:
            at = self._file.tell()
            tag, length, _ = self._element()
            if tag[0] != 0x0002 and self._explicit and _SYNTAX in found:
                syntax = found.pop(_SYNTAX)
                if syntax in _NOT_READ:
                    raise _NoHeader
                if syntax == _IMPLICIT:
                    self._explicit = False
                    self._file.seek(at)
                    continue
            if tag > _SERIES:
                return found
            if tag in (_SYNTAX, _CLASS, _SERIES) and length <= _LONGEST_UID:
                found[tag] = self._file.read(length).rstrip(b"\0 ").decode("ascii")
            else:
                self._skip(length, 0)

    def _element(self) -> tuple[tuple[int, int], int, bool]:
        """Tag and length of the next element, and whether it is one of a sequence's own marks."""
        self._left -= 1
        head = self._file.read(8)
        if self._left < 0 or len(head) < 8:
            raise _NoHeader
        tag = struct.unpack("<HH", head[:4])
        if tag[0] == 0xFFFE or not (self._explicit or tag[0] == 0x0002):
            return tag, struct.unpack("<I", head[4:])[0], tag[0] == 0xFFFE
        if head[4:6] in _LONG:
            return tag, struct.unpack("<I", self._file.read(4))[0], False
        return tag, struct.unpack("<H", head[6:])[0], False

    def _skip(self, length: int, depth: int) -> None:
        """Go to the end of a value; one of unknown length is a sequence, which says where it ends."""
        if length != _UNDEFINED:
            if self._file.tell() + length > self._size:
                raise _NoHeader
            self._file.seek(length, os.SEEK_CUR)
            return
        if depth > _MOST_DEPTH:
            raise _NoHeader
        while True:
            tag, inner, is_mark = self._element()
            if tag in (_SEQUENCE_END, _ITEM_END):
                return
            if is_mark and tag != _ITEM:
                raise _NoHeader
            self._skip(inner, depth + 1)


@dataclass
class _Folder:
    """What was read of a folder, and when."""

    changed: int
    looked: int
    files: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # size, time, series


_folders: OrderedDict[str, _Folder] = OrderedDict()
_lock = threading.Lock()


def files_of_series(path: Path) -> list[Path]:
    """Return the other files of the slide that a DICOM file is a part of, sorted.

    They lie in its folder and are named ``.dcm``. A file that states no series, or is not one of a
    slide's, stands alone. Headers are read once and again where a file changed.
    """
    with _lock:
        known = _looked_at(path.parent)
        own = known.get(path.name) or (0, 0, "")
        if not own[2]:
            return []
        return sorted(
            path.parent / name
            for name, (_, _, series) in known.items()
            if series == own[2] and name != path.name
        )


def _looked_at(folder: Path) -> dict[str, tuple[int, int, str]]:
    """The DICOM files of a folder by name; of a settled folder hardly one is asked for again."""
    key = os.path.abspath(folder)  # noqa: PTH100 -- links must not be resolved
    changed, now = folder.stat().st_mtime_ns, time.time_ns()
    before = _folders.get(key)
    files = dict(before.files) if before is not None else {}
    if before is None or before.changed != changed or before.looked - changed < _SETTLED_NS:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if one.name.lower().endswith(".dcm")]
        files = {name: _entry(os.path.join(key, name), files) for name in names}  # noqa: PTH118
    else:  # no file came or went; what was being copied then may be whole now
        for name, (_, written, _series) in files.items():
            if before.looked - written < _SETTLED_NS:
                files[name] = _entry(os.path.join(key, name), files)  # noqa: PTH118
    _folders[key] = _Folder(changed, now, files)
    _folders.move_to_end(key)
    while len(_folders) > _FOLDERS_KEPT:
        _folders.popitem(last=False)
    return files


def _entry(path: str, before: dict[str, tuple[int, int, str]]) -> tuple[int, int, str]:
    try:
        facts = os.stat(path)  # noqa: PTH116 -- asked often: a Path costs more than the answer
        known = before.get(os.path.basename(path))  # noqa: PTH119
        if known is not None and known[:2] == (facts.st_size, facts.st_mtime_ns):
            return known
        return facts.st_size, facts.st_mtime_ns, slide_series(path)
    except OSError:
        return 0, 0, ""
