"""A folder of features that another tool made, against the slides of a table: what each file is worth.

Nothing is written there, and nothing is read as something it does not say: a file that names
another encoder, is of another width or of other tiles is its slide's reason not to take part.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import Any

from offsite.errors import InputError, InputErrors
from offsite.pathology.features.folders import FeatureHeader, read_header
from offsite.pathology.features.kinds import OF_TILES
from offsite.pathology.features.locating import Located, located, one_file, two_files
from offsite.pathology.features.settings import ExternalEncoder, listed

Fault = tuple[str, str]
"""Code and sentence of a slide that cannot take part."""
OTHER_ENCODER, OTHER_TILES, NOT_THERE = "other_encoder", "other_tiles", "not_embedded"
TOOLS = {"clam": "CLAM", "clam_pt": "CLAM (.pt)", "trident": "TRIDENT", "stamp": "STAMP"}


@dataclass(frozen=True)
class FeatureKind:
    """What features are learnt from together: one encoder, one width, one kind of tiles.

    Attributes
    ----------
    encoder : ExternalEncoder
        As its user names it.
    dimensions : int
        D.
    tiles : dict of str to float
        What files say of their tiles, by unit (`offsite.pathology.features.kinds.OF_TILES`); what none says is
        left out.
    """

    encoder: ExternalEncoder
    dimensions: int
    tiles: Mapping[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What stands for the encoder's own digest, which nobody here can know."""
        return f"external:{self.encoder.label}:{self.dimensions}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, for a run's record and a model's."""
        return {
            "encoder": self.encoder.model_dump(mode="json"),
            "dimensions": self.dimensions,
            "tiles": dict(self.tiles),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FeatureKind":
        """Return what `to_json` told."""
        encoder = ExternalEncoder.model_validate(values["encoder"])
        tiles = {str(unit): float(value) for unit, value in values.get("tiles", {}).items()}
        return cls(encoder, int(values["dimensions"]), tiles)

    def fault_of(self, header: FeatureHeader) -> Fault | None:
        """Return why a file is of another kind, or None where nothing says so."""
        if fault := _other_name(self.encoder, header):
            return fault
        if header.dimensions != self.dimensions:
            return OTHER_ENCODER, (
                f"Its features are {header.dimensions:,} numbers wide, and those of"
                f" {self.encoder.label} are {self.dimensions:,}"
            )
        for unit, (value_of, tolerance) in OF_TILES.items():
            here, there = value_of(header), self.tiles.get(unit, 0)
            if here > 0 and there > 0 and abs(here / there - 1) > tolerance:
                return (
                    OTHER_TILES,
                    f"Its tiles are of {here:g} {unit}, and the others' of {there:g}",
                )
        return None


@dataclass(frozen=True)
class Looked:
    """What a folder holds for the slides of a table.

    Attributes
    ----------
    files : dict of str to Path
        The file of each slide that can take part as far as its header says.
    faults : dict of str to (str, str)
        Why each other slide cannot.
    kind : FeatureKind
        What the files are.
    layouts : dict of str to int
        How many of the files are laid out as which tool does.
    of_none : tuple of Path
        Feature files that are no slide's.
    """

    files: dict[str, Path]
    faults: dict[str, Fault]
    kind: FeatureKind
    layouts: dict[str, int]
    of_none: tuple[Path, ...]

    def told(self) -> dict[str, Any]:
        """Return what a reader of a run is told of its features, as plain values."""
        return {
            **self.kind.to_json(),
            "layouts": {TOOLS.get(name, name): n for name, n in self.layouts.items()},
            "files_of_no_slide": len(self.of_none),
            "such_files": [path.name for path in self.of_none[:3]],
        }


def look_through(
    folder: Path, slides: Iterable[str], encoder: ExternalEncoder, table: str = "the table"
) -> Looked:
    """Match slides and files, and read what each file says of itself; no feature is read.

    The kind is that of most files; where the encoder's width is stated, that is it. ``table`` is what
    errors call the table of the slides.

    Raises
    ------
    InputErrors
        Slides with several files, and files that several slides would share.
    InputError
        Code ``no_features`` (no file, or no such folder), ``no_match``, ``features_missing`` (half
        of the slides have no file) or ``other_encoder`` (half of the files are of another).
    """
    names = list(slides)
    match = matched(folder, names, table)
    headers: dict[str, FeatureHeader] = {}
    faults: dict[str, Fault] = dict.fromkeys(
        match.without, (NOT_THERE, "No feature file has the slide's name")
    )
    for slide, path in match.files.items():
        try:
            header = read_header(path)
        except InputError as error:
            faults[slide] = error.code, f"{error.problem}. {error.remedy}"
            continue
        if header.rows:
            headers[slide] = header
        else:
            faults[slide] = "no_tiles", "The feature file holds no tile"
    kind = _kind_of(list(headers.values()), encoder)
    for slide, header in headers.items():
        if fault := kind.fault_of(header):
            faults[slide] = fault
    _check_encoder(folder, faults, headers, encoder)
    files = {slide: match.files[slide] for slide in names if slide in headers.keys() - faults}
    if not files:
        slide = next(iter(match.files))
        raise InputError(
            f"none of {len(match.files)} feature files can be used ({slide}: {faults[slide][1]})",
            file=folder,
            remedy="Extract the features again, or name another folder",
            code=faults[slide][0],
        )
    layouts = Counter(headers[slide].layout for slide in files)
    order = {slide: faults[slide] for slide in names if slide in faults}
    return Looked(files, order, kind, dict(layouts.most_common()), match.of_none)


def matched(folder: Path, slides: list[str], table: str = "the table") -> Located:
    """Match slides and files by name, refusing what a name cannot decide.

    Raises
    ------
    InputError
        As `look_through`, but for ``other_encoder``.
    """
    if not folder.is_dir():
        raise InputError(
            "there is no such folder of features",
            file=folder,
            remedy="Set features.folder to the folder of the feature files",
            code="no_features",
        )
    match = located(folder, slides)
    doubled = [two_files(slide, files, folder) for slide, files in match.several.items()]
    doubled += [one_file(path, names, folder) for path, names in match.shared.items()]
    if doubled:
        raise InputErrors(doubled)
    if not match.files and not match.of_none:
        raise InputError(
            "the folder holds no feature file (.h5, .hdf5 or .pt), nor does any folder in it",
            file=folder,
            remedy="Set features.folder to the folder of the feature files",
            code="no_features",
        )
    files = f"{len(match.of_none)} files of no slide" + (
        f" ({listed(path.name for path in match.of_none)})" if match.of_none else ""
    )
    if not match.files:
        raise InputError(
            f"no slide of {table} ({listed(match.without)}) has a file here: {files}",
            file=folder,
            remedy=f"Let column 'slide' of {table} hold the files' names, with or without suffix",
            code="no_match",
        )
    if 2 * len(match.without) >= len(slides):
        raise InputError(
            f"{len(match.without)} of {len(slides)} slides of {table} have no file here"
            f" ({listed(match.without)}); {files}",
            file=folder,
            remedy=f"Mend the names in column 'slide' of {table}, add their features, or leave these rows"
            " out",
            code="features_missing",
        )
    return match


def _kind_of(headers: list[FeatureHeader], encoder: ExternalEncoder) -> FeatureKind:
    """The kind of most of the files that do not name another encoder."""
    own = [header for header in headers if not _other_name(encoder, header)] or headers
    widths = Counter(header.dimensions for header in own)
    width = encoder.dimensions or (widths.most_common(1)[0][0] if widths else 0)
    alike = [header for header in own if header.dimensions == width]
    tiles = {}
    for unit, (value_of, tolerance) in OF_TILES.items():
        given = [value for header in alike if (value := value_of(header)) > 0]
        if given:
            tiles[unit] = median_low(given) if tolerance else Counter(given).most_common(1)[0][0]
    return FeatureKind(encoder, width, tiles)


def _other_name(encoder: ExternalEncoder, header: FeatureHeader) -> Fault | None:
    said = header.origin.encoder
    if not header.names_encoder or encoder.is_named(said):
        return None
    return OTHER_ENCODER, f"The file names encoder {said}, and not {encoder.label}"


def _check_encoder(
    folder: Path,
    faults: Mapping[str, Fault],
    headers: Mapping[str, FeatureHeader],
    encoder: ExternalEncoder,
) -> None:
    """Refuse a folder of which half is of another encoder: not the files, the job is mistaken."""
    other = [slide for slide, (code, _) in faults.items() if code == OTHER_ENCODER]
    if not other or 2 * len(other) < len(headers):
        return
    said = Counter(headers[slide].origin.encoder for slide in other if _other_name(encoder, headers[slide]))  # fmt: skip
    if said:
        name = said.most_common(1)[0][0]
        remedy = (
            f"If that is the encoder that you call {encoder.label}, set features.encoder.written_as:"
            f" [{name}]; else name the folder of {encoder.label}"
        )
    else:
        remedy = "Set features.encoder.dimensions to the width that you mean, and extract the others again"
    raise InputError(
        f"{len(other)} of {len(headers)} files are of another encoder ({other[0]}:"
        f" {faults[other[0]][1]})",
        file=folder,
        remedy=remedy,
        code=OTHER_ENCODER,
    )
