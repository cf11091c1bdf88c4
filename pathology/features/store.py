"""The features of many slides in one float16 array with offsets, resident or memory-mapped."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from offsite.errors import InputError
from offsite.files import digest_of, fingerprint, read_json, replacing, write_json
from offsite.ownership import remove_named
from offsite.pathology.features.external import FeatureKind
from offsite.pathology.features.file import SlideFeatures
from offsite.pathology.features.folders import read_any, read_header
from offsite.pathology.features.kinds import check_one_kind

VERSION = 1
_RECORD = "store.json"
_HEX = "[0-9a-f]" * 16


@dataclass(frozen=True)
class FeatureStore:
    """Packed features of slides.

    Attributes
    ----------
    slides : tuple of str
        Identifiers, in the order of the rows.
    features : numpy.ndarray
        N x D, float16: all slides' rows one after the other; a memory map or resident.
    coords : numpy.ndarray
        N x 2, int64, level-0 px.
    offsets : numpy.ndarray
        S + 1, int64: slide s owns rows ``offsets[s]:offsets[s + 1]``.
    digest : str
        SHA-256 (hex) of slides and contents; another feature gives another digest.
    encoder, encoder_digest : str
        What made them.
    left_out : dict of str to (str, str)
        Code and sentence of the slides whose numbers could not be used, where that was asked for.
    """

    slides: tuple[str, ...]
    features: np.ndarray
    coords: np.ndarray
    offsets: np.ndarray
    digest: str
    encoder: str
    encoder_digest: str
    left_out: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.features.shape[1])

    @property
    def counts(self) -> np.ndarray:
        """Rows of each slide."""
        return np.diff(self.offsets)

    def index(self, slide: str) -> int:
        """Return the number of a slide; KeyError where it is not in the store."""
        try:
            return self.slides.index(slide)
        except ValueError:
            raise KeyError(slide) from None

    def rows(self, slide: int, which: np.ndarray | None = None) -> np.ndarray:
        """Return a slide's features, all or the rows ``which`` of it (float16)."""
        start, stop = self.offsets[slide], self.offsets[slide + 1]
        whole = self.features[start:stop]
        return whole if which is None else whole[which]

    def slide_coords(self, slide: int) -> np.ndarray:
        """Return the coordinates of a slide's rows."""
        return self.coords[self.offsets[slide] : self.offsets[slide + 1]]


def pack_features(
    files: Mapping[str, Path],
    folder: str | Path | None = None,
    kind: FeatureKind | None = None,
) -> FeatureStore:
    """Pack the feature files of slides into a store.

    Parameters
    ----------
    files : mapping of str to path
        Feature file of each slide, of any layout that `offsite.pathology.features.folders` knows.
    folder : path, optional
        Where to keep the packed array. With it the store is memory-mapped, and it is packed again
        only when a file has changed. Without it the store is resident.
    kind : FeatureKind, optional
        What all files are, as `offsite.pathology.features.external.look_through` found: a file whose numbers
        cannot be used then is left out with its reason. Without it nothing is left out.

    Raises
    ------
    InputError
        There is no file, one is unusable, or two come from different encoders or kinds of tiles.
    """
    if not files:
        raise InputError(
            "there are no features to pack", remedy="Embed the slides first", code="no_features"
        )
    headers = {slide: read_header(path) for slide, path in files.items()}
    contents = {slide: headers[slide].digest or fingerprint(path) for slide, path in files.items()}
    if kind is None:
        first = check_one_kind(headers, files)
        width, encoder = first.dimensions, (first.origin.encoder, first.origin.encoder_digest)
        digest = digest_of([VERSION, list(contents.items())])
    else:
        width, encoder = kind.dimensions, (kind.encoder.label, kind.digest)
        digest = digest_of([VERSION, kind.digest, list(contents.items())])
    if folder is not None and (kept := _load(Path(folder), digest)) is not None:
        return kept
    shapes = {slide: (header.rows, width) for slide, header in headers.items()}
    facts = {"digest": digest, "encoder": encoder[0], "encoder_digest": encoder[1]}
    lenient = kind is not None
    if folder is not None:
        return _write(Path(folder), facts, shapes, files, lenient)
    most = sum(rows for rows, _ in shapes.values())
    rows, coords = np.empty((most, width), np.float16), np.empty((most, 2), np.int64)

    def put(start: int, slide: SlideFeatures) -> None:
        stop = start + len(slide.features)
        rows[start:stop], coords[start:stop] = slide.features, slide.coords

    return _store(facts | _fill(put, shapes, files, lenient), rows, coords)


