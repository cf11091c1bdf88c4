"""What the per-site table says, looked up once for summary, table and figure alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from offsite.evaluation.alarms import alarm_table
from offsite.evaluation.metrics.names import PRIMARY, TASK_HEADLINE, described, primary_metric
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.statistics.estimates import FEW_PATIENTS
from offsite.evaluation.tables.reading import Evaluated, records
from offsite.evaluation.wording import present

_NUMBERS = ("value", "low", "high")
_COUNTS = ("n", "n_patients", "n_positive", "classes_defined", "classes")


@dataclass(frozen=True, kw_only=True)
class SiteEstimate:
    """One metric at one site.

    ``n_patients`` is ``None`` where the table does not say. ``detail`` is the table's. A mean over
    classes covers ``classes_defined`` of ``classes``; both ``None`` for other metrics.
    """

    site: str
    role: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    n_patients: int | None = None
    n_positive: int | None = None
    reason: str = "no_samples"
    detail: str = ""
    classes_defined: int | None = None
    classes: int | None = None

    @property
    def few(self) -> bool:
        """Whether so few patients stand behind it that no conclusion should rest on it."""
        return (self.n_patients if self.n_patients is not None else self.n) < FEW_PATIENTS


class Findings:
    """The per-site table of one evaluation, with its primary metric.

    Parameters
    ----------
    evaluated : Evaluated
        The folder's tables. Only the ``test`` split is reported.
    """

    def __init__(self, evaluated: Evaluated) -> None:
        table = evaluated.per_site
        table = table[table["split"] == "test"] if "split" in table else table
        single = table[~table["site"].str.startswith("_")]
        self.evaluated = evaluated
        self.confidence = evaluated.confidence
        self.metrics = list(dict.fromkeys(single["metric"]))
        wanted = evaluated.facts.get("primary_metric")
        self.primary = primary_metric(self.metrics, wanted) if self.metrics else ""
        self.metric = described(self.primary or PRIMARY[0])
        self._rows = {
            (row["site"], row["site_role"], row["metric"]): estimate_of(row)
            for row in records(table)
        }
        self._roles = dict(zip(single["site"], single["site_role"], strict=True))
        self.shipped = _shipped(evaluated)
        asked = evaluated.tables.get("alarms")
        if asked is None or "against" not in asked:  # of an earlier version
            asked = alarm_table(evaluated.tables, 0.05)
        self.alarms = asked
        raised = self.alarms[self.alarms["raised"].astype(bool)]
        self._raised = set(
            zip(*(raised[name] for name in ("alarm", "task", "site", "site_role")), strict=True)
        )

    def sites(self, role: str | None = None) -> list[str]:
        """Sites of a role (or all), the worst first by the primary metric, undefined ones last."""
        names = [site for site, known in self._roles.items() if role in (None, known)]

        def rank(site: str) -> tuple[bool, float, str]:
            value = self.at(site, self.primary).value
            if value is None:
                return True, 0.0, site
            return False, value if self.metric.higher is not False else -value, site

        return sorted(names, key=rank)

    @property
    def roles(self) -> list[str]:
        """Roles that have sites, held-out ones first: they are what the page is about."""
        order = {"held_out": 0, "training": 1}
        return sorted(set(self._roles.values()), key=lambda role: (order.get(role, 2), role))

    def role(self, site: str) -> str:
        """The role of a site."""
        return self._roles[site]

    def at(self, site: str, metric: str) -> SiteEstimate:
        """A metric at a site; undefined where the table has no such row."""
        estimate = self._rows.get((site, self._roles.get(site, ""), metric))
        return estimate or SiteEstimate(site=site, role=self._roles.get(site, ""))

    def raised(self, alarm: str, row: Mapping[str, Any], task: str = "") -> bool:
        """Whether the site of a table's row is accused, beyond chance over the whole page."""
        return (alarm, task, row["site"], row["site_role"]) in self._raised

    def summary(self, name: str, role: str, metric: str) -> SiteEstimate | None:
        """``_pooled``, ``_worst`` or ``_gap`` of a role, where the table has it."""
        return self._rows.get((name, role, metric))

    def shown(self, site: str, role: str, metric: str) -> SiteEstimate | None:
        """A metric at a site or over the sites of a role, at the threshold that ships if it has one.

        The per-site table has those of tasks at the stated threshold. An evaluation of an earlier
        version has no worst site and no gap at the shipped one.
        """
        shipped = any(name == metric for *_, name in self.shipped)
        return (self.shipped if shipped else self._rows).get((site, role, metric))

    def size(self, site: str) -> SiteEstimate:
        """The row of a site with the most images: its n and patients are the site's."""
        rows = [self.at(site, metric) for metric in self.metrics]
        return max(rows, key=lambda row: row.n)


def _shipped(evaluated: Evaluated) -> dict[tuple[str, str, str], SiteEstimate]:
    """Sensitivity and specificity of tasks at the threshold of model packages, where there is one."""
    table = evaluated.table("operating_points")
    if table is None:
        return {}
    rows = table[(table["rule"] == PACKAGED) & table["metric"].isin(TASK_HEADLINE)]
    return {
        (row["site"], row["site_role"], f"{row['task']}/{row['metric']}"): estimate_of(row)
        for row in records(rows[rows["threshold"].notna()])
    }


def estimate_of(row: Mapping[str, Any]) -> SiteEstimate:
    """The row of a long table; what it lacks is ``None``."""
    numbers = {name: present(row.get(name)) for name in (*_NUMBERS, *_COUNTS)}
    whole = {name: None if (number := numbers[name]) is None else int(number) for name in _COUNTS}
    told: dict[str, Any] = numbers | whole | {"n": whole["n"] or 0}
    detail = row.get("detail", "")
    return SiteEstimate(
        site=str(row.get("site", "")),
        role=str(row.get("site_role", "")),
        reason=str(row.get("reason") or "ok"),
        detail="" if pd.isna(detail) else str(detail),
        **told,
    )
