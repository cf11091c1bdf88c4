"""The end of the retina demo: the clinic left out fits the last layer with some of its own cases."""

from pathlib import Path

import numpy as np
import pandas as pd

from offsite.cores import usable_cores
from offsite.workflows.console.messages import data, say
from offsite.workflows.jobs.job import Job
from offsite.workflows.predict import running
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.site.stage import calibrate


def refit(config: Path, local: Path, others: Path, site: str) -> None:
    """Refit the registered model with a clinic's cases, and print kappa on its other cases.

    Parameters
    ----------
    config : path
        The demo's job, which has run.
    local, others : path
        The clinic's labelled cases to refit with, and those that judge; no patient is in both.
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
    before = _kappa(address, job, others, folder / "as-shipped", classes)
    after = _kappa(str(done.package), job, others, folder / "refitted", classes)
    patients = pd.read_csv(local)["patient"].nunique()
    verdict = "adopted" if done.report["refit"]["adopted"] else "not adopted"
    data.print(
        f"{site}: weighted kappa {before:.2f} as shipped, {after:.2f} after a refit with"
        f" {patients} of its patients ({verdict}); on its other {_count(others)} photographs"
    )


def _kappa(model: str, job: Job, table: Path, folder: Path, classes: tuple[str, ...]) -> float:
    """Quadratic weighted kappa of a model's answers to the cases of a table."""
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
    return weighted_kappa(pairs[:, 0], pairs[:, 1], len(classes))


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


def _count(table: Path) -> int:
    return len(pd.read_csv(table))
