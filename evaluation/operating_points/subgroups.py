"""Subgroups of patients at each site: how the model does in each, and whether worse than in the rest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from offsite.evaluation.metrics.catalogue import FUNCTIONS, metric_names
from offsite.evaluation.metrics.names import TASK_HEADLINE, base_name, described, primary_metric
from offsite.evaluation.metrics.thresholds import shares_at
from offsite.evaluation.operating_points.by_fold import cuts_of
from offsite.evaluation.predictions.checks import groups_of_column
from offsite.evaluation.statistics.binomial import holm
from offsite.evaluation.statistics.estimates import FEW_PATIENTS, Estimate, Reason
from offsite.evaluation.statistics.intervals import SCALES, effect_of, estimate
from offsite.evaluation.statistics.measured import Measured, Request, request_of
from offsite.evaluation.statistics.sites import ALL, Site, Sites
from offsite.evaluation.tables.schemas import SCHEMAS

Place = tuple[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """What is measured of a group: the primary metric, and each task at the threshold of each row."""

    sites: Sites
    request: Request
    primary: str
    cuts: Mapping[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        """Metrics, in order."""
        shares = [f"{task.name}/{name}" for task in self.request.tasks for name in TASK_HEADLINE]
        return list(dict.fromkeys((self.primary, *shares)))

    def measured(self, site: Site) -> dict[str, Measured]:
        """The metrics of a site by name."""
        site = site.as_one()
        found: dict[str, Measured] = {}
        for task in self.request.tasks:
            scores, positive = task.scores(site.probabilities), task.positive(site.labels)
            flagged = scores >= self.cuts[task.name][site.index]
            shares = shares_at(site, flagged, positive, prefix=f"{task.name}/")
            found |= {each.name: each for each in shares}
        if self.primary not in found:
            every = FUNCTIONS[base_name(self.primary)](site, self.request)
            found[self.primary] = next(each for each in every if each.name == self.primary)
        return {name: found[name] for name in self.names}


def subgroup_table(sites: Sites, by: Sequence[str], primary: str | None = None) -> pd.DataFrame:
    """A row for each column, group, place and metric: each site, and the sites of a role pooled.

    Groups of fewer than 30 patients are counted and not measured. A group is tested against the
    rest of its site, one-sided for the worse, by the normal law on the scale where sites are
    combined; where the two share patients (the eyes of one) the test is on the careful side. All of
    the table is one family by Holm under ``alarm_level``.

    Parameters
    ----------
    sites : Sites
        Test rows are measured; thresholds come from validation rows of training sites, of a
        cross-validation as `offsite.evaluation.operating_points.by_fold` says.
    by : sequence of str
        Columns of the predictions.
    primary : str, optional
        The metric beside sensitivity and specificity; unset: the usual one.

    Raises
    ------
    InputError
        There is no such column, or it has more than twenty values.
    """
    request = request_of(sites.predictions, sites.settings)
    asked = _Asked(
        sites=sites,
        request=request,
        primary=primary_metric(metric_names(request), primary),
        cuts=cuts_of(sites),
    )
    rows = [row for column in by for row in _rows_by(column, asked)]
    tested = [row for row in rows if row.get("p_value") is not None]
    adjusted = holm([row["p_value"] for row in tested])
    for row, p_value in zip(tested, adjusted, strict=True):
        row |= {"adjusted": p_value, "raised": p_value <= sites.settings.alarm_level}
    return SCHEMAS["subgroups"].frame(rows)


def _rows_by(column: str, asked: _Asked) -> Iterator[dict[str, Any]]:
    test = asked.sites.roles.test
    group_of = groups_of_column(asked.sites.predictions.table[test], column)
    for name in np.unique(group_of):
        chosen, others = test.copy(), test.copy()
        chosen[test], others[test] = group_of == name, group_of != name
        inside, rest = _places(asked.sites, chosen), _places(asked.sites, others)
        for place, site in inside.items():
            base = {"by": column, "group": str(name), "site": place[0], "site_role": place[1]}
            yield from (base | row for row in _rows_of(site, rest.get(place), asked))


def _places(sites: Sites, rows: np.ndarray) -> dict[Place, Site]:
    """The sites, and the sites of each role together, of some of the test rows, by their places."""
    chosen = sites.predictions.select(rows)
    table = chosen.table.assign(site_role=sites.roles.site_role[rows])
    among = Sites.of(replace(chosen, table=table), sites.settings)
    pools = [site for site in among.pools if site.role != ALL]
    row_of = np.flatnonzero(rows)
    return {
        (site.name, site.role): replace(site, index=row_of[site.index])
        for site in [*pools, *among.single]
    }


def _rows_of(site: Site, rest: Site | None, asked: _Asked) -> Iterator[dict[str, Any]]:
    if site.n_patients < FEW_PATIENTS:
        counts = {"n": len(site), "n_patients": site.n_patients}
        nothing = Estimate(value=None, reason=Reason.TOO_FEW, **counts)
        yield from ({"metric": name} | nothing.cells() for name in asked.names)
        return
    here = asked.measured(site)
    there = {}
    if rest is not None and rest.n_patients >= FEW_PATIENTS:
        there = asked.measured(rest)
    for name, measured in here.items():
        row = {"metric": name} | estimate(measured, site, asked.sites.settings).cells()
        if rest is not None and name in there:
            row |= _against(name, (measured, site), (there[name], rest))
        yield row


def _against(
    name: str, one: tuple[Measured, Site], other: tuple[Measured, Site]
) -> dict[str, float | None]:
    """Difference to the rest of the site, and how likely so bad a one is by chance."""
    values = [float(measured.values[0]) for measured, _ in (one, other)]
    if not np.isfinite(values).all():
        return {}
    metric = described(name)
    found: dict[str, float | None] = {"difference": values[0] - values[1]}
    if metric.higher is None or metric.scale not in SCALES:
        return found
    effects = [effect_of(measured, site.n_units, metric.scale) for measured, site in (one, other)]
    if effects[0] is None or effects[1] is None:
        return found
    (here, error), (there, spread) = effects[0], effects[1]
    worse = (here - there) * (1 if metric.higher else -1)
    return found | {"p_value": float(norm.cdf(worse / np.hypot(error, spread)))}
