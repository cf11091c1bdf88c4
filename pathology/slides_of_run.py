"""Which slides take part in a run, in which bags, and which are left out and why."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.pathology.bags import BagTable
from offsite.pathology.features.embedding import EMBEDDED, FAILED, NO_TILES, TABLE
from offsite.pathology.features.file import feature_path
from offsite.pathology.features.folders import locate, read_header
from offsite.pathology.features.store import FeatureStore, pack_features
from offsite.preprocessing.cohort.table import Cohort
from offsite.training.run_folder import NOT_TRAINED_ON

STORE = "packed"
COLUMNS = ["image", "slide", "patient", "site", "site_role", "split", "label"]
_REASON = ["status", "code", "message"]


@dataclass(frozen=True)
class SlidesOfRun:
    """The slides of a run.

    Attributes
    ----------
    table : pandas.DataFrame
        The cohort's rows that have features, in its order; ``bag`` is the row's bag. Where patients
        are answered, ``patient_label`` is the most severe of all the patient's slides, also of
        those without features.
    excluded : pandas.DataFrame
        The other rows, and those that are predicted but not trained on, with ``status, code,
        message``.
    store : FeatureStore
    bags : BagTable
        A bag per slide, or per patient where slides are united.
    splits, roles : numpy.ndarray
        Split and site role of each bag (text).
    partial : numpy.ndarray
        bool: bags without the slide that gives them their label. What is left of them need not show
        it, so they are neither trained on nor validated with.
    """

    table: pd.DataFrame
    excluded: pd.DataFrame
    store: FeatureStore
    bags: BagTable
    splits: np.ndarray
    roles: np.ndarray
    partial: np.ndarray

    def training_bags(self) -> np.ndarray:
        """Numbers of the labelled bags to train on."""
        return self._labelled("train")

    def validation_bags(self) -> np.ndarray:
        """Numbers of the labelled validation bags of training sites."""
        return self._labelled("val")

    def sites(self, numbers: np.ndarray) -> np.ndarray:
        """Return the number of the training site of each of some bags (int64)."""
        return np.array(self.bags.sites_of(numbers.tolist()), dtype=np.int64)

    def patients(self, numbers: np.ndarray) -> list[str]:
        """Return the patient of each of some bags."""
        first = self.table.drop_duplicates("bag").set_index("bag")["patient"]
        return first.loc[numbers].astype(str).tolist()

    def _labelled(self, split: str) -> np.ndarray:
        labelled = (self.splits == split) & (self.roles == "training") & (self.bags.labels >= 0)
        return np.flatnonzero(labelled & ~self.partial)

    def subset(self, numbers: np.ndarray) -> BagTable:
        """Return some of the bags."""
        return BagTable(
            tuple(self.bags.names[bag] for bag in numbers),
            tuple(self.bags.slides[bag] for bag in numbers),
            self.bags.labels[numbers],
            None if self.bags.sites is None else self.bags.sites[numbers],
        )


def select_slides(
    cohort: Cohort, features_folder: str | Path, pooling: str, resident_gib: float
) -> SlidesOfRun:
    """Find the features of a cohort and group its slides into bags.

    Parameters
    ----------
    pooling : str
        ``patient_union`` makes one bag of a patient's slides; its label is the most severe of all
        of them. Whose decisive slide has no features is predicted, but not trained on.
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
    severest = table.groupby("patient")["class_index"].transform("max").to_numpy(np.int64)
    if pooling != "slide":
        table["patient_label"] = [cohort.classes[c] if c >= 0 else "" for c in severest]
    said = _said(folder)
    files, faults = _usable(folder, table["slide"], said)
    present = table["slide"].isin(list(files)).to_numpy()
    excluded = _excluded(table[~present], said, faults)
    table, severest = table[present].reset_index(drop=True), severest[present]
    size = sum(path.stat().st_size for path in files.values())
    mapped = folder / STORE if size > resident_gib * 2**30 else None
    store = pack_features(files, mapped)
    groups = table["patient"] if pooling == "patient_union" else table["slide"]
    table["bag"], names = pd.factorize(groups)
    slides = tuple(
        tuple(np.flatnonzero(table["bag"].to_numpy() == bag).tolist()) for bag in range(len(names))
    )
    first = np.array([members[0] for members in slides])
    shown = table.groupby("bag")["class_index"].max().to_numpy(np.int64)
    labels = severest[first] if pooling == "patient_union" else shown
    slides_of_run = SlidesOfRun(
        table=table,
        excluded=excluded,
        store=store,
        bags=BagTable(tuple(map(str, names)), slides, labels, _sites(table, first, labels)),
        splits=table["split"].to_numpy(object)[first],
        roles=table["site_role"].to_numpy(object)[first],
        partial=shown < labels,
    )
    _check_classes(cohort, slides_of_run)
    return _with_partial_listed(slides_of_run)


