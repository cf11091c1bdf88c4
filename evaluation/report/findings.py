"""What the per-site table says, looked up once for summary, table and figure alike."""

from offsite.evaluation.alarms import alarm_table
from offsite.evaluation.metrics.names import PRIMARY, TASK_HEADLINE, described, primary_metric
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.statistics.estimates import FEW_PATIENTS
from offsite.evaluation.tables.reading import Evaluated, Record, records

_NOTHING: Record = {
    **dict.fromkeys(("value", "low", "high", "n_patients", "n_positive")),
    **{"n": 0, "reason": "no_samples", "detail": ""},
}


def few(row: Record) -> bool:
    """Whether so few patients stand behind a row that no conclusion should rest on it."""
    patients = row["n"] if row["n_patients"] is None else row["n_patients"]
    return bool(patients < FEW_PATIENTS)


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
        self.folds = int(evaluated.facts.get("folds") or 0)
        self._rows = {
            (row["site"], row["site_role"], row["metric"]): _whole(row) for row in records(table)
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
            value = self.at(site, self.primary)["value"]
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

    def at(self, site: str, metric: str) -> Record:
        """A metric at a site; undefined where the table has no such row."""
        role = self._roles.get(site, "")
        row = self._rows.get((site, role, metric))
        return row or {"site": site, "site_role": role, **_NOTHING}

    def raised(self, alarm: str, row: Record, task: str = "") -> bool:
        """Whether the site of a table's row is accused, beyond chance over the whole page."""
        return (alarm, task, row["site"], row["site_role"]) in self._raised

    def summary(self, name: str, role: str, metric: str) -> Record | None:
        """``_pooled``, ``_worst`` or ``_gap`` of a role, where the table has it."""
        return self._rows.get((name, role, metric))

    def shown(self, site: str, role: str, metric: str) -> Record | None:
        """A metric at a site or over the sites of a role, at the threshold that ships if it has one.

        The per-site table has those of tasks at the stated threshold. An evaluation of an earlier
        version has no worst site and no gap at the shipped one.
        """
        shipped = any(name == metric for *_, name in self.shipped)
        return (self.shipped if shipped else self._rows).get((site, role, metric))

    def size(self, site: str) -> Record:
        """The row of a site with the most images: its n and patients are the site's."""
        rows = [self.at(site, metric) for metric in self.metrics]
        return max(rows, key=lambda row: int(row["n"]))


def _shipped(evaluated: Evaluated) -> dict[tuple[str, str, str], Record]:
    """Sensitivity and specificity of tasks at the threshold of model packages, where there is one."""
    table = evaluated.table("operating_points")
    if table is None:
        return {}
    rows = table[(table["rule"] == PACKAGED) & table["metric"].isin(TASK_HEADLINE)]
    return {
        (row["site"], row["site_role"], f"{row['task']}/{row['metric']}"): _whole(row)
        for row in records(rows[rows["threshold"].notna()])
    }


def _whole(row: Record) -> Record:
    return {**_NOTHING, **row, "n": row.get("n") or 0, "reason": row.get("reason") or "ok"}
