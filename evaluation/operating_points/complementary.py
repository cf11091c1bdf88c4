"""Whether a second model would catch what the first misses, site by site."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.operating_points.by_fold import cuts_of
from offsite.evaluation.operating_points.choosing import shipped_thresholds
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.sites import Site, Sites
from offsite.evaluation.tables.alignment import aligned, rows_of_test
from offsite.evaluation.tables.schemas import SCHEMAS

TOP = "_top"
_CUT = "_cut_"
_METRICS = ("caught_by_second", "caught_by_first", "sensitivity_either", "specificity_either")


def complementary_table(
    first: Predictions, second: Predictions, settings: EvaluationSettings
) -> pd.DataFrame:
    """What each of two models would catch of what the other misses, and both together.

    Each model has its own threshold of a task: the one that a package of it would ship, or the stated
    one where there are no validation rows to choose it on; of a cross-validation rows are called as
    `offsite.evaluation.operating_points.by_fold` says. Two models are worth more than one where
    they miss different patients; two that miss the same are one model twice.

    Parameters
    ----------
    first, second : Predictions
        Predictions for the same test images, in any order.
    settings : EvaluationSettings
        Tasks, what is drawn, confidence, minima.

    Raises
    ------
    InputError
        The test images, their labels, sites or patients, or the classes are not the same.
    """
    shipped = [shipped_thresholds(Sites.of(model, settings)) for model in (first, second)]
    one, two = (_with_cuts(model, settings) for model in (first, second))
    reference = rows_of_test(one)
    sites = Sites.of(reference, settings)
    other = sites.with_probabilities(aligned(reference, two))
    records = [
        row
        for task in [*tasks_of(first.classes, settings), None]
        for pair in zip(sites.shown, other.shown, strict=True)
        for row in _rows(task, pair, shipped, (sites, other))
    ]
    return SCHEMAS["complementary"].frame(records)


def _with_cuts(model: Predictions, settings: EvaluationSettings) -> Predictions:
    """The model with the threshold of each row beside it, so that both are put in order together."""
    cuts = {_CUT + task: cuts for task, cuts in cuts_of(Sites.of(model, settings)).items()}
    return replace(model, table=model.table.assign(**cuts))


def _rows(
    task: Task | None,
    pair: tuple[Site, Site],
    shipped: list[dict[str, float]],
    models: tuple[Sites, Sites],
) -> Iterator[dict[str, Any]]:
    site, sites = pair[0], models[0]
    base = {"task": TOP if task is None else task.name} | site.place
    if task is not None:
        base |= {"first": shipped[0][task.name], "second": shipped[1][task.name]}
    reason = site.why_not(sites.settings.minimum_rows)
    if reason is not Reason.OK:
        known = {"n": len(site), "n_patients": site.n_patients, "reason": reason.value}
        names = _METRICS[:2] if task is None else _METRICS
        yield from (base | {"metric": name} | known for name in names)
        return
    for name, (hits, among) in zip(_METRICS, _shares(task, pair, models), strict=False):
        told = sites.of_share(hits[among], site.units[among])
        counts = {"n": int(among.sum()), "n_positive": int(hits[among].sum())}
        patients = {"n_patients": site.patients_among(among)}
        yield base | {"metric": name} | told | counts | patients


def _shares(
    task: Task | None, pair: tuple[Site, Site], models: tuple[Sites, Sites]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(hits, among which rows) of each metric; of the most probable class the first two."""
    labels = pair[0].labels
    if task is None:
        one, two = (site.probabilities.argmax(axis=1) == labels for site in pair)
        return [(two, ~one), (one, ~two)]
    one, two = (
        task.scores(site.probabilities)
        >= model.predictions.table[_CUT + task.name].to_numpy(float)[site.index]
        for site, model in zip(pair, models, strict=True)
    )
    either, positive = one | two, task.positive(labels)
    return [
        (two, positive & ~one),
        (one, positive & ~two),
        (either, positive),
        (~either, ~positive),
    ]
