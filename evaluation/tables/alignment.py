"""Several models on the same test images: one order, one set of sites, one set of draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.measured import Measured, Request
from offsite.evaluation.statistics.permutation import swapped
from offsite.evaluation.statistics.sites import Site, Sites, groups_of, pooled
from offsite.evaluation.tables.per_site import measured_site


@dataclass(frozen=True, kw_only=True, eq=False)
class Together:
    """Metrics of M models at one place.

    Attributes
    ----------
    site : Site
        A site, or a role's sites pooled.
    members : tuple of str
        Names of the sites that are pooled; empty for a plain site.
    metrics : list of (dict of Measured, or None)
        Of each model, with the same draws; ``None`` where there are too few labelled rows.
    same : bool
        Whether all models give every row the same probabilities.
    """

    site: Site
    members: tuple[str, ...]
    metrics: list[dict[str, Measured] | None]
    same: bool


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


def measured_together(
    sites: Sites,
    others: Sequence[Predictions],
    request: Request,
    *,
    permute: bool = False,
) -> list[Together]:
    """Every site, then every pooled role, with the metrics of all models on the same draws.

    Parameters
    ----------
    sites : Sites
        Test rows of the first model, with the draws and minima for all.
    others : sequence of Predictions
        The same rows by the other models, aligned.
    request : Request
        What to measure.
    permute : bool
        Add two more columns of metrics after those of two models: the models exchanged by
        patient (:func:`offsite.evaluation.statistics.permutation.swapped`).
    """
    settings = sites.settings
    columns = [sites.single, *(sites.with_probabilities(model).single for model in others)]
    requests = [request] * len(columns)
    if permute:
        pairs = [swapped(one, two, settings) for one, two in zip(*columns, strict=True)]
        columns += [[pair[model] for pair in pairs] for model in (0, 1)]
        # Each row stands twice there, once for each model.
        requests += [replace(request, minimum_of_class=2 * request.minimum_of_class)] * 2
    drawn, originals = columns[0], 1 + len(others)
    together = [
        _together([column[index] for column in columns], (), requests, settings, originals)
        for index in range(len(drawn))
    ]
    for role, members in groups_of(drawn):
        inside = [index for index, site in enumerate(drawn) if site in members]
        wholes = [pooled(role, [column[index] for index in inside]) for column in columns]
        names = tuple(site.name for site in members)
        together.append(_together(wholes, names, requests, settings, originals))
    return together


def _together(
    sites: list[Site],
    members: tuple[str, ...],
    requests: list[Request],
    settings: EvaluationSettings,
    models: int,
) -> Together:
    metrics = [
        measured_site(site, request, settings)
        if sites[0].sample.n >= settings.minimum_rows
        else None
        for site, request in zip(sites, requests, strict=True)
    ]
    first, *others = (site.sample.probabilities for site in sites[:models])
    same = all(np.array_equal(first, other) for other in others)
    return Together(site=sites[0], members=members, metrics=metrics, same=same)


def _places(predictions: Predictions) -> dict[str, int]:
    images = predictions.table["image"].astype(str).to_numpy()
    test = np.flatnonzero((predictions.table["split"] == "test").to_numpy())
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
