"""A job's slides by the mean of their tile features, for the search for doubtful labels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.files import fingerprint
from offsite.pathology.features.external import look_through
from offsite.pathology.features.folders import read_any
from offsite.pathology.features.locating import locate
from offsite.pathology.stages import check_inputs, source_of
from offsite.preprocessing.tiles.pictures import picture_paths
from offsite.preprocessing.tiles.table import load_record
from offsite.training.frozen_images import FrozenImages
from offsite.training.modality import ImageJob


def frozen_images(job: ImageJob) -> FrozenImages:
    """Return the mean tile features of every labelled slide that has some.

    Raises
    ------
    InputError
        The tiles are of other settings, or no labelled slide has features (``not_embedded``).
    """
    check_inputs(job)
    labelled = job.cohort.table[job.cohort.table["label"] != ""]
    source = source_of(job)
    if source.encoder is not None:
        files = look_through(source.folder, labelled["slide"], source.encoder).files
    else:
        files = locate(source.folder, labelled["slide"])
    rows, means = [], []
    for number, slide in enumerate(labelled["slide"]):
        mean = _mean_of(files[slide]) if slide in files else None
        if mean is not None:
            rows.append(number)
            means.append(mean)
    if not means:
        raise InputError(
            "no labelled slide has features", file=source.folder,
            remedy="Run `offsite workflow embed` first", code="not_embedded",
        )  # fmt: skip
    if len({len(mean) for mean in means}) > 1:
        raise InputError(
            "the slides' features are of different lengths", file=source.folder,
            remedy="Embed all slides with one encoder", code="mixed_features",
        )  # fmt: skip
    table = labelled.iloc[rows][["image", "slide", "patient", "site", "label"]]
    thumbnails = [picture_paths(job.output, slide)[0] for slide in table["slide"]]
    return FrozenImages(
        table=_with_contents(job, table, files).reset_index(drop=True),
        features=np.stack(means),
        pictures=tuple(file if file.is_file() else None for file in thumbnails),
        unread=len(labelled) - len(rows),
    )


def _mean_of(file: object) -> np.ndarray | None:
    try:
        features = read_any(str(file)).features
    except InputError:
        return None
    return features.astype(np.float64).mean(axis=0) if len(features) else None


def _with_contents(job: ImageJob, table: pd.DataFrame, files: Mapping[str, Path]) -> pd.DataFrame:
    """Name what a slide is by its fingerprint; one of which none is known is like no other."""
    if job.configuration.features.folder is not None:
        return table.assign(content=[fingerprint(files[slide]) for slide in table["slide"]])
    records = [load_record(job.output, slide) for slide in table["slide"]]
    known = [record.fingerprint if record is not None else "" for record in records]
    pairs = zip(known, table["slide"], strict=True)
    return table.assign(content=[mark or f"slide {slide}" for mark, slide in pairs])
