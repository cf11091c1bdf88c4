"""Sites combined: the mean hospital, the next hospital, and each site with its noise taken out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.metrics.names import described
from offsite.evaluation.predictions.roles import HELD_OUT, TRAINING
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.intervals import SCALES
from offsite.evaluation.statistics.random_effects import RandomEffects, random_effects
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
    return SCHEMAS["meta"].frame(_meta_row(group, settings) for group in _groups(per_site))


def shrunken_table(per_site: pd.DataFrame, settings: EvaluationSettings) -> pd.DataFrame:
    """Empirical-Bayes estimates of the sites, with the worst and the gap of them.

    A site's effect goes towards the mean by the share of its variance that is noise:
    weight = tau2 / (tau2 + error^2), which is its posterior mean under normal laws.
    """
    rows = (row for group in _groups(per_site) for row in _shrunken_rows(group, settings))
    return SCHEMAS["shrunken"].frame(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Rows of single sites of a metric and role; which can be combined, and the combination."""

    metric: str
    role: str
    rows: pd.DataFrame
    usable: np.ndarray
    pooled: RandomEffects | None

    @property
    def place(self) -> dict[str, Any]:
        return {"metric": self.metric, "site_role": self.role}


def _groups(per_site: pd.DataFrame) -> Iterator[_Group]:
    """Rows of plain sites by metric, for each role that has sites and for all."""
    plain = per_site[~per_site["site"].astype(str).str.startswith("_")]
    for metric in dict.fromkeys(plain["metric"]):
        of_metric = plain[plain["metric"] == metric]
        for role in (TRAINING, HELD_OUT, ALL):
            rows = of_metric if role == ALL else of_metric[of_metric["site_role"] == role]
            if not len(rows):
                continue
            effects, errors = (
                rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
                for name in ("effect", "effect_error")
            )
            usable = np.isfinite(effects) & np.isfinite(errors) & (errors > 0)
            several = usable.sum() >= 2
            pooled = random_effects(effects[usable], errors[usable]) if several else None
            yield _Group(metric=str(metric), role=role, rows=rows, usable=usable, pooled=pooled)


def _meta_row(group: _Group, settings: EvaluationSettings) -> dict[str, Any]:
    sites, scale, pooled = int(group.usable.sum()), described(group.metric).scale, group.pooled
    record: dict[str, Any] = group.place | {
        "scale": scale,
        "sites": sites,
        "sites_left_out": len(group.rows) - sites,
        "reason": (Reason.OK if sites >= 3 else Reason.TOO_FEW).value,
    }
    if pooled is None:
        return record
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


def _shrunken_rows(group: _Group, settings: EvaluationSettings) -> list[dict[str, Any]]:
    pooled, rows = group.pooled, group.rows
    values = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    records = [
        group.place
        | {"site": str(site), "value": value}
        # Of one site alone there is nothing to combine, whatever its own row says.
        | {"reason": str(why) if pooled and why != Reason.OK else Reason.TOO_FEW.value}
        for site, value, why in zip(rows["site"], values, rows["reason"], strict=True)
    ]
    if pooled is None:
        return records
    back = SCALES[described(group.metric).scale][1]
    centre, weight = pooled.shrunken()
    shrunken, low, high = map(back, (centre, *pooled.shrunken_intervals(settings.confidence)))
    usable = np.flatnonzero(group.usable)
    for place, *numbers in zip(usable, shrunken, low, high, weight, strict=True):
        records[place] |= dict(zip(("shrunken", "low", "high", "weight"), numbers, strict=True))
        records[place]["reason"] = Reason.OK.value
    return records + _extremes(group, values[usable], shrunken)


def _extremes(group: _Group, values: np.ndarray, shrunken: np.ndarray) -> list[dict[str, Any]]:
    # Of what is neither better nor worse, the least stands for the worst.
    pick = np.max if described(group.metric).higher is False else np.min
    base = group.place | {"reason": Reason.OK.value}
    return [
        base | {"site": WORST, "value": float(pick(values)), "shrunken": float(pick(shrunken))},
        base | {"site": GAP, "value": float(np.ptp(values)), "shrunken": float(np.ptp(shrunken))},
    ]
