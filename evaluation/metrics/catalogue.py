"""All metrics of one sample, for its point estimate and every draw in one pass."""

from collections.abc import Callable, Iterator

import numpy as np

from offsite.evaluation.metrics.entries import METRICS, PER_SITE
from offsite.evaluation.statistics.measured import Measured, Request
from offsite.evaluation.statistics.samples import Sample
from offsite.registry import Registry

FUNCTIONS: Registry[Callable[..., Iterator[Measured]]] = Registry(
    "metric", {name: f"offsite.evaluation.{metric.function}" for name, metric in METRICS.items()}
)
"""What measures each metric, by its name; imported when it is asked for."""


def measure(sample: Sample, counts: np.ndarray, request: Request) -> list[Measured]:
    """Every metric of the per-site table on a sample with at least one row.

    Parameters
    ----------
    sample : Sample
        Labelled rows.
    counts : numpy.ndarray
        B x units, how often each unit counts; a row of ones gives the plain metric.
    request : Request
        Classes, tasks and minima.
    """
    functions = dict.fromkeys(FUNCTIONS[name] for name in PER_SITE)
    return [measured for function in functions for measured in function(sample, counts, request)]


def metric_names(request: Request) -> list[str]:
    """Names of all metrics of a request, in the order of the tables."""
    classes = len(request.classes)
    one_row = Sample(
        labels=np.zeros(1, dtype=np.int64),
        probabilities=np.full((1, classes), 1 / classes),
        units=np.zeros(1, dtype=np.int64),
        n_units=1,
    )
    return [each.name for each in measure(one_row, np.ones((1, 1), dtype=np.uint8), request)]
