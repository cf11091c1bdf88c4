"""Which slides take part in a run, in which bags, and which are left out and why."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.pathology.bags import BagTable
from offsite.pathology.features.embedding import EMBEDDED, FAILED, NO_TILES, TABLE
from offsite.pathology.features.external import FeatureKind, look_through
from offsite.pathology.features.file import feature_path
from offsite.pathology.features.folders import read_header
from offsite.pathology.features.locating import locate
from offsite.pathology.features.source import FeatureSource
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
    told : dict
        Of features that another tool made, what they are, and how many slides have none of them.
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
    told: dict[str, Any] = field(default_factory=dict)

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
    cohort: Cohort,
    features_folder: str | Path | FeatureSource,
    pooling: str,
    resident_gib: float,
) -> SlidesOfRun:
    """Find the features of a cohort and group its slides into bags.

    Parameters
    ----------
    features_folder : path or FeatureSource
        Where offsite's own features are, or those of another tool: of these a file that cannot be
        used is its slide's reason not to take part.
    pooling : str
        ``patient_union`` makes one bag of a patient's slides; its label is the most severe of all
        of them. Whose decisive slide has no features is predicted, but not trained on.
    resident_gib : float
        Features up to this size (GiB) are held in memory; larger ones are packed into
        ``packed/`` of the features folder and memory-mapped.

    Raises
    ------
    InputError
        The cohort has no splits, no slide has features, features that offsite made are damaged, or
        a class has no training bag; of another tool's folder as
        `offsite.pathology.features.external.look_through`.
    """
    source = FeatureSource.of(features_folder)
    _check_splits(cohort)
    table = cohort.table[COLUMNS].assign(class_index=cohort.label_indices)
    severest = table.groupby("patient")["class_index"].transform("max").to_numpy(np.int64)
    if pooling != "slide":
        table["patient_label"] = [cohort.classes[c] if c >= 0 else "" for c in severest]
    found = _looked(source, table["slide"]) if source.encoder else _made(source, table["slide"])
    size = sum(path.stat().st_size for path in found.files.values())
    mapped = source.own / STORE if size > resident_gib * 2**30 else None
    store = pack_features(found.files, mapped, found.kind)
    faults = found.faults | {slide: (FAILED, *why) for slide, why in store.left_out.items()}
    present = table["slide"].isin(store.slides).to_numpy()
    excluded = _excluded(table[~present], faults)
    table, severest = table[present].reset_index(drop=True), severest[present]
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
        told=found.told,
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


@dataclass(frozen=True)
class _Found:
    """Feature files, and why the other slides have none (``status, code, message``)."""

    files: dict[str, Path]
    faults: dict[str, tuple[str, str, str]]
    kind: FeatureKind | None = None
    told: dict[str, Any] = field(default_factory=dict)


def _looked(source: FeatureSource, slides: Iterable[str]) -> _Found:
    """The files of another tool's folder."""
    assert source.encoder is not None
    looked = look_through(source.folder, slides, source.encoder)
    faults = {slide: (FAILED, *why) for slide, why in looked.faults.items()}
    return _Found(looked.files, faults, looked.kind, looked.told())


def _made(source: FeatureSource, slides: Iterable[str]) -> _Found:
    """The files that offsite made, with rows.

    A run without slides that have been embedded would be another run, so where a file that was made
    is damaged or gone it does not begin.
    """
    said = _said(source.own)
    made = set(said.index[said["status"] == EMBEDDED])
    located = locate(source.folder, slides)
    files, faults = {}, {}
    for slide in slides:
        path = located.get(slide, feature_path(source.folder, slide))
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
    failed = said[said["status"] != EMBEDDED]
    rows = zip(failed.index, failed.itertuples(index=False, name=None), strict=True)
    return _Found(files, faults | {str(slide): why for slide, why in rows})


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


def _excluded(missing: pd.DataFrame, faults: dict[str, tuple[str, str, str]]) -> pd.DataFrame:
    """Rows without features, with what embedding said of them, or else what their file is like."""
    unknown = ("missing", "not_embedded", "There is no feature file for the slide")
    excluded = missing[COLUMNS].reset_index(drop=True)
    reasons = [faults.get(slide, unknown) for slide in excluded["slide"]]
    for place, name in enumerate(_REASON):
        excluded[name] = [why[place] for why in reasons]
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
            remedy=f"{'Add their files' if slides_of_run.told else 'Embed its slides'}, split with another"
            " seed, or name fewer classes",
            code="class_without_training",
        )
