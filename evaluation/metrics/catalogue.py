"""All metrics of one site, for its point estimate and every draw in one pass."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from offsite.evaluation.metrics.entries import METRICS, PER_SITE
from offsite.evaluation.statistics.measured import Measured, Request
from offsite.evaluation.statistics.site import Site
from offsite.registry import Registry

FUNCTIONS: Registry[Callable[..., Iterator[Measured]]] = Registry(
    "metric", {name: f"offsite.evaluation.{metric.function}" for name, metric in METRICS.items()}
)
"""What measures each metric, by its name; imported when it is asked for."""


def measure(site: Site, request: Request) -> list[Measured]:
    """Every metric of the per-site table on a sample with at least one row.

    Parameters
    ----------
    site : Site
        Labelled rows; without draws they give the plain metrics.
    request : Request
        Classes, tasks and minima, and which metrics where not all are asked for.
    """
    functions = _functions_of(request)
    every = (measured for function in functions for measured in function(site, request))
    return [measured for measured in every if request.wants(measured.name)]


def metric_names(request: Request) -> list[str]:
    """Names of all metrics of a request, in the order of the tables."""
    return [each.name for each in measure(_one_row(request), request)]


@lru_cache(maxsize=32)
def _functions_of(request: Request) -> tuple[Callable[..., Iterator[Measured]], ...]:
    """The functions that give what is asked for: each gives several metrics."""
    functions = dict.fromkeys(FUNCTIONS[name] for name in PER_SITE)
    if request.only is None:
        return tuple(functions)
    return tuple(
        function
        for function in functions
        if any(each.name in request.only for each in function(_one_row(request), request))
    )


def _one_row(request: Request) -> Site:
    """The least that has a name for every metric, though hardly a value."""
    nothing, classes = np.zeros(1, dtype=np.int64), len(request.classes)
    even = np.full((1, classes), 1 / classes)
    return Site(labels=nothing, probabilities=even, units=nothing)
