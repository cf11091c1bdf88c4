"""Whether an encoder, and what is built on it, answers the tissue or the hospital: twins compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.table import load_predictions
from offsite.files import read_json
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.training.encoders import EncoderBench, TwinPlaces, TwinWork
from offsite.workflows.console.messages import say, stage
from offsite.workflows.jobs.job import Job
from offsite.workflows.jobs.modalities import encoder_of
from offsite.workflows.twins.measures import TwinFeatures, TwinRow, frame, slide_means, twin_rows
from offsite.written import check_own, replacing_own

FOLDER, TABLE = "twins", "twins.csv"


def compare_twins(
    job: Job,
    cohort_path: Path | None = None,
    *,
    device: str | None = None,
    tissues: int = 15,
    encoders: Sequence[str] = (),
    run: Path | None = None,
    places: int = 64,
    workers: int = 1,
) -> Path:
    """Measure encoders on twins; return the path of ``twins/twins.csv`` in the job's output.

    Parameters
    ----------
    cohort_path : path, optional
        Cohort table with a column ``twin``; without it synthetic twins are made.
    device : str, optional
        Of the job's encoder; by default as its settings say.
    tissues : int
        Synthetic tissues, each shown by every synthetic site.
    encoders : sequence of str
        Encoders beside the job's own, ``name`` or ``name=weights``; the colour control if none.
    run : path, optional
        A finished run of the job, whose answers on the twins are compared too.
    places : int
        Most tiles of a tissue.

    Raises
    ------
    InputError
        The job's images pass no encoder, the cohort has no twins, or nothing of it can be compared.
    """
    bench, of_job = encoder_of(job.modality, job.configuration, job.file)
    work = bench.twins()
    if device:
        of_job = of_job.model_copy(update={"device": device})
    compared = other_encoders(bench, of_job, encoders or (work.control,))
    folder = job.output / FOLDER
    check_own(folder / TABLE)
    cohort = _twin_cohort(job, work, cohort_path, tissues, workers)
    with stage("tile", len(cohort.table)) as advance:
        matched = work.matched(job.configuration, cohort, folder, places, workers, advance)
    _tell_left_out(matched)
    with_tiles = matched[matched["places"] > 0]
    if not len(with_tiles):
        raise InputError(
            "no place is fit on two twins",
            file=cohort.path,
            code="no_twins",
            remedy="Look at tiles.csv, and check that the twins are in register",
        )
    usable = cohort.with_table(cohort.table[cohort.table["slide"].isin(with_tiles["slide"])])
    rows: list[TwinRow] = []
    for settings in [of_job, *compared]:
        with stage("embed", len(usable.table)) as advance:
            shown = work.encoded(usable, with_tiles, folder, settings, workers, advance)
        twins = _features(shown, settings.name)
        predicted = [probe_answers(twins)]
        if run is not None and settings is of_job:
            predicted.append(run_answers(run, twins, shown.digest, work))
        rows += twin_rows(settings.name, twins, pd.concat(predicted))
    with replacing_own(folder / TABLE) as temporary:
        frame(rows).to_csv(temporary, index=False, lineterminator="\n")
    return folder / TABLE


def _twin_cohort(job: Job, work: TwinWork, path: Path | None, tissues: int, workers: int) -> Cohort:
    if path is not None:
        return load_cohort(path, job.configuration.classes)
    say("[bold]twins[/bold]     SYNTHETIC tissues, each shown by every site; from no patient")
    made, classes = work.synthetic(job.output / FOLDER / "cohort", tissues, workers)
    return load_cohort(made, classes)


def other_encoders(bench: EncoderBench, of_job: Any, texts: Sequence[str]) -> list[Any]:
    """Encoders to compare with the job's, which is none of them.

    Raises
    ------
    InputError
        Two encoders of one name have other weights: their features and rows would be mixed.
    """
    by_name = {of_job.name: of_job}
    for text in texts:
        other = bench.named(text, of_job)
        known = by_name.setdefault(other.name, other)
        if other.weights not in (None, known.weights):
            raise InputError(
                f"encoder '{other.name}' is named with two sets of weights",
                code="encoder_twice",
                remedy="Compare one of them at a time, each in a job of its own output",
            )
    return list(by_name.values())[1:]


def _tell_left_out(matched: pd.DataFrame) -> None:
    for reason, rows in matched[matched["places"] == 0].groupby("reason"):
        say(f"left out: {len(rows)} slides, {reason} ({', '.join(rows['slide'].head(5))})")


def _features(shown: TwinPlaces, encoder: str) -> TwinFeatures:
    """The features of an encoder; what it gave none for is told."""
    for message, rows in shown.failed.groupby("message"):
        say(f"{encoder}: {len(rows)} images without features: {message}")
    if not len(shown.tiles):
        raise InputError(
            f"encoder '{encoder}' gave no features",
            code="no_features",
            remedy="Mend what the lines above say",
        )
    return TwinFeatures(shown.tiles, shown.features)


def probe_answers(twins: TwinFeatures) -> pd.DataFrame:
    """Answers of logistic probes on slides' mean features, fitted at one site, asked at all.

    For each tissue and site the probe is fitted on that site's slides of the *other* tissues, so
    that neither the tissue nor another site's stain was seen; columns as `twin_rows` wants them.
    """
    slides, means = slide_means(twins, twins.features)
    labelled = (slides["label"] != "").to_numpy()
    tissues, sites, labels = (slides[name].to_numpy(str) for name in ("tissue", "site", "label"))
    rows = []
    for site in np.unique(sites):
        for tissue in np.unique(tissues[sites == site]):
            fitted = labelled & (sites == site) & (tissues != tissue)
            asked = np.flatnonzero(tissues == tissue)
            if len(np.unique(labels[fitted])) < 2:
                continue
            answers = _probe(means[fitted], labels[fitted], means[asked])
            for row, answer in zip(asked, answers, strict=True):
                rows.append(("probe", site, tissue, sites[row], labels[row], answer))
    columns = ["model", "fitted_at", "tissue", "site", "label", "answer"]
    return pd.DataFrame(rows, columns=columns)


def _probe(rows: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return np.asarray(probe.fit(rows, labels).predict(asked), dtype=str)


def run_answers(run: Path, twins: TwinFeatures, digest: str, work: TwinWork) -> pd.DataFrame:
    """Answers of a finished run on the tiles of each slide that its twins show too.

    Classes are those of the run, in its order. A label that is none of them is left blank: twins
    of other classes, such as the synthetic ones, say how often the run flips, not how often it is
    right.
    """
    record = read_json(run / "run.json") if (run / "run.json").is_file() else {}
    facts = record.get("facts", {})
    if record.get("status") != "done" or facts.get("encoder_digest") != digest:
        raise InputError(
            "this is no finished run on the job's encoder",
            file=run,
            remedy="Name the folder that `offsite train` printed",
            code="foreign_run",
        )
    classes = load_predictions(run).classes
    groups = list(twins.tiles.groupby(["slide", "tissue", "site", "label"], sort=False))
    images = [twins.features[part.index] for _, part in groups]
    rows = []
    for ((_, tissue, site, label), _), answer in zip(
        groups, work.answers(run, facts["architecture"], images), strict=True
    ):
        known = label if label in classes else ""
        rows.append(("run", "", tissue, site, known, classes[answer]))
    columns = ["model", "fitted_at", "tissue", "site", "label", "answer"]
    return pd.DataFrame(rows, columns=columns)
