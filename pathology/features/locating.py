"""Which feature file is which slide's, by their names alone."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from offsite.errors import InputError
from offsite.pathology.features.tensor_files import SUFFIX, is_tensor_file
from offsite.preprocessing.slides.formats import SLIDE_SUFFIXES

SUFFIXES = (".h5", ".hdf5", SUFFIX)


@dataclass(frozen=True)
class Located:
    """Which slides have which files.

    Attributes
    ----------
    files : dict of str to Path
        The one file of each slide that has one.
    without : tuple of str
        Slides without a file.
    several : dict of str to tuple of Path
        Slides for which several files stand, of which none is chosen.
    shared : dict of Path to tuple of str
        Files that would have to serve several slides, and those slides.
    of_none : tuple of Path
        Feature files that are no slide's; of CLAM's two files of a slide the ``.h5``.
    """

    files: dict[str, Path]
    without: tuple[str, ...]
    several: dict[str, tuple[Path, ...]]
    shared: dict[Path, tuple[str, ...]]
    of_none: tuple[Path, ...]


def located(folder: str | Path, slides: Iterable[str]) -> Located:
    """Match slides and the feature files in a folder and below it, links followed.

    A slide is matched by its name with or without a slide's or a feature file's suffix; a file that
    has the slide's suffix too (``S1.svs.h5``) is that slide's. An ``.h5`` is preferred to a
    ``.pt``, for it has coordinates.
    """
    known = list(feature_files(folder))
    files_of: dict[str, list[Path]] = {}
    for path in known:
        for name in {identifier(path.name), _without(path.name, SUFFIXES)}:
            files_of.setdefault(name, []).append(path)
    found: dict[str, Path] = {}
    without: list[str] = []
    several: dict[str, tuple[Path, ...]] = {}
    taken: set[Path] = set()
    for slide in slides:
        files = files_of.get(slide) or files_of.get(identifier(slide), [])
        ranked = [path for path in files if not is_tensor_file(path)] or files
        taken |= set(files)
        if len(ranked) > 1:  # one file under two links is one file
            ranked = list({path.resolve(): path for path in reversed(ranked)}.values())[::-1]
        if len(ranked) > 1:
            several[slide] = tuple(ranked)
        elif ranked:
            found[slide] = ranked[0]
        else:
            without.append(slide)
    owners: dict[Path, list[str]] = {}
    for slide, path in found.items():
        owners.setdefault(path, []).append(slide)
    shared = {path: tuple(names) for path, names in owners.items() if len(names) > 1}
    whole = {identifier(path.name) for path in known if not is_tensor_file(path)}
    of_none = tuple(
        path
        for path in known
        if path not in taken and not (is_tensor_file(path) and identifier(path.name) in whole)
    )
    return Located(found, tuple(without), several, shared, of_none)


def locate(folder: str | Path, slides: Iterable[str]) -> dict[str, Path]:
    """Find the feature file of each slide as `located` does; slides without one are left out.

    Raises
    ------
    InputError
        Code ``two_feature_files`` (two files of the same kind have the name of one slide) or
        ``one_feature_file`` (two slides, as ``S1.svs`` and ``S1.tif``, would share one).
    """
    match = located(folder, slides)
    for slide, files in match.several.items():
        raise two_files(slide, files, folder)
    for path, names in match.shared.items():
        raise one_file(path, names, folder)
    return match.files


def two_files(slide: str, files: Iterable[Path], folder: str | Path) -> InputError:
    """Make the error for a slide that has several files."""
    first, second = list(files)[:2]
    return InputError(
        f"two feature files for slide '{slide}' ({first} and {second})",
        file=folder,
        remedy="Name the folder of one encoder",
        code="two_feature_files",
    )


def one_file(path: Path, slides: Iterable[str], folder: str | Path) -> InputError:
    """Make the error for a file that several slides would share."""
    first, second = list(slides)[:2]
    return InputError(
        f"slides '{first}' and '{second}' would share one feature file ({path})",
        file=folder,
        remedy="Name each feature file as its slide, with the slide's suffix: S1.svs.h5",
        code="one_feature_file",
    )


def feature_files(folder: str | Path) -> Iterator[Path]:
    """Yield the feature files below a folder in a stable order; hidden ones are passed over."""
    for path in sorted(_walk(Path(folder))):
        if is_feature_name(path) and path.is_file():
            yield path


def is_feature_name(path: Path) -> bool:
    """Whether a file has the suffix of features."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def identifier(name: str) -> str:
    """Return a file's or slide's name without the suffixes of features and slides.

    Examples
    --------
    >>> identifier("S1.2.svs.h5"), identifier("S1.2")
    ('S1.2', 'S1.2')
    """
    return _without(_without(name, SUFFIXES), SLIDE_SUFFIXES)


def _walk(folder: Path) -> Iterator[Path]:
    """Files in a folder and all below it; a link that leads back is not followed again."""
    seen: set[tuple[int, int]] = set()
    for here, inner, names in os.walk(folder, followlinks=True):
        kept = []
        for name in inner:
            stat = os.stat(os.path.join(here, name))  # noqa: PTH116, PTH118
            if not name.startswith(".") and (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                kept.append(name)
        inner[:] = kept
        yield from (Path(here) / name for name in names)


def _without(name: str, suffixes: Iterable[str]) -> str:
    """Return a name without the first of the suffixes that it has."""
    ending = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")
    return name.removesuffix(name[len(name) - len(ending) :])
