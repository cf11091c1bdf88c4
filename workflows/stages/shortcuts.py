"""What a run's images show of their cameras, kept beside its predictions, and how far it gets."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.predictions.tasks import tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.shift.shortcuts import shortcut_table
from offsite.evaluation.tables.embeddings import enough
from offsite.files import replacing
from offsite.preprocessing.cohort.nuisances import NAMES
from offsite.preprocessing.slides.fingerprints import slide_fingerprint
from offsite.training.run_folder import NUISANCES
from offsite.workflows.jobs.job import Job

if TYPE_CHECKING:
    from offsite.children.pool import Place

VERSION = 1
"""Goes up when the same file would give other numbers."""
MOST = 4000
"""Labelled images that are read; of larger sites fewer than there are."""


def read_nuisances(
    paths: Sequence[Path],
    scales: Sequence[float] | np.ndarray,
    *,
    slides: bool,
    place: "Place",
    workers: int,
    progress: Callable[[], object],
) -> list[np.ndarray | None]:
    """Return the numbers of each image (`preprocessing.cohort.nuisances.NAMES`); None of one not read.

    ``scales`` are the um per px that the table gives of each, NaN where it gives none.
    """
    from offsite.children.ended import ChildEnded
    from offsite.preprocessing.readers.pictures import given_scales, nuisances_of

    def read(path: Path, mpp: float | None) -> np.ndarray | None:
        try:
            return place.call(nuisances_of, path, mpp, slides=slides)
        except ChildEnded:
            return None
        finally:
            progress()

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(read, paths, given_scales(scales)))


def keep_nuisances(folder: Path, job: Job) -> None:
    """Write ``nuisances.parquet`` beside a run's predictions, where it is not there yet.

    An image that another run of the job has read is not read again while its file is the same.

    Raises
    ------
    InputError
        Code ``no_images``: the job's cohort is not there any more, or no image could be read.
    """
    from offsite.children.pool import Children
    from offsite.cores import usable_cores
    from offsite.preprocessing.readers.pictures import are_slides
    from offsite.workflows.console.messages import stage

    if (folder / NUISANCES).is_file():
        return
    if not job.cohort_path.is_file():
        raise InputError(
            "the cohort whose images are to be read is not there",
            file=job.cohort_path,
            remedy="Put cohort and images back, or evaluate without --shortcuts",
            code="no_images",
        )
    predicted = load_predictions(folder)
    labelled = np.flatnonzero(predicted.labels >= 0)
    rows = labelled[enough(predicted.table["site"].to_numpy(str)[labelled], MOST)]
    listed = job.cohort.table
    path_of = dict(zip(listed["image"], job.cohort.image_paths(), strict=True))
    scale_of = dict(zip(listed["image"], listed["mpp"].to_numpy(float), strict=True))
    predicted_images = predicted.table["image"].iloc[rows]
    images = [image for image in predicted_images if image in path_of]  # some may have left since
    paths = [path_of[image] for image in images]
    workers = usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        contents = list(pool.map(_content, paths))
    read_before = _read_before(job)
    numbers = {c: read_before[c] for c in contents if c and c in read_before}
    fresh = [at for at, content in enumerate(contents) if content not in numbers]
    with stage("shortcuts", len(fresh)) as advance, Children(workers) as children:
        to_read = [paths[at] for at in fresh]
        scales = [scale_of[images[at]] for at in fresh]
        read = read_nuisances(
            to_read,
            scales,
            slides=bool(to_read) and are_slides(to_read, children, scales),
            place=children,
            workers=workers,
            progress=advance,
        )
    of_fresh = dict(zip(fresh, read, strict=True))
    found = [
        of_fresh[at] if at in of_fresh else numbers[content] for at, content in enumerate(contents)
    ]
    known = [image for image, one in zip(images, found, strict=True) if one is not None]
    if not known:
        raise InputError(
            "no image of the run could be read",
            file=job.cohort_path,
            remedy="Put the images where the cohort names them, or evaluate without --shortcuts",
            code="no_images",
        )
    table = pd.DataFrame([one for one in found if one is not None], columns=list(NAMES))
    table.insert(0, "image", known)
    table["content"] = [
        content for content, one in zip(contents, found, strict=True) if one is not None
    ]
    with replacing(folder / NUISANCES) as temporary:
        table.to_parquet(temporary, index=False)


def _content(path: Path) -> str:
    """A digest of what is read of an image, and of how; "" where it cannot be read."""
    try:
        digest = slide_fingerprint(path)
    except InputError:
        return ""
    return f"{VERSION}:{digest}" if digest else ""


def _read_before(job: Job) -> dict[str, np.ndarray]:
    """What runs of the job have read, by `_content`; of earlier versions nothing is known."""
    known: dict[str, np.ndarray] = {}
    for file in sorted((job.output / "runs").rglob(NUISANCES)):
        try:
            table = pd.read_parquet(file, columns=["content", *NAMES])
        except (OSError, ValueError, KeyError):
            continue
        rows = table[list(NAMES)].to_numpy(np.float64)
        known |= {str(c): row for c, row in zip(table["content"], rows, strict=True) if c}
    return known


def shortcut_tables(folder: Path, settings: EvaluationSettings) -> dict[str, pd.DataFrame]:
    """Return ``shortcuts`` of a run whose ``nuisances.parquet`` is there; else nothing.

    They rank the first task; without one all classes but the first.
    """
    if not (folder / NUISANCES).is_file():
        return {}
    numbers = _kept(folder / NUISANCES).drop_duplicates("image").set_index("image")
    predicted = load_predictions(folder)
    kept = (predicted.labels >= 0) & predicted.table["image"].isin(numbers.index).to_numpy()
    rows = predicted.select(kept)
    tasks = tasks_of(predicted.classes, settings)
    positive = tasks[0].positive(rows.labels) if tasks else rows.labels > 0
    table = shortcut_table(
        numbers.loc[rows.table["image"], list(NAMES)].to_numpy(np.float64),
        positive,
        rows.table["site"].to_numpy(str),
        rows.table["patient"].to_numpy(str),
    )
    table.insert(0, "task", tasks[0].name if tasks else "")
    return {"shortcuts": table}


def _kept(file: Path) -> pd.DataFrame:
    """The table beside a run, which nobody else may have put there."""
    try:
        return pd.read_parquet(file, columns=["image", *NAMES])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            "it does not hold what the run's images show of their cameras",
            file=file,
            remedy="Move it away: `offsite evaluate --shortcuts` makes the run's own",
            code="not_ours",
        ) from error
