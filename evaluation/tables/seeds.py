"""Whether the seeds of a method agree: for each test image, and at each site."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.alignment import aligned, rows_of_test
from offsite.evaluation.tables.schemas import SCHEMAS

FLIPS, WRONG_AGREED, WRONG_FLIPPED = "flips", "wrong_where_agreed", "wrong_where_flipped"


def seed_tables(
    groups: Mapping[str, Sequence[Predictions]], settings: EvaluationSettings
) -> dict[str, pd.DataFrame]:
    """Return ``seeds`` (a row for each method and test image) and ``seed_agreement`` (for each site).

    Parameters
    ----------
    groups : mapping of str to sequence of Predictions
        Predictions of each seed, by method; all for the same test images. A method of one seed
        has no rows.
    settings : EvaluationSettings
        What counts as a case, and the confidence of the intervals, which are exact at the effective
        number of patients.

    Returns
    -------
    dict of str to pandas.DataFrame
        ``seeds``: ``method, image, patient, site, site_role, label, called`` (by the mean over
        seeds), ``flips`` (whether seeds call it differently), and for each class ``prob_<class>``
        (mean), ``seed_low_<class>`` and ``seed_high_<class>`` (least and most over the seeds).
        ``seed_agreement``: `SCHEMAS`.

    Raises
    ------
    InputError
        The seeds do not speak of the same test images.
    """
    images, agreement = [], []
    for method, models in groups.items():
        if len(models) > 1:
            reference = rows_of_test(models[0])
            table = _images([reference, *(aligned(reference, model) for model in models[1:])])
            place = {"method": method, "seeds": len(models)}
            agreement += [place | row for row in _agreement(Sites.of(reference, settings), table)]
            images.append(table.assign(method=method)[["method", *table.columns]])
    whole = pd.concat(images, ignore_index=True) if images else pd.DataFrame()
    return {"seeds": whole, "seed_agreement": SCHEMAS["seed_agreement"].frame(agreement)}


def _images(models: Sequence[Predictions]) -> pd.DataFrame:
    """A row for each image, of models whose rows are in one order."""
    every = np.stack([model.probabilities for model in models])
    mean, called = every.mean(axis=0), every.argmax(axis=2)
    table = models[0].table[["image", "patient", "site", "site_role", "label"]].copy()
    table["called"] = np.array(models[0].classes)[mean.argmax(axis=1)]
    table["flips"] = (called != called[0]).any(axis=0)
    for number, name in enumerate(models[0].classes):
        table[f"prob_{name}"] = mean[:, number]
        table[f"seed_low_{name}"] = every[:, :, number].min(axis=0)
        table[f"seed_high_{name}"] = every[:, :, number].max(axis=0)
    return table


def _agreement(sites: Sites, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A row for each place and metric; ``table`` has a row for each of the sites' images."""
    flips, known = table["flips"].to_numpy(bool), (table["label"] != "").to_numpy()
    wrong = (table["called"] != table["label"]).to_numpy()
    several = [rows for rows in sites.roles_first if len(rows.draws) > 1]
    for rows in [*sites.every, *several]:
        for metric, hits, chosen in (
            (FLIPS, flips, np.ones(len(table), bool)),
            (WRONG_AGREED, wrong, known & ~flips),
            (WRONG_FLIPPED, wrong, known & flips),
        ):
            among = chosen[rows.index]
            told = sites.of_share(hits[rows.index][among], rows.units[among])
            counts = {"n": int(among.sum()), "n_patients": rows.patients_among(among)}
            yield rows.place | {"metric": metric} | counts | told
