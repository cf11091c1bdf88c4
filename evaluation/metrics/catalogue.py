"""All metrics of one sample, for its point estimate and every draw in one pass."""

import numpy as np

from offsite.evaluation.metrics.of_classes import of_calls, of_probabilities, of_ranking
from offsite.evaluation.metrics.of_tasks import of_task
from offsite.evaluation.statistics.measured import Measured, Request
from offsite.evaluation.statistics.samples import Sample


def measure(sample: Sample, counts: np.ndarray, request: Request) -> list[Measured]:
    """Every metric of the request on a sample with at least one row.

    Parameters
    ----------
    sample : Sample
        Labelled rows.
    counts : numpy.ndarray
        B x units, how often each unit counts; a row of ones gives the plain metric.
    request : Request
        Classes, tasks and minima.
    """
    return [
        *of_ranking(sample, counts, request),
        *of_calls(sample, counts, request),
        *of_probabilities(sample, counts),
        *(
            measured
            for task in request.tasks
            for measured in of_task(sample, counts, task, request)
        ),
    ]


def metric_names(request: Request) -> list[str]:
    """Names of all metrics of a request, in the order of the tables."""
    classes = len(request.classes)
    one_row = Sample(
        labels=np.zeros(1, dtype=np.int64),
        probabilities=np.full((1, classes), 1 / classes),
        units=np.zeros(1, dtype=np.int64),
        n_units=1,
    )
    return [
        measured.name for measured in measure(one_row, np.ones((1, 1), dtype=np.uint8), request)
    ]
