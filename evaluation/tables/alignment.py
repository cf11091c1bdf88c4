"""Several models on the same test images: one order of rows, one set of draws, place by place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.metrics.catalogue import metric_names
from offsite.evaluation.metrics.names import described
from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.measured import Measured, Request
from offsite.evaluation.statistics.resampling import generator_of, swap_counts
from offsite.evaluation.statistics.site import Site, pooled
from offsite.evaluation.statistics.sites import WORST, Sites
from offsite.evaluation.tables.per_site import measured_site


def rows_of_test(predictions: Predictions) -> Predictions:
    """The test rows alone, each with the role that all rows together give its site."""
    roles = roles_of(predictions.table)
    rows = predictions.select(roles.test)
    table = rows.table.assign(site_role=roles.site_role[roles.test])
    return replace(rows, table=table)


def aligned(reference: Predictions, other: Predictions) -> Predictions:
    """The test rows of ``other`` in the order of ``reference`` (its test rows), roles taken over.

    Raises
    ------
    InputError
        The two do not speak of the same test images, labels, patients, sites or classes.
    """
    if reference.classes != other.classes:
        raise InputError(
            f"classes {', '.join(other.classes)} are compared with {', '.join(reference.classes)}",
            remedy="Compare models of the same classes, in the same order",
            code="not_comparable",
        )
    row_of = _places(other)
    wanted = reference.table["image"].astype(str).tolist()
    missing = next((image for image in wanted if image not in row_of), None)
    if missing is not None or len(wanted) != len(row_of):
        named = "not all images are" if missing is None else f"'{missing}' is not"
        raise InputError(
            f"{named} in both tables ({len(wanted)} and {len(row_of)} test images)",
            remedy="Predict the same test images by both models",
            code="not_comparable",
        )
    rows = other.select(np.array([row_of[image] for image in wanted], dtype=np.int64))
    for column in ("patient", "site", "label"):
        _check_same(reference.table, rows.table, column)
    return replace(rows, table=rows.table.assign(site_role=reference.table["site_role"]))


def _places(predictions: Predictions) -> dict[str, int]:
    images = predictions.table["image"].astype(str).to_numpy()
    test = np.flatnonzero(roles_of(predictions.table).test)
    row_of = {images[row]: int(row) for row in test}
    if len(row_of) != len(test):
        raise InputError(
            "an image has two test rows",
            remedy="Keep one row for each image",
            column="image",
            code="duplicate_image",
        )
    return row_of


def _check_same(one: pd.DataFrame, other: pd.DataFrame, column: str) -> None:
    differs = one[column].astype(str).to_numpy() != other[column].astype(str).to_numpy()
    if differs.any():
        raise InputError(
            f"'{one['image'].iloc[int(differs.argmax())]}' has another {column} in each table",
            remedy="Compare predictions of one cohort",
            column=column,
            code="not_comparable",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """One metric of M models at a site, a pooled role, or the worst site.

    Attributes
    ----------
    base : dict
        ``site, site_role, metric, n, n_positive, n_patients, reason``.
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
    units: int = 0
    values: np.ndarray | None = None
    models: tuple[Measured, ...] = ()
    same: bool = False


@dataclass(frozen=True, eq=False)
class _Together:
    """Metrics of the models at one place, on the same draws; ``None`` with too few labelled rows."""

    site: Site
    metrics: list[dict[str, Measured] | None]
    same: bool


def compared_places(
    first: Sites, others: Sequence[Predictions], request: Request, *, permute: bool = False
) -> Iterator[Compared]:
    """Every metric of a first model's test rows and of others', place by place, on the same draws.

    Parameters
    ----------
    first : Sites
        Test rows of the first model, with the draws and minima for all.
    others : sequence of Predictions
        The same rows by the other models, aligned.
    request : Request
        What to measure.
    permute : bool
        Add the metrics of two models exchanged by patient, see :func:`swapped`.
    """
    settings, names = first.settings, metric_names(request)
    columns = [first.single, *(first.with_probabilities(model).single for model in others)]
    models, requests = len(columns), [request] * len(columns)
    if permute:
        pairs = [swapped(one, two, settings) for one, two in zip(*columns, strict=True)]
        columns += [[pair[model] for pair in pairs] for model in (0, 1)]
        # Each row stands twice there, once for each model.
        requests += [replace(request, minimum_of_class=2 * request.minimum_of_class)] * 2

    def together(sites: Sequence[Site]) -> _Together:
        enough = len(sites[0]) >= settings.minimum_rows
        metrics = [
            measured_site(site, asked, settings) if enough else None
            for site, asked in zip(sites, requests, strict=True)
        ]
        one, *more = (site.probabilities for site in sites[:models])
        return _Together(sites[0], metrics, all(np.array_equal(one, other) for other in more))

    single = [together(sites) for sites in zip(*columns, strict=True)]
    yield from (_at(each, metric) for each in single for metric in names)
    for whole in first.pools:
        inside = [index for index, site in enumerate(first.single) if whole.covers(site)]
        each = together([pooled(whole.role, [of[index] for index in inside]) for of in columns])
        yield from (_at(each, metric) for metric in names)
        members = [single[index] for index in inside]
        for metric in names:
            yield from _at_worst(whole.role, members, metric)


def swapped(first: Site, second: Site, settings: EvaluationSettings) -> tuple[Site, Site]:
    """Two models' rows of one site, exchanged by patient at random in each draw.

    Both sites hold the rows of both models; the counts say which of them stand for the first
    model and which for the second. If the models are equally good, any exchange is as likely as
    the one observed, so the differences of the draws are the null law of the observed one; the
    kernels of the metrics serve here as they serve the bootstrap.
    """
    units = first.n_units
    generator = generator_of(settings.seed, "swap", first.name)
    counts = swap_counts(units, settings.resamples, generator)
    one = replace(pooled(first.role, [first, second]), name=first.name, draws=(counts,))
    return one, replace(one, draws=(np.hstack([counts[:, units:], counts[:, :units]]),))


def _at(each: _Together, metric: str) -> Compared:
    site = each.site
    base = site.place | {"metric": metric, "n": len(site), "n_patients": site.n_patients}
    models = tuple(measured[metric] for measured in each.metrics if measured is not None)
    if not models:
        return Compared(base=base | {"reason": site.lacking.value})
    missing = next((measured for measured in models if not np.isfinite(measured.values[0])), None)
    reason = Reason.OK if missing is None else missing.undefined
    counts = {"n": models[0].n, "n_positive": models[0].n_positive}
    return Compared(
        base=base | counts | {"reason": reason.value},
        units=site.n_units,
        values=np.stack([model.values for model in models]) if missing is None else None,
        models=models,
        same=each.same,
    )


def _at_worst(role: str, inside: list[_Together], metric: str) -> Iterator[Compared]:
    defined = [entry for each in inside if (entry := _at(each, metric)).values is not None]
    better = described(metric).higher
    if better is None:
        return
    totals = {name: sum(entry.base[name] for entry in defined) for name in ("n", "n_patients")}
    base = {"site": WORST, "site_role": role, "metric": metric, **totals}
    if not defined:
        yield Compared(base=base | {"reason": Reason.TOO_FEW.value})
        return
    values = np.stack([entry.values for entry in defined if entry.values is not None])
    yield Compared(
        base=base | {"reason": Reason.OK.value},
        units=min(entry.units for entry in defined),
        values=values.min(axis=0) if better else values.max(axis=0),
        same=all(entry.same for entry in defined),
    )
