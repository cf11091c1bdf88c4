"""Sums over a hospital's labelled cases, for a model that other hospitals share."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.locks import writing
from offsite.preprocessing.cohort.table import Cohort
from offsite.training.heads.sums import RowSums
from offsite.training.prediction.contract import ModelAnswer, Predictor, Prepared
from offsite.training.run_folder import versions
from offsite.workflows.package.folder import Package
from offsite.workflows.package.heads import TRUNK
from offsite.workflows.predict import running
from offsite.workflows.site.cases import EMBEDDING, LocalCases, check_site_name
from offsite.workflows.site.fingerprints import of_package
from offsite.workflows.site.stage import listed_cases, local_cohort, predicted_cases
from offsite.workflows.site.sums_file import LEAST_PATIENTS, HospitalSums, check_cells, write_sums
from offsite.workflows.site.telling import Telling
from offsite.written import check_own, write_own

SUMS, KEPT_BACK, INSIDE = "sums.npz", "kept_back.csv", "in_sums.csv"


@dataclass(frozen=True)
class Exported:
    """What a hospital made.

    Attributes
    ----------
    file : Path
        The one file to send.
    kept_back : Path
        The cases that are not in it, to calibrate and judge the common model with.
    counts : pandas.DataFrame
        A row a class: ``class, cases, patients, patients_kept_back``.
    unanswered : int
        Labelled cases that could not be read or graded, and are in no sum.
    """

    file: Path
    kept_back: Path
    counts: pd.DataFrame
    unanswered: int


class WithRows(Telling):
    """A predictor whose answers carry, as their embedding, all that the head reads of a case: K x E.

    Of a photograph these are itself and the altered copies that the head was trained with.
    """

    def __init__(self, inner: Predictor, copies: int) -> None:
        super().__init__(inner)
        self._copies = copies

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        """Answer as the inner predictor does, the rows told and no picture written."""
        answers = self.inner.infer(batch)
        read = getattr(self.inner, "head_rows", None)
        if self._copies and read is not None:
            rows = read(batch, self._copies)
        else:
            rows = [_row(answer) for answer in answers]
        return [
            replace(answer, save=None, facts={**answer.facts, EMBEDDING: each.tolist()})
            for answer, each in zip(answers, rows, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on."""
        return {**self.inner.describe(), "rows_of_head": self._copies + 1}


def _row(answer: ModelAnswer) -> np.ndarray:
    assert answer.embedding is not None
    return answer.embedding[None]


def export_sums(
    cohort: Path,
    model: str,
    site: str,
    output: Path,
    *,
    keep_back: float = 0.3,
    least: int = LEAST_PATIENTS,
    leave_out_rare: bool = False,
    seed: int = 0,
    tracking_uri: str | None = None,
    device: str = "auto",
    workers: int = 1,
    keys: Sequence[Path] | None = None,
    features: Path | None = None,
) -> Exported:
    """Read a hospital's labelled cases with the model's trunk, and write their sums.

    Parameters
    ----------
    cohort, model, site, output
        Table of cases, package or registered model, the hospital, and a folder for ``sums.npz``,
        ``in_sums.csv``, ``kept_back.csv`` and ``predictions/``. The first alone is to be sent.
    keep_back : float
        Share of the patients, in [0, 1), that enter no sum: what the common model is calibrated and
        judged with must not be what it was fitted to.
    least : int
        Patients that a class must have, at least `LEAST_PATIENTS`.
    leave_out_rare : bool
        Leave the cases of classes with fewer out, instead of refusing.
    features : path, optional
        Folder of the cases, where the model reads features of another tool.
    seed : int
        Of the draw of patients.

    Raises
    ------
    InputError
        No labelled case of the site, classes with too few patients, or a model whose head is not
        fitted to sums (code ``no_linear_head``).
    KeyboardInterrupt
        The reading was interrupted; run again, it goes on.
    """
    check_site_name(site)
    with running.opened_model(model, tracking_uri, keys) as package, ExitStack() as held:
        copies = _copies(package)
        given, files = local_cohort(package, cohort, features)
        inside, back = _divided(
            given,
            files,
            site,
            keep_back=keep_back,
            least=least,
            leave_out_rare=leave_out_rare,
            seed=seed,
        )
        where = running.device_named(device)
        held.enter_context(writing(output))  # what is refused leaves no folder
        for name in (SUMS, KEPT_BACK, INSIDE):
            check_own(output / name)
        for name, part in ((INSIDE, inside), (KEPT_BACK, back)):
            write_own(output / name, part.to_csv(index=False, lineterminator="\n"))
        items, labels = listed_cases(package, output / INSIDE, site, output, features)
        predictor = WithRows(running.predictor_for(package, where), copies)
        cases = predicted_cases(package, predictor, items, labels, output, where, workers)
        sums = sums_of_cases(package, cases, site, least)
        write_sums(output / SUMS, sums)
        counts = pd.DataFrame(
            {
                "class": list(sums.classes),
                "cases": np.rint(sums.rows.weights).astype(int),
                "patients": sums.patients,
                "patients_kept_back": _patients_by_class(back, sums.classes),
            }
        )
        return Exported(output / SUMS, output / KEPT_BACK, counts, cases.unanswered)


