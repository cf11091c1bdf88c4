"""What the per-site table says, looked up once for summary, table and figure alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from offsite.evaluation.alarms import FEW_PATIENTS, alarm_table
from offsite.evaluation.metrics.names import PRIMARY, described, primary_metric
from offsite.evaluation.tables.reading import Evaluated, records
from offsite.evaluation.wording import present


@dataclass(frozen=True, kw_only=True)
class SiteEstimate:
    """One metric at one site.

    ``n_patients`` is ``None`` where the table does not say. ``detail`` is the table's. A mean over
    classes covers ``classes_defined`` of ``classes``; both ``None`` for other metrics.
    """

    site: str
    role: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_patients: int | None
    n_positive: int | None
    reason: str
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
        self.confidence = evaluated.confidence
        self.table = table[table["split"] == "test"] if "split" in table else table
        single = self.table[~self.table["site"].str.startswith("_")]
        self.metrics = list(dict.fromkeys(single["metric"]))
        wanted = evaluated.facts.get("primary_metric")
        self.primary = primary_metric(self.metrics, wanted) if self.metrics else ""
        self.metric = described(self.primary or PRIMARY[0])
        self._rows = {
            (row["site"], row["site_role"], row["metric"]): _estimate(row)
            for row in records(self.table)
        }
        self._roles = dict(zip(single["site"], single["site_role"], strict=True))
        asked = evaluated.tables.get("alarms")
        self.alarms = alarm_table(evaluated.tables, 0.05) if asked is None else asked
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
        return estimate or _absent(site, self._roles.get(site, ""))

    def raised(self, alarm: str, row: Mapping[str, Any], task: str = "") -> bool:
        """Whether the site of a table's row is accused, beyond chance over the whole page."""
        return (alarm, task, row["site"], row["site_role"]) in self._raised

    def summary(self, name: str, role: str, metric: str) -> SiteEstimate | None:
        """``_pooled``, ``_worst`` or ``_gap`` of a role, where the table has it."""
        return self._rows.get((name, role, metric))

    def size(self, site: str) -> SiteEstimate:
        """The row of a site with the most images: its n and patients are the site's."""
        rows = [self.at(site, metric) for metric in self.metrics]
        return max(rows, key=lambda row: row.n)


def _estimate(row: dict[str, Any]) -> SiteEstimate:
    def whole(name: str) -> int | None:
        number = present(row.get(name))
        return None if number is None else int(number)

    return SiteEstimate(
        site=str(row["site"]),
        role=str(row["site_role"]),
        value=present(row["value"]),
        low=present(row["low"]),
        high=present(row["high"]),
        n=whole("n") or 0,
        n_patients=whole("n_patients"),
        n_positive=whole("n_positive"),
        reason=str(row.get("reason") or "ok"),
        detail="" if pd.isna(row.get("detail", "")) else str(row.get("detail", "")),
        classes_defined=whole("classes_defined"),
        classes=whole("classes"),
    )


def _absent(site: str, role: str) -> SiteEstimate:
    return SiteEstimate(
        site=site,
        role=role,
        value=None,
        low=None,
        high=None,
        n=0,
        n_patients=None,
        n_positive=None,
        reason="no_samples",
    )
