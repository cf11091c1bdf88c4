"""Metrics of a binary task over the classes, for the point estimate and every draw."""

from collections.abc import Iterator

import numpy as np

from evaluation.metrics import confusion
from evaluation.metrics.measured import Measured, Request, share
from evaluation.metrics.separation import precision_at_prevalence, separation
from evaluation.resampling import weighted_sums
from evaluation.samples import Sample
from evaluation.tasks import Task


def of_task(sample: Sample, counts: np.ndarray, task: Task, request: Request) -> Iterator[Measured]:
    """Ranking, prevalence, Brier score, and the shares at the stated threshold."""
    scores, positive = task.scores(sample.probabilities), task.positive(sample.labels)
    minimum = request.minimum_of_class
    if sample.classes > 2:
        names = (f"{task.name}/auroc", f"{task.name}/auprc")
        yield from separation(names, sample, counts, scores, positive, minimum)
    if task.name in request.references:
        yield precision_at_prevalence(
            f"{task.name}/auprc_at_reference",
            sample,
            counts,
            scores,
            positive,
            minimum,
            request.references[task.name],
        )
    yield from _at_threshold(sample, counts, task, scores, positive)


def _at_threshold(
    sample: Sample, counts: np.ndarray, task: Task, scores: np.ndarray, positive: np.ndarray
) -> Iterator[Measured]:
    threshold = task.settings.threshold
    flagged = scores >= threshold
    indicators = [
        positive & flagged,
        positive & ~flagged,
        ~positive & flagged,
        (scores - positive) ** 2,
    ]
    columns = np.stack([*indicators, np.ones(sample.n)], axis=1).astype(np.float64)
    caught, missed, alarms, squares, total = weighted_sums(counts, sample.unit_sums(columns)).T
    cleared = total - caught - missed - alarms
    detail = f"threshold {threshold:.4g}"
    shares = {
        "sensitivity": (caught, caught + missed, flagged, positive),
        "specificity": (cleared, cleared + alarms, ~flagged, ~positive),
        "ppv": (caught, caught + alarms, positive, flagged),
        "npv": (cleared, cleared + missed, ~positive, ~flagged),
    }
    yield share(
        f"{task.name}/prevalence",
        confusion.ratio(caught + missed, total),
        positive,
        sample.units,
        better=None,
    )
    yield Measured(
        name=f"{task.name}/brier",
        values=confusion.ratio(squares, total),
        n=sample.n,
        n_positive=int(positive.sum()),
        higher_is_better=False,
    )
    for name, (top, bottom, hit, among) in shares.items():
        yield share(
            f"{task.name}/{name}",
            confusion.ratio(top, bottom),
            hit[among],
            sample.units[among],
            detail=detail,
        )