def sums_of_cases(
    package: Package, cases: LocalCases, site: str, least: int = LEAST_PATIENTS
) -> HospitalSums:
    """Return the sums over labelled cases, whose embeddings are N x K x E.

    Raises
    ------
    InputError
        Code ``too_small_cells``.
    """
    known, classes = cases.labelled, package.record.classes
    assert known.embeddings is not None
    n, copies, wide = known.embeddings.shape
    rows = RowSums.of(
        known.embeddings.reshape(n * copies, wide),
        np.repeat(known.labels, copies),
        np.full(n * copies, 1 / copies),
        len(classes),
    )
    patients = np.array(
        [len(np.unique(known.patients[known.labels == k])) for k in range(len(classes))]
    )
    check_cells(site, classes, patients, least)
    made = {
        "model": package.digest,
        "offsite": versions().get("offsite", ""),
        "all_patients": len(np.unique(known.patients)),
    }
    return HospitalSums(
        site=site, classes=classes, reads=of_package(package), rows=rows, patients=patients,
        made=made,
    )  # fmt: skip


def _copies(package: Package) -> int:
    """How many altered copies the head was trained with."""
    arrays = package.arrays(TRUNK)
    if "sites" not in arrays or "rounds" in arrays or package.arrays("embedding"):
        raise InputError(
            "the head of this model was not fitted to sums, so no hospital's sums can join it",
            file=package.path,
            remedy="Train with method linear (without linear.rich) and register that run",
            code="no_linear_head",
        )
    return int(arrays["copies"][0]) if "copies" in arrays else 0


def _divided(
    given: Cohort,
    files: Sequence[Path],
    site: str,
    *,
    keep_back: float,
    seed: int,
    least: int,
    leave_out_rare: bool,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The site's labelled rows that enter the sums, and those kept back; no patient is in both."""
    table = given.table.assign(image=[str(path.resolve()) for path in files])
    rows = table[(table["site"] == site) & (table["label"] != "")]
    if rows.empty:
        raise InputError(
            f"no labelled case of site '{site}'",
            file=given.path,
            column="site",
            remedy=f"The table has {', '.join(given.sites[:8])}",
        )
    severest = _severest(given, rows)
    rng, back = np.random.default_rng(seed), set[str]()
    for number in range(len(given.classes)):
        of_class = sorted(severest.index[severest == number])
        taken = rng.permutation(len(of_class))[: int(keep_back * len(of_class))]
        back |= {of_class[place] for place in taken}
    kept = rows["patient"].isin(back)
    inside = rows[~kept]
    counts = np.array(_patients_by_class(inside, given.classes))
    if leave_out_rare:
        rare = [name for name, n in zip(given.classes, counts, strict=True) if n < least]
        inside = inside[~inside["label"].isin(rare)]
    else:
        check_cells(site, given.classes, counts, least)
    return inside, rows[kept]


def _severest(given: Cohort, rows: pd.DataFrame) -> pd.Series:
    index = {name: number for number, name in enumerate(given.classes)}
    return rows["label"].map(index).groupby(rows["patient"]).max()


def _patients_by_class(rows: pd.DataFrame, classes: Sequence[str]) -> list[int]:
    return [int(rows.loc[rows["label"] == name, "patient"].nunique()) for name in classes]
