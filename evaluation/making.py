"""The tables of an evaluation, part by part, from one object of sites and draws."""

from collections.abc import Callable, Mapping

import pandas as pd

from offsite.evaluation.alarms import alarm_table
from offsite.evaluation.calibration.table import calibration_tables
from offsite.evaluation.conformal.table import conformal_table
from offsite.evaluation.ood.table import ood_table
from offsite.evaluation.operating_points.net_benefit import net_benefit_table
from offsite.evaluation.operating_points.subgroups import subgroup_table
from offsite.evaluation.operating_points.table import operating_point_table
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import Part, ReportSettings
from offsite.evaluation.shift.coupling import coupling_table
from offsite.evaluation.shift.table import shift_tables
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.cohort import cohort_table
from offsite.evaluation.tables.embeddings import embedding_tables
from offsite.evaluation.tables.meta_analysis import meta_table, shrunken_table
from offsite.evaluation.tables.per_site import confusion_table, per_site_table
from offsite.evaluation.tables.selective import risk_coverage_table, selective_table


def steps(settings: ReportSettings) -> tuple[str, ...]:
    """The steps of an evaluation, in order: the per-site tables, each part, the page."""
    return ("per_site", *settings.parts, "page")


def made_tables(
    rows: Predictions,
    settings: ReportSettings,
    near: Predictions | None,
    far: Predictions | None,
    done: Callable[[str], None] = lambda _: None,
    models: Mapping[int, Predictions] | None = None,
) -> dict[str, pd.DataFrame]:
    """Every table that the settings ask for, by its file name without suffix.

    ``near``, ``far`` and ``models`` are as of :func:`offsite.evaluation.evaluating.evaluate`; ``done`` is told the
    name of each of :func:`steps` but the last, the page.
    """
    sites = Sites.of(rows, settings.metrics)
    per_site = per_site_table(sites)
    makers: dict[Part, Callable[[], dict[str, pd.DataFrame]]] = {
        "next_hospital": lambda: {
            "meta": meta_table(per_site, settings.metrics),
            "shrunken": shrunken_table(per_site, settings.metrics),
        },
        "operating_points": lambda: {"operating_points": operating_point_table(sites)},
        "net_benefit": lambda: {"net_benefit": net_benefit_table(sites)},
        "embeddings": lambda: embedding_tables(sites) | {"site_coupling": coupling_table(sites)},
        "calibration": lambda: calibration_tables(sites),
        "ood": lambda: {"ood": ood_table(sites, settings.ood, far, near, models)},
        "shift": lambda: shift_tables(sites, settings.shift),
        "conformal": lambda: {"conformal": conformal_table(sites, settings.conformal)},
        "selective": lambda: {
            "selective": selective_table(sites, settings.selective),
            "risk_coverage": risk_coverage_table(sites, settings.selective),
        },
    }
    tables = {
        "cohort": cohort_table(sites),
        "per_site": per_site,
        "confusion": confusion_table(sites),
    }
    if settings.by:
        tables["subgroups"] = subgroup_table(sites, settings.by, settings.primary_metric)
    done("per_site")
    for part in settings.parts:
        tables |= makers[part]()
        done(part)
    return tables | {"alarms": alarm_table(tables, settings.metrics.alarm_level)}
