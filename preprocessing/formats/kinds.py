"""What a file is by its first bytes: names lie, content rarely does."""

from pathlib import Path

from offsite.children.ended import ChildEnded
from offsite.children.pool import HERE, Place
from offsite.files import check_plain
from offsite.preprocessing.formats.dicom_series import slide_series

_PICTURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"\x00\x00\x00\x0cjP  ": "jpeg2000",
    b"\xff\x4f\xff\x51": "jpeg2000",
}
_HEAD = 132
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def kind_of(path: Path) -> str:
    """Return the format of a file: jpeg, png, gif, bmp, jpeg2000, webp, avif, tiff, dicom, or ""."""
    check_plain(path)
    with path.open("rb") as file:
        return kind_of_bytes(file.read(_HEAD))


def kind_of_bytes(head: bytes) -> str:
    """Return the format of what begins so; see `kind_of`."""
    head = head[:_HEAD]
    if head[128:132] == b"DICM":
        return "dicom"
    if head[:4] in _TIFF:
        return "tiff"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "avif"
    return next((name for magic, name in _PICTURES.items() if head.startswith(magic)), "")


def dicom_series(paths: list[Path], place: Place = HERE) -> list[tuple[Path, ...]]:
    """Group the files of one folder: those of a slide's DICOM series are one image.

    The largest file of a series, the level with most pixels, stands for it. Photographs are one
    image each, though a camera gives those of one visit one series. A file whose header cannot be
    read stands for itself. Headers are read at ``place``.
    """
    series: dict[str, list[Path]] = {}
    groups: list[tuple[Path, ...]] = []
    for path in paths:
        identity = _series_at(place, path)
        if identity:
            series.setdefault(identity, []).append(path)
        else:
            groups.append((path,))
    for members in series.values():
        members.sort(key=lambda path: (-path.stat().st_size, path.name))
        groups.append(tuple(members))
    return sorted(groups, key=lambda group: group[0].name)


def _series_at(place: Place, path: Path) -> str:
    try:
        return place.call(slide_series, path) if kind_of(path) == "dicom" else ""
    except (OSError, ChildEnded):  # its own row will say so
        return ""


def dicom_size(path: Path) -> tuple[int, int] | None:
    """Return width and height (px) that a DICOM file's header states; None where none is stated."""
    try:
        from pydicom import dcmread

        if is_deflated(path):
            return None
        header = dcmread(path, specific_tags=["Columns", "Rows"], stop_before_pixels=True)
        width, height = int(header.get("Columns") or 0), int(header.get("Rows") or 0)
    except Exception:  # whatever is wrong with the file, or pydicom is not here
        return None
    return (width, height) if width > 0 and height > 0 else None


def is_deflated(path: Path) -> bool:
    """Whether a DICOM file would be inflated as a whole: a small one can fill the memory."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    meta = read_file_meta_info(path)
    return bool(meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)
