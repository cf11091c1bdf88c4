"""All that a page may accuse a site of, tested together under one familywise level.

A page with ten sites asks some eighty questions. Each at 5 % would raise four false alarms; here the
chance of a single one on a page with nothing to find is under the level (Holm 1979). A site with too
few patients to conclude on is not asked.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from offsite.evaluation.operating_points.choosing import CHOSEN, PACKAGED, RULES
from offsite.evaluation.statistics.binomial import holm
from offsite.evaluation.statistics.estimates import FEW_PATIENTS
from offsite.evaluation.tables.schemas import SCHEMAS

ALARMS: Mapping[str, str] = {
    "too_sure": "probabilities are too extreme (calibration slope under 1)",
    "at_large": "probabilities are too high or too low as a whole (calibration intercept)",
    "missed": "the threshold finds fewer than promised (sensitivity under the target)",
    "over_referral": "the threshold refers more of the healthy than where it was chosen",
    "sets": "prediction sets hold the truth less often than promised",
    "foreign": "the detector flags more than twice the expected share",
    "images": "images look different",
    "case_mix": "the case mix differs",
    "performance": "performance is lower",
    "one_answer": "the model answers the same for everyone, unlike elsewhere",
}
"""What can be said of a site, by the name in ``alarms.csv``."""

_SEEN = ("value", "low", "high", "against", "p_value")

Tables = Mapping[str, pd.DataFrame]
Row = dict[str, Any]


def smallest_level(level: float, sites: int) -> float:
    """What a p-value must not exceed to be an alarm, were it the only one of a page."""
    return level / (max(sites, 1) * len(ALARMS))


def usable_rules(rows: pd.DataFrame) -> list[str]:
    """Rules of thresholds that there are, the one that ships first."""
    having = rows[rows["threshold"].notna()]
    order = (PACKAGED, *(rule for rule in reversed(RULES) if rule != PACKAGED))
    known: list[str] = [rule for rule in order if (having["rule"] == rule).any()]
    return known or [str(rows["rule"].iloc[0])]


def first_detector(table: pd.DataFrame) -> str:
    """The first of the configured detectors that could be fitted: none is chosen by its result."""
    usable = table[table["value"].notna()]
    return str((usable if len(usable) else table)["detector"].iloc[0])


def alarm_table(tables: Tables, level: float) -> pd.DataFrame:
    """Every question that the page asks of a site, with its p-value after Holm's correction.

    A site of fewer than thirty patients is not asked.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        The evaluation's tables; what is absent is not asked.
    level : float
        Familywise level (0..1) of the whole page.
    """
    sizes = tables["per_site"].groupby("site")["n_patients"].max().to_dict()
    asked = []
    for row in (*_from_p_values(tables), *_one_answer(tables, sizes)):
        patients = max(int(row["n_patients"]), int(sizes.get(row["site"], 0) or 0))
        if patients >= FEW_PATIENTS:
            asked.append(row | {"n_patients": patients})
    asked.sort(key=lambda row: row["p_value"])
    for row, adjusted in zip(asked, holm([row["p_value"] for row in asked]), strict=True):
        row |= {"adjusted": adjusted, "raised": adjusted <= level}
    return SCHEMAS["alarms"].frame(asked)


def _from_p_values(tables: Tables) -> Iterator[Row]:
    for alarm, task, rows in _questions(tables):
        told = rows[rows["p_value"].notna() & ~rows["site"].str.startswith("_")]
        for row in told.to_dict("records"):
            known = {str(name): row[name] for name in ("site", "site_role", *_SEEN)}
            patients = 0 if pd.isna(row["n_patients"]) else row["n_patients"]
            yield {"alarm": alarm, "task": task, "n_patients": patients, **known}


def _questions(tables: Tables) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(alarm, task, rows that may raise it, ``against``: what they are tested against)."""

    def table(name: str) -> pd.DataFrame | None:
        found = tables.get(name)
        return None if found is None or found.empty or "p_value" not in found else found

    if (calibration := table("calibration")) is not None:
        task = str(calibration["task"].iloc[0])
        plain = calibration[(calibration["task"] == task) & (calibration["calibrator"] == "none")]
        yield "too_sure", task, plain[plain["metric"] == "slope"].assign(against=1.0)
        yield "at_large", task, plain[plain["metric"] == "intercept"].assign(against=0.0)
    if (points := table("operating_points")) is not None:
        for task in dict.fromkeys(points["task"]):
            rows = points[points["task"] == task]
            rows = rows[rows["rule"] == usable_rules(rows)[0]]
            gaps = rows[rows["metric"] == "transfer_gap"]
            target = gaps["target_sensitivity"]
            found = {"value": target - gaps["value"], "against": target}
            bounds = {"low": target - gaps["high"], "high": target - gaps["low"]}
            yield "missed", str(task), gaps.assign(**found, **bounds)
            specificity = rows[rows["metric"] == "specificity"]
            promised = specificity.loc[specificity["site"] == CHOSEN, "value"].max()
            yield "over_referral", str(task), specificity.assign(against=promised)
    if (sets := table("conformal")) is not None:
        whole = sets[(sets["label"] == "_all") & ~sets["weighted"].astype(bool)]
        whole = whole[whole["level"] == whole["level"].min()]
        yield "sets", "", whole.assign(value=whole["coverage"], against=whole["level"])
    if (scores := table("ood")) is not None:
        flags = scores[(scores["detector"] == first_detector(scores))]
        flags = flags[(flags["metric"] == "flag_rate") & (flags["category"] == "covariate_shifted")]
        yield "foreign", "", flags.assign(against=None)
    if (shift := table("shift")) is not None:
        for kind, alarm in (("covariate", "images"), ("prevalence", "case_mix")):
            rows = shift[shift["kind"] == kind]
            yield alarm, "", rows.assign(against=rows["null_high"])
        yield "performance", "", shift[shift["kind"] == "performance"].assign(against=0.0)


def _one_answer(tables: Tables, sizes: Mapping[Any, Any]) -> Iterator[Row]:
    """Sites of several classes where one class alone is called, and how likely that is by chance.

    Were images there called as often otherwise as at the other sites, all patients would have to
    miss it: the share of this answer elsewhere to the power of their number.
    """
    table = tables.get("confusion")
    if table is None or table.empty:
        return
    single = table[~table["site"].str.startswith("_")]
    for (site, role), rows in single.groupby(["site", "site_role"]):
        answer = only_answer(rows)
        if answer is None:
            continue
        others = single[single["site"] != site]
        same = int(others.loc[others["predicted_class"] == answer, "count"].sum())
        share = (same + 1) / (int(others["count"].sum()) + 1)
        patients = int(sizes.get(site, 0) or 0)
        yield {
            "alarm": "one_answer",
            "task": answer,
            "site": site,
            "site_role": role,
            "value": 1.0,
            "against": share,
            "p_value": share**patients,
            "n_patients": patients,
        }


def only_answer(rows: pd.DataFrame) -> str | None:
    """The only class that is ever called, where images of several classes were; else ``None``."""
    called = rows.groupby("predicted_class")["count"].sum()
    true = rows.groupby("true_class")["count"].sum()
    if (called > 0).sum() != 1 or (true > 0).sum() < 2:
        return None
    return str(called.idxmax())
