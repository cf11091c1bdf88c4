"""Metrics of binary tasks over the classes, for the point estimate and every draw."""

from collections.abc import Iterator

import numpy as np

from offsite.evaluation.metrics import confusion
from offsite.evaluation.metrics.separation import precision_at_prevalence, separation
from offsite.evaluation.metrics.thresholds import AT_THRESHOLD, shares_at
from offsite.evaluation.predictions.tasks import Task
from offsite.evaluation.statistics.measured import Measured, Request, share
from offsite.evaluation.statistics.site import Site


def of_tasks(site: Site, request: Request) -> Iterator[Measured]:
    """Ranking, prevalence, Brier score, and the shares at the stated threshold, of every task."""
    for task in request.tasks:
        yield from _of_task(site, task, request)


def _of_task(site: Site, task: Task, request: Request) -> Iterator[Measured]:
    of, minimum = f"{task.name}/", request.minimum_of_class
    scores, positive = task.scores(site.probabilities), task.positive(site.labels)
    names, at_reference = (of + "auroc", of + "auprc"), of + "auprc_at_reference"
    if site.classes > 2 and request.wants(*names):
        yield from separation(names, site, scores, positive, minimum)
    reference = request.references.get(task.name)
    if reference is not None and request.wants(at_reference):
        yield precision_at_prevalence(at_reference, site, scores, positive, minimum, reference)
    rows = np.stack([positive, (scores - positive) ** 2, np.ones(len(site))], axis=1)
    positives, squares, total = site.totals(rows).T
    prevalence, count = confusion.ratio(positives, total), int(positive.sum())
    yield share(of + "prevalence", prevalence, site, positive, positive=count)
    yield Measured(
        name=of + "brier",
        values=confusion.ratio(squares, total),
        n=len(site),
        n_positive=count,
        scale="log",
        rarer=min(site.patients_among(positive), site.patients_among(~positive)),
    )
    if request.wants(*(of + name for name in AT_THRESHOLD)):
        threshold = task.settings.threshold
        detail = f"threshold {threshold:.4g}"
        yield from shares_at(site, scores >= threshold, positive, prefix=of, detail=detail)
