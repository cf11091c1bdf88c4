"""Whether the seeds of a method agree: for each test image, and at each site."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.binomial import clustered_interval
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.tables.alignment import aligned, rows_of_test
from offsite.evaluation.tables.schemas import SCHEMAS

FLIPS, WRONG_AGREED, WRONG_FLIPPED = "flips", "wrong_where_agreed", "wrong_where_flipped"


def seed_tables(
    groups: Mapping[str, Sequence[Predictions]], confidence: float
) -> dict[str, pd.DataFrame]:
    """Return ``seeds`` (a row for each method and test image) and ``seed_agreement`` (for each site).

    Parameters
    ----------
    groups : mapping of str to sequence of Predictions
        Predictions of each seed, by method; all for the same test images. A method of one seed
        has no rows.
    confidence : float
        Of the intervals (0..1), which are exact at the effective number of patients.

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
    parts = {
        method: _of_method(method, models) for method, models in groups.items() if len(models) > 1
    }
    rows = [
        row
        for method, table in parts.items()
        for row in _agreement(method, table, len(groups[method]), confidence)
    ]
    whole = pd.concat(parts.values(), ignore_index=True) if parts else pd.DataFrame()
    return {"seeds": whole, "seed_agreement": SCHEMAS["seed_agreement"].frame(rows)}


def _of_method(method: str, models: Sequence[Predictions]) -> pd.DataFrame:
    reference = rows_of_test(models[0])
    rows = [reference, *(aligned(reference, model) for model in models[1:])]
    every = np.stack([model.probabilities for model in rows])
    mean, called = every.mean(axis=0), every.argmax(axis=2)
    table = reference.table[["image", "patient", "site", "site_role", "label"]].reset_index(
        drop=True
    )
    table.insert(0, "method", method)
    table["called"] = np.array(reference.classes)[mean.argmax(axis=1)]
    table["flips"] = (called != called[0]).any(axis=0)
    for number, name in enumerate(reference.classes):
        table[f"prob_{name}"] = mean[:, number]
        table[f"seed_low_{name}"] = every[:, :, number].min(axis=0)
        table[f"seed_high_{name}"] = every[:, :, number].max(axis=0)
    return table


def _agreement(
    method: str, table: pd.DataFrame, seeds: int, confidence: float
) -> Iterator[dict[str, Any]]:
    places = [*table.groupby(["site_role", "site"]), *_pooled(table)]
    for (role, site), rows in places:
        flips, known = rows["flips"].to_numpy(bool), (rows["label"] != "").to_numpy()
        wrong = (rows["called"] != rows["label"]).to_numpy()
        patients = rows["site"].to_numpy(str) + "\x1f" + rows["patient"].to_numpy(str)
        for metric, hits, chosen in (
            (FLIPS, flips, np.ones(len(rows), bool)),
            (WRONG_AGREED, wrong, known & ~flips),
            (WRONG_FLIPPED, wrong, known & flips),
        ):
            place = {"method": method, "site": site, "site_role": role, "seeds": seeds}
            yield place | {"metric": metric} | _share(hits[chosen], patients[chosen], confidence)


def _pooled(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for role, rows in table.groupby("site_role"):
        if rows["site"].nunique() > 1:
            yield (str(role), "_pooled"), rows


def _share(hits: np.ndarray, patients: np.ndarray, confidence: float) -> dict[str, Any]:
    counted = {"n": len(hits), "n_patients": len(np.unique(patients))}
    if not len(hits):
        return counted | {"reason": Reason.NO_SAMPLES}
    low, high = clustered_interval(hits, patients, confidence)
    return counted | {"value": hits.mean(), "low": low, "high": high, "reason": Reason.OK}
