"""What is kept of a slide below a job's output: its tiles, their pictures, and its features."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from markupsafe import escape

from offsite.errors import InputError
from offsite.pathology.features.file import feature_path, remove_features
from offsite.pathology.features.folders import read_header
from offsite.pathology.features.locating import locate
from offsite.pathology.features.source import FeatureSource
from offsite.pathology.stages import source_of
from offsite.preprocessing.tiles.page import PAGE
from offsite.preprocessing.tiles.pictures import picture_paths
from offsite.preprocessing.tiles.table import (
    FOLDER,
    load_record,
    record_path,
    refuse_foreign_tiles,
    table_path,
)
from offsite.preprocessing.tiles.tile_pictures import picture_path
from offsite.tables.cells import as_it_was
from offsite.training.encoders import VOCABULARY, VOCABULARY_FILES
from offsite.training.held_files import HeldFile
from offsite.training.modality import ImageJob
from offsite.written import is_own, strike


def held_files(job: ImageJob, slides: Sequence[str]) -> list[HeldFile]:
    """Return the files that hold these slides, see `offsite.training.modality.Modality`.

    Features that another tool made are named, and are nobody's to remove but their owner's.
    """
    found = [held for slide in slides for held in _tiles(job.output, slide)]
    found += [held for slide in slides for held in _features(source_of(job), slide)]
    return [*found, *_page(job.output, slides), *_words(job.output, set(slides))]


def _page(output: Path, slides: Sequence[str]) -> Iterator[HeldFile]:
    """The page of all slides' tiles, if it shows one of these; `tile --pictures` makes it anew."""
    page = output / PAGE
    if not page.is_file() and not page.is_symlink():
        return
    ours = is_own(page)
    text = page.read_text(encoding="utf-8", errors="replace") if ours else ""
    if not ours or any(f'data-slide="{escape(slide)}"' in text for slide in slides):
        yield HeldFile(page, "page of slides and tiles", partial(strike, page) if ours else None)


def _words(output: Path, slides: set[str]) -> Iterator[HeldFile]:
    """Tissue words found among these slides, and the sheets that show their tiles."""
    for table in sorted((output / VOCABULARY).rglob("words.csv")):
        files = [table.parent / name for name in VOCABULARY_FILES]
        named = _named_in(table)
        if not (
            named & slides if named is not None else any(f.is_file() and is_own(f) for f in files)
        ):
            continue
        for file in files:
            if file.is_file() or file.is_symlink():
                remove = partial(strike, file) if is_own(file) else None
                yield HeldFile(file, "tissue words", remove)


def _named_in(table: Path) -> set[str] | None:
    """The slides of a table of words; None where somebody saved it so that they are not known."""
    try:
        return {as_it_was(name) for name in pd.read_csv(table, dtype=str)["slide"].astype(str)}
    except (OSError, ValueError, LookupError):
        return None


def _tiles(output: Path, slide: str) -> Iterator[HeldFile]:
    table, record = table_path(output, slide), record_path(output, slide)
    drawn = output / FOLDER / f"{slide}.geojson"
    for picture in (*picture_paths(output, slide), picture_path(output, slide), drawn):
        if picture.is_file() or picture.is_symlink():
            remove = partial(strike, picture) if is_own(picture) else None
            yield HeldFile(picture, "picture of a slide's tiles", remove)
    ours = load_record(output, slide) is not None
    for file, what in ((table, "table of tiles"), (record, "record of tiles")):
        if file.is_file() or file.is_symlink():
            remove_ours = partial(_remove_tiles, output, slide, file) if ours else None
            yield HeldFile(file, what, remove_ours)


def _remove_tiles(output: Path, slide: str, file: Path) -> None:
    refuse_foreign_tiles(output, slide)
    file.unlink(missing_ok=True)


def _features(source: FeatureSource, slide: str) -> Iterator[HeldFile]:
    folder, named = source.folder, feature_path(source.folder, slide)
    files = {named} if named.is_file() or named.is_symlink() else set()
    try:
        files |= set(locate(folder, [slide]).values())
    except InputError:  # two of one name: each is found by its name
        files |= {path for path in folder.rglob(f"{slide}.*") if path.is_file()}
    for file in sorted(files):
        try:
            made_here = source.encoder is None and file == named
            ours = made_here and read_header(file).layout == "offsite"
        except InputError:
            ours = False
        remove = partial(remove_features, file, recorded=True) if ours else None
        yield HeldFile(file, "features of a slide", remove)