def _with_partial_listed(slides_of_run: SlidesOfRun) -> SlidesOfRun:
    """List the slides of partial bags that would have been trained on or validated with."""
    table = slides_of_run.table
    used = table["split"].isin(["train", "val"]) & (table["site_role"] == "training")
    listed = table[used & slides_of_run.partial[table["bag"]]]
    if listed.empty:
        return slides_of_run
    message = (
        "The slide that gives the patient's label has no features, and this one need not show it"
    )
    rows = listed[COLUMNS].assign(
        status=NOT_TRAINED_ON, code="decisive_slide_missing", message=message
    )
    return replace(
        slides_of_run, excluded=pd.concat([slides_of_run.excluded, rows], ignore_index=True)
    )


def _sites(table: pd.DataFrame, first: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number the sites with a labelled training bag, in order of their names; -1 for others."""
    of_bag = table.iloc[first]
    trained = ((of_bag["split"] == "train") & (of_bag["site_role"] == "training")).to_numpy()
    names = sorted(of_bag.loc[trained & (labels >= 0), "site"].unique())
    number = {site: index for index, site in enumerate(names)}
    return of_bag["site"].map(number).fillna(-1).to_numpy(np.int64)


def _check_splits(cohort: Cohort) -> None:
    missing = [name for name in ("split", "site_role") if name not in cohort.table.columns]
    if missing:
        raise InputError(
            f"the cohort has no {' and no '.join(missing)}",
            file=cohort.path,
            remedy="Split it first",
            code="no_splits",
        )


def _said(folder: Path) -> pd.DataFrame:
    """What embedding said of each slide (``status, code, message``), where it said something."""
    if not (folder / TABLE).is_file():
        return pd.DataFrame(columns=_REASON, dtype=str)
    try:
        table = pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)
        return table.set_index("slide")[_REASON]
    except (ValueError, KeyError) as error:
        raise InputError(
            f"the table cannot be read ({error})",
            file=folder / TABLE,
            remedy="Run `offsite workflow embed` again: it writes the table anew",
            code="bad_feature_table",
        ) from error


def _usable(
    folder: Path, slides: Iterable[str], said: pd.DataFrame
) -> tuple[dict[str, Path], pd.DataFrame]:
    """Return the feature files with rows, and of the other files what is wrong with them.

    A run without slides that have been embedded would be another run, so where a file that was made
    is damaged or gone it does not begin.
    """
    made = set(said.index[said["status"] == EMBEDDED])
    located = locate(folder, slides)
    files, faults = {}, {}
    for slide in slides:
        path = located.get(slide, feature_path(folder, slide))
        try:
            if read_header(path).rows:
                files[slide] = path
            else:
                faults[slide] = (NO_TILES, "no_tiles", "The feature file holds no tile")
        except InputError as error:
            if slide in made:
                raise InputError(
                    error.problem,
                    file=path,
                    code=error.code,
                    remedy="Run `offsite workflow embed` again: it makes the file anew",
                ) from error
            if error.code != "not_embedded":
                faults[slide] = (FAILED, error.code, f"{error.problem}. {error.remedy}")
    return files, pd.DataFrame.from_dict(faults, orient="index", columns=_REASON, dtype=str)


def _excluded(missing: pd.DataFrame, said: pd.DataFrame, faults: pd.DataFrame) -> pd.DataFrame:
    """Rows without features, with what embedding said of them, or else what their file is like."""
    failed = said[said["status"] != EMBEDDED]
    reasons = pd.concat([failed, faults[~faults.index.isin(failed.index)]])
    unknown = ("missing", "not_embedded", "There is no feature file for the slide")
    excluded = missing[COLUMNS].reset_index(drop=True)
    for name, text in zip(_REASON, unknown, strict=True):
        excluded[name] = [reasons[name].get(slide, text) for slide in excluded["slide"]]
    return excluded


def _check_classes(cohort: Cohort, slides_of_run: SlidesOfRun) -> None:
    counts = np.bincount(
        slides_of_run.bags.labels[slides_of_run.training_bags()], minlength=len(cohort.classes)
    )
    missing = [name for name, count in zip(cohort.classes, counts, strict=True) if not count]
    if missing:
        raise InputError(
            f"no training slide of class {', '.join(missing)} has features",
            file=cohort.path,
            remedy="Embed its slides, split with another seed, or name fewer classes",
            code="class_without_training",
        )
