"""The end of the retina demo: the clinic left out fits the last layer with some of its own cases."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.cores import usable_cores
from offsite.training.prediction.codes import Decision
from offsite.workflows.console.messages import data, say
from offsite.workflows.jobs.job import Job
from offsite.workflows.predict import running
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.site.stage import calibrate


@dataclass(frozen=True)
class Judged:
    """What a model's answers to labelled cases are worth.

    Attributes
    ----------
    kappa : float
        Quadratic weighted kappa.
    to_person : int
        Cases that a person has to look at.
    cases : int
    """

    kappa: float
    to_person: int
    cases: int


def refit(config: Path, local: Path, others: Path, strange: Path, site: str) -> None:
    """Refit the registered model with a clinic's cases, and print what it is worth on its others.

    Parameters
    ----------
    config : path
        The demo's job, which has run.
    local, others : path
        The clinic's labelled cases to refit with, and those that judge; no patient is in both.
    strange : path
        Cases of another clinic whose camera is unlike all others.
    site : str
        The clinic.
    """
    job = Job.load(config)
    address = (job.output / "workflow" / "registered.txt").read_text(encoding="utf-8").strip()
    folder = config.parent / "site"
    say(f"[bold]refit[/bold]     {site}, with labelled cases of its own")
    done = calibrate(
        local,
        address,
        site,
        folder / "calibrated",
        tracking_uri=job.tracking_uri,
        refit=True,
        workers=usable_cores(),
    )
    assert done.package is not None  # the cases have labels
    classes = job.configuration.classes
    before = judged(address, job, others, folder / "as-shipped", classes)
    after = judged(str(done.package), job, others, folder / "refitted", classes)
    foreign = judged(address, job, strange, folder / "strange", classes)
    patients = pd.read_csv(local)["patient"].nunique()
    verdict = "adopted" if done.report["refit"]["adopted"] else "not adopted"
    data.print(
        f"{site}: weighted kappa {before.kappa:.2f} as shipped, {after.kappa:.2f} after a refit with"
        f" {patients} of its patients ({verdict}); on its other {after.cases} photographs"
    )
    data.print(
        f"{site}: {before.to_person} of {before.cases} photographs to a person as shipped,"
        f" {after.to_person} after the refit"
    )
    data.print(
        f"a clinic with a camera unlike all others: {foreign.to_person} of {foreign.cases}"
        " photographs to a person"
    )


def judged(model: str, job: Job, table: Path, folder: Path, classes: tuple[str, ...]) -> Judged:
    """Return what a model's answers to the cases of a table are worth."""
    options = BatchOptions(output=folder, workers=usable_cores())
    running.predict([table], model, options, tracking_uri=job.tracking_uri)
    answers = pd.read_csv(folder / "results.csv", keep_default_na=False, encoding="utf-8-sig")
    truth = pd.read_csv(table, dtype=str, keep_default_na=False)
    known = {
        Path(image).name: label for image, label in zip(truth["image"], truth["label"], strict=True)
    }
    index = {name: number for number, name in enumerate(classes)}
    pairs = np.array(
        [
            (index[known[Path(row["input"]).name]], index[row["prediction"]])
            for _, row in answers.iterrows()
            if row["prediction"] in index and known[Path(row["input"]).name] in index
        ]
    )
    return Judged(
        weighted_kappa(pairs[:, 0], pairs[:, 1], len(classes)) if len(pairs) else float("nan"),
        int((answers["decision"] == Decision.HUMAN_REVIEW).sum()),
        len(answers),
    )


def weighted_kappa(truth: np.ndarray, answers: np.ndarray, n_classes: int) -> float:
    """Return the quadratic weighted kappa of two gradings (Cohen 1968).

    Examples
    --------
    >>> weighted_kappa(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 2]), 3)
    1.0
    """
    table = np.bincount(truth * n_classes + answers, minlength=n_classes**2).reshape(n_classes, -1)
    grades = np.arange(n_classes)
    apart = (grades[:, None] - grades) ** 2
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(1 - (apart * table).sum() / (apart * expected).sum())
