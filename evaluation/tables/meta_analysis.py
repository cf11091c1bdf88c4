"""Sites combined: the mean hospital, the next hospital, and each site with its noise taken out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.metrics.names import described
from offsite.evaluation.predictions.roles import HELD_OUT, TRAINING
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.effects import SCALES
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.random_effects import random_effects
from offsite.evaluation.statistics.sites import ALL, GAP, WORST
from offsite.evaluation.tables.schemas import SCHEMAS


def meta_table(per_site: pd.DataFrame, settings: EvaluationSettings) -> pd.DataFrame:
    """Random effects of each metric over training sites, held-out sites and all sites.

    Parameters
    ----------
    per_site : pandas.DataFrame
        What :func:`offsite.evaluation.tables.per_site.per_site_table` gave, in memory or read back.
    settings : EvaluationSettings
        Confidence.
    """
    records = [_meta_row(metric, role, rows, settings) for metric, role, rows in _groups(per_site)]
    return SCHEMAS["meta"].frame(records)


def shrunken_table(per_site: pd.DataFrame, settings: EvaluationSettings) -> pd.DataFrame:
    """Empirical-Bayes estimates of the sites, with the worst and the gap of them.

    A site's effect goes towards the mean by the share of its variance that is noise:
    weight = tau2 / (tau2 + error^2), which is its posterior mean under normal laws.
    """
    records: list[dict[str, Any]] = []
    for metric, role, rows in _groups(per_site):
        records.extend(_shrunken_rows(metric, role, rows, settings))
    return SCHEMAS["shrunken"].frame(records)


def _groups(per_site: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Rows of plain sites by metric, for each role that has sites and for all."""
    plain = per_site[~per_site["site"].astype(str).str.startswith("_")]
    for metric in dict.fromkeys(plain["metric"]):
        of_metric = plain[plain["metric"] == metric]
        for role in (TRAINING, HELD_OUT, ALL):
            rows = of_metric if role == ALL else of_metric[of_metric["site_role"] == role]
            if len(rows):
                yield str(metric), role, rows


def _combined(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows can be combined (booleans), their effects and their errors."""
    effects = rows["effect"].to_numpy(dtype=np.float64, na_value=np.nan)
    errors = rows["effect_error"].to_numpy(dtype=np.float64, na_value=np.nan)
    usable = np.isfinite(effects) & np.isfinite(errors) & (errors > 0)
    return usable, effects[usable], errors[usable]


def _meta_row(
    metric: str, role: str, rows: pd.DataFrame, settings: EvaluationSettings
) -> dict[str, Any]:
    usable, effects, errors = _combined(rows)
    scale = described(metric).scale
    record: dict[str, Any] = {
        "metric": metric,
        "site_role": role,
        "scale": scale,
        "sites": int(usable.sum()),
        "sites_left_out": int((~usable).sum()),
        "reason": (Reason.OK if len(effects) >= 3 else Reason.TOO_FEW).value,
    }
    if len(effects) < 2:
        return record
    pooled = random_effects(effects, errors)
    back = SCALES[scale][1]
    record["mean"] = float(back(np.array(pooled.mean)))
    intervals = {"": pooled.mean_interval(settings.confidence)}
    expected, usual = map(pooled.prediction_interval, (settings.confidence, 0.8))
    if expected is not None and usual is not None:
        kappa = scale == "fisher"
        spread = settings.next_hospital_spread_of_kappas if kappa else settings.next_hospital_spread
        assumed = pooled.prior_interval(spread, settings.confidence)
        intervals |= {"prediction_": expected, "usual_": usual, "assumed_": assumed}
    for kind, bounds in intervals.items():
        record[f"{kind}low"], record[f"{kind}high"] = back(np.array(bounds))
    return record | {name: getattr(pooled, name) for name in ("tau2", "q", "q_p_value", "i2")}


def _shrunken_rows(
    metric: str, role: str, rows: pd.DataFrame, settings: EvaluationSettings
) -> list[dict[str, Any]]:
    usable, effects, errors = _combined(rows)
    sites = rows["site"].astype(str).to_numpy()
    values = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    combined = len(effects) >= 2
    records = [
        {"metric": metric, "site_role": role, "site": site, "value": value}
        # Of one site alone there is nothing to combine, whatever its own row says.
        | {"reason": str(why) if combined and why != Reason.OK else Reason.TOO_FEW.value}
        for site, value, why in zip(sites, values, rows["reason"], strict=True)
    ]
    if not combined:
        return records
    pooled = random_effects(effects, errors)
    back = SCALES[described(metric).scale][1]
    centre, weight = pooled.shrunken()
    shrunken, low, high = map(back, (centre, *pooled.shrunken_intervals(settings.confidence)))
    for place, *numbers in zip(np.flatnonzero(usable), shrunken, low, high, weight, strict=True):
        records[place] |= dict(zip(("shrunken", "low", "high", "weight"), numbers, strict=True))
        records[place]["reason"] = Reason.OK.value
    return records + _extremes(metric, role, values[usable], shrunken)


def _extremes(
    metric: str, role: str, values: np.ndarray, shrunken: np.ndarray
) -> list[dict[str, Any]]:
    # Of what is neither better nor worse, the least stands for the worst.
    pick = np.max if described(metric).higher is False else np.min
    base = {"metric": metric, "site_role": role, "reason": Reason.OK.value}
    return [
        base | {"site": WORST, "value": float(pick(values)), "shrunken": float(pick(shrunken))},
        base | {"site": GAP, "value": float(np.ptp(values)), "shrunken": float(np.ptp(shrunken))},
    ]
