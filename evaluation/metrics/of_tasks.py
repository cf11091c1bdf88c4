"""Metrics of binary tasks over the classes, for the point estimate and every draw."""

from collections.abc import Iterator

import numpy as np

from offsite.evaluation.metrics import confusion
from offsite.evaluation.metrics.separation import precision_at_prevalence, separation
from offsite.evaluation.metrics.thresholds import AT_THRESHOLD, shares_at
from offsite.evaluation.predictions.tasks import Task
from offsite.evaluation.statistics.measured import Measured, Request, share
from offsite.evaluation.statistics.resampling import weighted_sums
from offsite.evaluation.statistics.samples import Sample


def of_tasks(sample: Sample, counts: np.ndarray, request: Request) -> Iterator[Measured]:
    """Ranking, prevalence, Brier score, and the shares at the stated threshold, of every task."""
    for task in request.tasks:
        yield from _of_task(sample, counts, task, request)


def _of_task(
    sample: Sample, counts: np.ndarray, task: Task, request: Request
) -> Iterator[Measured]:
    scores, positive = task.scores(sample.probabilities), task.positive(sample.labels)
    minimum = request.minimum_of_class
    names = (f"{task.name}/auroc", f"{task.name}/auprc")
    if sample.classes > 2 and request.wants(*names):
        yield from separation(names, sample, counts, scores, positive, minimum)
    at_reference = f"{task.name}/auprc_at_reference"
    if task.name in request.references and request.wants(at_reference):
        yield precision_at_prevalence(
            at_reference,
            sample,
            counts,
            scores,
            positive,
            minimum,
            request.references[task.name],
        )
    rows = np.stack([positive, (scores - positive) ** 2, np.ones(sample.n)], axis=1)
    positives, squares, total = weighted_sums(counts, sample.unit_sums(rows)).T
    prevalence, count = confusion.ratio(positives, total), int(positive.sum())
    yield share(f"{task.name}/prevalence", prevalence, positive, sample.units, positive=count)
    yield Measured(
        name=f"{task.name}/brier",
        values=confusion.ratio(squares, total),
        n=sample.n,
        n_positive=count,
        scale="log",
        rarer=min(sample.patients_among(positive), sample.patients_among(~positive)),
    )
    if not request.wants(*(f"{task.name}/{name}" for name in AT_THRESHOLD)):
        return
    threshold = task.settings.threshold
    yield from shares_at(
        sample,
        counts,
        scores >= threshold,
        positive,
        prefix=f"{task.name}/",
        detail=f"threshold {threshold:.4g}",
    )
