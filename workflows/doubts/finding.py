"""The cases of a job whose label a head that was fitted to others finds least likely."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.training.frozen_images import FrozenImages
from offsite.training.heads.left_out import left_out_probabilities, losses_of
from offsite.workflows.doubts.alike import groups_of, identical
from offsite.workflows.doubts.expected import FIRST, Expected, expected_wrong
from offsite.workflows.jobs.job import Job

LEAST_GROUPS = 5
"""Groups that a class needs, so that each fold's head has seen it."""


@dataclass(frozen=True)
class Doubts:
    """The list, worst first, and what can be said of it.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per judged case: ``image, slide, patient, site, label, suggested`` (the class that the
        head would give), ``loss`` (nats), ``probability`` (of its own label), ``identical`` (images of
        the same picture, "; " between them), ``conflict``, ``picture`` (Path or None).
    expected : tuple of Expected
        Of the first cases.
    unread : int
        Labelled images that could not be judged.
    rare : dict of str to int
        Classes with too few patients to be judged, and their cases.
    """

    table: pd.DataFrame
    expected: tuple[Expected, ...]
    unread: int
    rare: dict[str, int]


def find_doubts(job: Job) -> Doubts:
    """Judge every labelled image of a job by a head fitted to other patients' images.

    Raises
    ------
    InputError
        The images are not made ready (`offsite workflow prepare`, or `tile` and `embed`), the job's
        modality has no frozen network, or fewer than two classes have enough patients
        (``too_few_patients``).
    """
    if job.modality.frozen_images is None:
        raise InputError(
            f"{job.modality.reads} have no frozen network to be judged by",
            file=job.file, remedy="Name a job of photographs or slides", code="no_frozen_network",
        )  # fmt: skip
    return doubts_of(job.modality.frozen_images(job), job.configuration.classes, job.file)


def doubts_of(images: FrozenImages, classes: tuple[str, ...], file: Path) -> Doubts:
    """Rank labelled images by the loss of their label; see `find_doubts`."""
    groups = groups_of(images.table)
    per_class = pd.Series(groups).groupby(images.table["label"].to_numpy()).nunique()
    judged = [name for name in classes if per_class.get(name, 0) >= LEAST_GROUPS]
    if len(judged) < 2:
        raise InputError(
            f"fewer than two classes have {LEAST_GROUPS} patients with a label",
            file=file, remedy="Label more images", code="too_few_patients",
        )  # fmt: skip
    rare = {
        name: int((images.table["label"] == name).sum())
        for name in classes
        if name not in judged and per_class.get(name, 0)
    }
    used = images.table["label"].isin(judged).to_numpy()
    table = images.table[used].reset_index(drop=True)
    labels = table["label"].map({name: n for n, name in enumerate(judged)}).to_numpy(np.int64)
    given = left_out_probabilities(images.features[used], labels, groups[used], len(judged))
    copies = identical(images.table).reset_index()
    table = table.assign(
        suggested=np.array(judged)[given.argmax(axis=1)],
        loss=losses_of(given, labels),
        probability=given[np.arange(len(table)), labels],
        identical=_named(images.table)[used],
        conflict=False,
    )
    shown = [path for path, mine in zip(images.pictures, used, strict=True) if mine]
    table["picture"] = pd.Series(shown, index=table.index, dtype=object)
    places = np.flatnonzero(used)
    of_rows = copies.set_index("index").reindex(places).set_axis(table.index).dropna()
    table.loc[of_rows.index, "conflict"] = of_rows["conflict"].astype(bool)
    ranked = table.sort_values("loss", ascending=False, kind="stable")
    expected = tuple(
        expected_wrong(ranked, of_rows, min(first, len(ranked)))
        for first in FIRST
        if first <= len(ranked) or first == FIRST[0]
    )
    return Doubts(ranked.reset_index(drop=True), expected, images.unread, rare)


def _named(table: pd.DataFrame) -> np.ndarray:
    """The other images of each row's picture."""
    by_picture = table.groupby("content")["image"].agg(list)
    return np.array([
        "; ".join(other for other in by_picture[content] if other != image)
        for content, image in zip(table["content"], table["image"], strict=True)
    ])  # fmt: skip