def _fill(
    put: Callable[[int, SlideFeatures], None],
    shapes: Mapping[str, tuple[int, int]],
    files: Mapping[str, Path],
    lenient: bool,
) -> dict[str, Any]:
    """Put the slides one behind the other; return which there are, and where."""
    offsets, slides, left_out = [0], [], {}
    for name, path in files.items():
        try:
            slide = read_any(path)
            if slide.features.shape != shapes[name]:
                raise InputError(
                    "the file was changed while it was read",
                    file=path,
                    remedy="Let it be written to its end, and begin again",
                    code="bad_feature_file",
                )
        except InputError as error:
            if not lenient:
                raise
            left_out[name] = (error.code, f"{error.problem}. {error.remedy}")
            continue
        put(offsets[-1], slide)
        offsets.append(offsets[-1] + len(slide.features))
        slides.append(name)
    return {"slides": slides, "offsets": offsets, "left_out": left_out}


def _write(
    folder: Path,
    facts: dict[str, Any],
    shapes: Mapping[str, tuple[int, int]],
    files: Mapping[str, Path],
    lenient: bool,
) -> FeatureStore:
    """Pack into a folder where another process may be packing other slides at the same time.

    Arrays have the store's digest in their names, so a record never lies beside arrays of another
    store. They are mapped before they get their names: whoever removes them then harms no one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    most = sum(rows for rows, _ in shapes.values())
    width, digest = next(iter(shapes.values()))[1], str(facts["digest"])
    of_rows, of_coords = _arrays(folder, digest)
    with replacing(of_rows) as new_rows, replacing(of_coords) as new_coords:
        with (
            _array_file(new_rows, np.float16, (most, width)) as add_rows,
            _array_file(new_coords, np.int64, (most, 2)) as add_coords,
        ):

            def put(start: int, slide: SlideFeatures) -> None:
                add_rows(slide.features)
                add_coords(slide.coords)

            facts = facts | _fill(put, shapes, files, lenient)
        packed = _mapped(facts, new_rows, new_coords)
    write_json(folder / _RECORD, facts)
    arrays = [*folder.glob(f"features-{_HEX}.npy"), *folder.glob(f"coords-{_HEX}.npy")]
    remove_named(folder, {file.name for file in arrays} - {of_rows.name, of_coords.name})
    return packed


@contextmanager
def _array_file(
    path: Path, dtype: type, shape: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], int]]:
    """Yield what adds rows to an ``.npy`` file of this shape; rows that never come are zero.

    The file is written and not mapped: pages written through a map count as this process's memory, and
    of a large cohort they are all of its features.
    """
    kind = np.dtype(dtype)
    with path.open("wb") as file:
        described = {"descr": kind.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, described)
        begin = file.tell()
        yield lambda rows: file.write(np.ascontiguousarray(rows, kind).data)
        file.truncate(begin + shape[0] * shape[1] * kind.itemsize)


def _arrays(folder: Path, digest: str) -> tuple[Path, Path]:
    """Where the rows and coordinates of a store are."""
    return folder / f"features-{digest[:16]}.npy", folder / f"coords-{digest[:16]}.npy"


def _load(folder: Path, digest: str) -> FeatureStore | None:
    try:
        facts = read_json(folder / _RECORD)
        if facts.get("digest") != digest:
            return None
        return _mapped(facts, *_arrays(folder, digest))
    except (OSError, ValueError, KeyError):  # absent or cut: it is packed again
        return None


def _mapped(facts: Mapping[str, Any], rows: Path, coords: Path) -> FeatureStore:
    return _store(
        facts,
        np.load(rows, mmap_mode="r", allow_pickle=False),
        np.load(coords, mmap_mode="r", allow_pickle=False),
    )


def _store(facts: Mapping[str, Any], rows: np.ndarray, coords: np.ndarray) -> FeatureStore:
    offsets = np.asarray(facts["offsets"], np.int64)
    left_out = {name: (why[0], why[1]) for name, why in facts.get("left_out", {}).items()}
    return FeatureStore(
        slides=tuple(facts["slides"]),
        features=rows[: offsets[-1]],  # what was left out leaves room at the end
        coords=coords[: offsets[-1]],
        offsets=offsets,
        digest=str(facts["digest"]),
        encoder=str(facts["encoder"]),
        encoder_digest=str(facts["encoder_digest"]),
        left_out=left_out,
    )
