"""Which slides take part in a run, in which bags, and which are left out and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pathology.bags import BagTable
from pathology.embedding import EMBEDDED, TABLE
from pathology.feature_folders import locate, read_header
from pathology.features import feature_path
from pathology.store import FeatureStore, pack_features
from preprocessing.cohort import Cohort
from preprocessing.errors import InputError

STORE = "packed"
COLUMNS = ["image", "slide", "patient", "site", "site_role", "split", "label"]


@dataclass(frozen=True)
class SlidesOfRun:
    """The slides of a run.

    Attributes
    ----------
    table : pandas.DataFrame
        The cohort's rows that have features, in its order; ``bag`` is the row's bag.
    excluded : pandas.DataFrame
        The other rows, with ``status, code, message``.
    store : FeatureStore
    bags : BagTable
        A bag per slide, or per patient where slides are united.
    splits, roles : numpy.ndarray
        Split and site role of each bag (text).
    """

    table: pd.DataFrame
    excluded: pd.DataFrame
    store: FeatureStore
    bags: BagTable
    splits: np.ndarray
    roles: np.ndarray

    def training_bags(self) -> np.ndarray:
        """Numbers of the labelled bags to train on."""
        return self._labelled("train")

    def validation_bags(self) -> np.ndarray:
        """Numbers of the labelled validation bags of training sites."""
        return self._labelled("val")

    def _labelled(self, split: str) -> np.ndarray:
        chosen = (self.splits == split) & (self.roles == "training") & (self.bags.labels >= 0)
        return np.flatnonzero(chosen)

    def subset(self, chosen: np.ndarray) -> BagTable:
        """Return some of the bags."""
        return BagTable(
            tuple(self.bags.names[bag] for bag in chosen),
            tuple(self.bags.slides[bag] for bag in chosen),
            self.bags.labels[chosen],
        )


def select_slides(
    cohort: Cohort, features_folder: str | Path, pooling: str, resident_gib: float
) -> SlidesOfRun:
    """Find the features of a cohort and group its slides into bags.

    Parameters
    ----------
    pooling : str
        ``patient_union`` makes one bag of a patient's slides; its label is the most severe.
    resident_gib : float
        Features up to this size (GiB) are held in memory; larger ones are packed into
        ``packed/`` of the features folder and memory-mapped.

    Raises
    ------
    InputError
        The cohort has no splits, no slide has features, features that were made are damaged, or a
        class has no training bag.
    """
    folder = Path(features_folder)
    _check_splits(cohort)
    table = cohort.table[COLUMNS].assign(class_index=cohort.label_indices)
    said = _said(folder)
    files = _usable(folder, table["slide"], said)
    present = table["slide"].isin(list(files)).to_numpy()
    excluded = _excluded(table[~present], said)
    table = table[present].reset_index(drop=True)
    size = sum(path.stat().st_size for path in files.values())
    mapped = folder / STORE if size > resident_gib * 2**30 else None
    store = pack_features(files, mapped)
    groups = table["patient"] if pooling == "patient_union" else table["slide"]
    table["bag"], names = pd.factorize(groups)
    slides = tuple(
        tuple(np.flatnonzero(table["bag"].to_numpy() == bag).tolist()) for bag in range(len(names))
    )
    first = np.array([members[0] for members in slides])
    labels = table.groupby("bag")["class_index"].max().to_numpy(np.int64)
    chosen = SlidesOfRun(
        table=table,
        excluded=excluded,
        store=store,
        bags=BagTable(tuple(map(str, names)), slides, labels),
        splits=table["split"].to_numpy(object)[first],
        roles=table["site_role"].to_numpy(object)[first],
    )
    _check_classes(cohort, chosen)
    return chosen


def _check_splits(cohort: Cohort) -> None:
    missing = [name for name in ("split", "site_role") if name not in cohort.table.columns]
    if missing:
        raise InputError(
            f"the cohort has no {' and no '.join(missing)}", file=cohort.path,
            remedy="Split it first", code="no_splits",
        )  # fmt: skip


def _said(folder: Path) -> pd.DataFrame:
    """What embedding said of each slide (``status, code, message``), where it said something."""
    columns = ["status", "code", "message"]
    if not (folder / TABLE).is_file():
        return pd.DataFrame(columns=columns, dtype=str)
    try:
        found = pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)
        return found.set_index("slide")[columns]
    except (ValueError, KeyError) as error:
        raise InputError(
            f"the table cannot be read ({error})", file=folder / TABLE,
            remedy="Run `offsite embed` again: it writes the table anew", code="bad_feature_table",
        ) from error  # fmt: skip


def _usable(folder: Path, slides: Iterable[str], said: pd.DataFrame) -> dict[str, Path]:
    """Return the feature files with rows; refuse where one that was made is damaged or gone.

    A run without slides that have been embedded would be another run, so it does not begin.
    """
    made = set(said.index[said["status"] == EMBEDDED])
    located = locate(folder, slides)
    found = {}
    for slide in slides:
        path = located.get(slide, feature_path(folder, slide))
        try:
            if read_header(path).rows:
                found[slide] = path
        except InputError as error:
            if slide in made:
                raise InputError(
                    error.problem, file=path, code=error.code,
                    remedy="Run `offsite embed` again: it makes the file anew",
                ) from error  # fmt: skip
    return found


def _excluded(missing: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """Rows without features, with what embedding said of them."""
    failed = said[said["status"] != EMBEDDED]
    unknown = ("missing", "not_embedded", "There is no usable feature file for the slide")
    excluded = missing[COLUMNS].reset_index(drop=True)
    for name, text in zip(("status", "code", "message"), unknown, strict=True):
        excluded[name] = excluded["slide"].map(failed[name]).fillna(text)
    return excluded


def _check_classes(cohort: Cohort, chosen: SlidesOfRun) -> None:
    counts = np.bincount(chosen.bags.labels[chosen.training_bags()], minlength=len(cohort.classes))
    missing = [name for name, count in zip(cohort.classes, counts, strict=True) if not count]
    if missing:
        raise InputError(
            f"no training slide of class {', '.join(missing)} has features", file=cohort.path,
            remedy="Embed its slides, split with another seed, or name fewer classes",
            code="class_without_training",
        )  # fmt: skip
