"""Metrics of several models at each site, pooled and at the worst, on the same draws."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from offsite.evaluation.metrics.catalogue import metric_names
from offsite.evaluation.metrics.names import described
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.measured import Measured, Request
from offsite.evaluation.statistics.sites import WORST, Sites
from offsite.evaluation.tables.alignment import Together, measured_together


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """One metric of M models at a site, a pooled role, or the worst site.

    Attributes
    ----------
    base : dict
        ``site, site_role, metric, n, n_patients, reason``.
    n_positive : int or None
        Positive rows.
    units : int
        Units that were drawn from.
    values : numpy.ndarray or None
        M x (1 + B); ``None`` where undefined.
    models : tuple of Measured
        Where they are of one site.
    same : bool
        Whether the models give every row the same probabilities.
    """

    base: dict[str, Any]
    n_positive: int | None
    units: int
    values: np.ndarray | None
    models: tuple[Measured, ...] = ()
    same: bool = False


def compared_places(
    first: Sites,
    others: Sequence[Predictions],
    request: Request,
    *,
    permute: bool = False,
) -> Iterator[Compared]:
    """Every metric of a first model's test rows and of others', place by place, on the same draws.

    Parameters
    ----------
    first : Sites
        Test rows of the first model.
    others : sequence of Predictions
        The same rows by the other models, aligned.
    request : Request
        What to measure.
    permute : bool
        Add the metrics of two models exchanged by patient, see
        :func:`offsite.evaluation.tables.alignment.measured_together`.
    """
    together = measured_together(first, others, request, permute=permute)
    plain = {each.site.name: each for each in together if not each.members}
    for each in together:
        for metric in metric_names(request):
            yield _at(each, metric)
        if each.members:
            inside = [plain[name] for name in each.members]
            for metric in metric_names(request):
                yield from _at_worst(each.site.role, inside, metric)


def _at(each: Together, metric: str) -> Compared:
    sample = each.site.sample
    base: dict[str, Any] = {"site": each.site.name, "site_role": each.site.role, "metric": metric}
    base |= {"n": sample.n, "n_patients": sample.n_patients}
    models = tuple(measured[metric] for measured in each.metrics if measured is not None)
    if not models:
        reason = each.site.lacking.value
        return Compared(base=base | {"reason": reason}, n_positive=None, units=0, values=None)
    values = np.stack([measured.values for measured in models])
    missing = next((measured for measured in models if not np.isfinite(measured.values[0])), None)
    reason = Reason.OK if missing is None else missing.undefined
    return Compared(
        base=base | {"reason": reason.value, "n": models[0].n},
        n_positive=models[0].n_positive,
        units=sample.n_units,
        values=values if missing is None else None,
        models=models,
        same=each.same,
    )


def _at_worst(role: str, inside: list[Together], metric: str) -> Iterator[Compared]:
    defined = [entry for each in inside if (entry := _at(each, metric)).values is not None]
    better = described(metric).higher
    if better is None:
        return
    base: dict[str, Any] = {"site": WORST, "site_role": role, "metric": metric}
    if not defined:
        base |= {"n": 0, "n_patients": 0, "reason": Reason.TOO_FEW.value}
        yield Compared(base=base, n_positive=None, units=0, values=None)
        return
    values = np.stack([entry.values for entry in defined if entry.values is not None])
    totals = {name: sum(entry.base[name] for entry in defined) for name in ("n", "n_patients")}
    yield Compared(
        base=base | totals | {"reason": Reason.OK.value},
        n_positive=None,
        units=min(entry.units for entry in defined),
        values=values.min(axis=0) if better else values.max(axis=0),
        same=all(entry.same for entry in defined),
    )
