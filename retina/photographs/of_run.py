"""The photographs of a run: which take part, and their pixels from disk or from memory."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.files import digest_of
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.fundus.cohort import read_prepared
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.training.run_folder import NOT_TRAINED_ON

_CARRIED = ("image", "slide", "patient", "site", "site_role", "split", "label")


class PixelStore:
    """Prepared pictures by row; memory is bounded whatever their number.

    Parameters
    ----------
    files : sequence of Path
        PNG files, all px x px.
    px : int
        Their side.
    resident_bytes : int
        If all of them fit in this, each is kept once it has been read; else none is.
    digests : sequence of str, optional
        SHA-256 of each file; one that differs is refused.
    """

    def __init__(
        self, files: list[Path], px: int, resident_bytes: int, digests: Sequence[str] = ()
    ) -> None:
        self.files, self.px, self.digests = files, px, digests
        fits = len(files) * px * px * 3 <= resident_bytes
        shape = (len(files) if fits else 0, px, px, 3)
        self._kept = np.empty(shape, np.uint8)
        self._is_kept = np.zeros(len(files), bool)
        self._fits = fits

    def __len__(self) -> int:
        return len(self.files)

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Return uint8, n x px x px x 3, RGB."""
        if not self._fits:
            return np.stack([self._read(int(row)) for row in rows])
        for row in rows:
            if not self._is_kept[row]:
                self._kept[row] = self._read(int(row))
                self._is_kept[row] = True
        return self._kept[rows]

    def _read(self, row: int) -> np.ndarray:
        try:
            data = self.files[row].read_bytes()
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except (OSError, cv2.error):
            data, picture = b"", None
        changed = self.digests and hashlib.sha256(data).hexdigest() != self.digests[row]
        if picture is None or changed or picture.shape != (self.px, self.px, 3):
            raise InputError(
                "the prepared picture is missing or damaged",
                file=self.files[row],
                remedy="Run `offsite workflow prepare` again: it makes the picture anew",
                code="damaged_picture",
            )
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True)
class RunPhotographs:
    """The photographs of one run.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per photograph with a prepared picture: ``image, slide, patient, site, site_role,
        split, label, gradable``; in the order of the cohort.
    labels : numpy.ndarray
        int64, into the classes; -1 = unlabelled.
    training_sites : tuple of str
        Sites with a training photograph, sorted; ``sites`` (int64) indexes them, -1 for others.
    store : PixelStore
        Pixels by row.
    excluded : pandas.DataFrame
        Those that could not be prepared (``status`` ``not_prepared``) or are predicted but not
        trained on (``not_trained_on``), with ``code, message``.
    prepared : FundusSettings
        How the pictures were made ready.
    digest : str
        Of pictures, labels and splits.
    """

    table: pd.DataFrame
    labels: np.ndarray
    training_sites: tuple[str, ...]
    sites: np.ndarray
    store: PixelStore
    excluded: pd.DataFrame
    prepared: FundusSettings
    digest: str

    def rows(self, split: str) -> np.ndarray:
        """Return the labelled, gradable rows of a split of the training sites."""
        here = (self.table["split"] == split) & (self.table["site_role"] == "training")
        return np.flatnonzero((here & self.table["gradable"]).to_numpy() & (self.labels >= 0))


def select_photographs(cohort: Cohort, prepared: str | Path, resident_gib: float) -> RunPhotographs:
    """Join a split cohort with its prepared pictures.

    Photographs that could not be prepared are excluded; ungradable ones are kept out of training
    and selection, but predicted.

    Raises
    ------
    InputError
        Code ``no_splits``, ``not_prepared``, ``not_in_prepared`` (a photograph of the cohort was
        never prepared), ``no_training_item`` or ``class_without_training``.
    """
    if not {"split", "site_role"} <= set(cohort.table.columns):
        raise InputError(
            "the cohort has no splits",
            file=cohort.path,
            column="split",
            code="no_splits",
            remedy="Divide it with split_cohort first",
        )
    records, settings = read_prepared(prepared)
    record_columns = [
        "image",
        "status",
        "code",
        "message",
        "file",
        "gradable",
        "reasons",
        "prepared_digest",
    ]
    joined = cohort.table.assign(label_index=cohort.label_indices).merge(
        records[record_columns], on="image", how="left", validate="one_to_one"
    )
    if joined["status"].isna().any():
        first = joined.loc[joined["status"].isna(), "image"].iloc[0]
        raise InputError(
            f"{int(joined['status'].isna().sum())} photographs were never prepared ({first}, ...)",
            file=Path(prepared),
            remedy="Prepare the cohort again",
            code="not_in_prepared",
        )
    there = joined[joined["status"] == "ok"].reset_index(drop=True)
    there["gradable"] = there["gradable"].astype(bool)
    photographs = _run_photographs(there, joined, Path(prepared), settings, resident_gib)
    if not len(photographs.rows("train")):
        raise InputError(
            "no labelled, gradable training photograph",
            file=cohort.path,
            remedy="Train on a site with labels",
            code="no_training_item",
        )
    _check_classes(cohort, photographs)
    return photographs


def _check_classes(cohort: Cohort, photographs: RunPhotographs) -> None:
    """Refuse a class whose training photographs all failed or are ungradable: it has no examples."""
    counts = np.bincount(
        photographs.labels[photographs.rows("train")], minlength=len(cohort.classes)
    )
    if counts.all():
        return
    missing = [name for name, count in zip(cohort.classes, counts, strict=True) if not count]
    raise InputError(
        f"no training photograph of class {', '.join(missing)} is gradable",
        file=cohort.path,
        remedy="See prepared.csv for the reasons, split with another seed, or name fewer classes",
        code="class_without_training",
    )


def _run_photographs(
    there: pd.DataFrame,
    joined: pd.DataFrame,
    prepared: Path,
    settings: FundusSettings,
    resident_gib: float,
) -> RunPhotographs:
    labels = there["label_index"].to_numpy(np.int64)
    in_training = (there["split"] == "train") & (there["site_role"] == "training") & (labels >= 0)
    training_sites = tuple(sorted(there.loc[in_training, "site"].unique()))
    index = {site: number for number, site in enumerate(training_sites)}
    files = [prepared / file for file in there["file"]]
    what = there[["image", "patient", "site", "split", "label", "prepared_digest"]]
    return RunPhotographs(
        table=there[[*_CARRIED, "gradable"]],
        labels=labels,
        training_sites=training_sites,
        sites=there["site"].map(index).fillna(-1).to_numpy(np.int64),
        store=PixelStore(
            files, settings.px, int(resident_gib * 2**30), there["prepared_digest"].tolist()
        ),
        excluded=_excluded(joined),
        prepared=settings,
        digest=digest_of([settings.digest(), what.astype(str).to_dict("list")]),
    )


def _excluded(joined: pd.DataFrame) -> pd.DataFrame:
    failed = joined[joined["status"] != "ok"]
    ungradable = joined[(joined["status"] == "ok") & (joined["gradable"] == False)]  # noqa: E712
    columns = [*_CARRIED, "status", "code", "message"]
    return pd.concat(
        [
            failed.assign(status="not_prepared")[columns],
            ungradable.assign(
                status=NOT_TRAINED_ON, code="ungradable", message=ungradable["reasons"]
            )[columns],
        ],
        ignore_index=True,
    )
