"""Which numbers MLflow shows: some 150 named keys, the held-out sites first; the rest stays in files."""

from collections.abc import Iterable, Iterator

import pandas as pd

from offsite.evaluation.metrics.names import TASK_HEADLINE, headline_metrics, primary_metric
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.tracking.keys import metric_slugs, per_site_metrics, site_key, site_slugs

LIMIT = 150
SHIPPED = "_shipped"
KEYS = (
    (
        "headline/held_out/<metric>",
        "all held-out sites together; where there is one, it is that site",
    ),
    ("headline/worst_held_out/<metric>", "the worst held-out site, for the primary metric"),
    ("headline/training/<metric>", "all training sites together"),
    ("test/<site>/<metric>", "a site, the held-out ones first"),
    ("test/<site>/n", "labelled images of the site"),
    ("test/<site>/<task>_n_positive", "those of them that are positive for a task"),
    ("train/<loss>", "a loss of training; the step is the epoch"),
    ("val/<score>", "a score on validation images; the step is the epoch"),
)
"""Every key there is. A ``<metric>`` has its 95 % interval beside it as ``.lo`` and ``.hi``."""
_TASKS, _USUAL = 2, 4
_HEADLINES = (("held_out", "_pooled_held_out"), ("training", "_pooled_training"))
_WORST = ("worst_held_out", "_worst_held_out")
_SUMMARIES = ("_pooled", "_worst", "_gap")


def with_shipped(per_site: pd.DataFrame, points: pd.DataFrame | None) -> pd.DataFrame:
    """The per-site table with the sensitivities and specificities at the threshold that ships.

    They are called ``<task>/sensitivity_shipped``; those of the per-site table itself are at the
    threshold that the settings state.

    Parameters
    ----------
    per_site : pandas.DataFrame
        The per-site table.
    points : pandas.DataFrame or None
        The table of operating points, where there is one.
    """
    if points is None or points.empty:
        return per_site
    rows = points[(points["rule"] == PACKAGED) & points["metric"].isin(TASK_HEADLINE)]
    rows = rows[~rows["site"].isin(["_chosen"])]
    names = rows["task"].astype(str) + "/" + rows["metric"].astype(str) + SHIPPED
    shared = [name for name in per_site.columns if name in rows.columns and name != "metric"]
    added = rows[shared].assign(metric=names, split="test")
    return pd.concat([per_site, added], ignore_index=True)


def shown_names(names: Iterable[str], wanted: str = "") -> list[str]:
    """The metrics that are shown: the primary one, a few usual ones, two of each of two tasks.

    Examples
    --------
    >>> shown_names(["auroc", "brier", "auprc", "sick/sensitivity", "sick/specificity"])
    ['auroc', 'brier', 'sick/sensitivity', 'sick/specificity']
    """
    known = list(dict.fromkeys(names))
    if not known:
        return []
    primary = primary_metric(known, wanted)
    plain = [name for name in known if not name.endswith(SHIPPED)]
    usual = [n for n in headline_metrics(plain, primary) if n == primary or "/" not in n][:_USUAL]
    tasks = dict.fromkeys(
        task
        for name in known
        for task, _, metric in (name.rpartition("/"),)
        if task and metric in TASK_HEADLINE
    )
    of_tasks = [
        f"{task}/{name}{SHIPPED}" if f"{task}/{name}{SHIPPED}" in known else f"{task}/{name}"
        for task in list(tasks)[:_TASKS]
        for name in TASK_HEADLINE
    ]
    return list(dict.fromkeys([*usual, *(name for name in of_tasks if name in known)]))


def shown_metrics(
    table: pd.DataFrame, primary: str = "", limit: int = LIMIT
) -> tuple[dict[str, float], int]:
    """The keys of a run by :data:`KEYS`, at most ``limit``, and how many of the table have none.

    Where there are more, what comes first stays: the headline, the primary metric at every site, each
    site's number of images, and so on metric by metric; of the sites the held-out ones, then the
    summaries, then the training sites.

    Parameters
    ----------
    table : pandas.DataFrame
        The per-site table, see :func:`with_shipped`.
    primary : str
        Name of the primary metric; empty: as a page chooses it.
    limit : int
        Most keys.

    Raises
    ------
    InputError
        Two sites have one slug.
    """
    every = per_site_metrics(table)
    slugs = metric_slugs(table["metric"].astype(str))
    metrics = [slugs[name] for name in shown_names(slugs, primary)]
    places = _places(table)
    chosen: dict[str, float] = {}
    for key, source in _wanted(metrics, places, list(every)):
        if source in every and len(chosen) < limit:
            chosen[key] = every[source]
    return chosen, len(set(every) - set(chosen))


def _wanted(metrics: list[str], places: list[str], every: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of a key and the key of the whole table whose number it shows, in order."""
    for metric in metrics:
        for name, place in _HEADLINES if metric != metrics[0] else (*_HEADLINES, _WORST):
            yield from _bounds(f"headline/{name}/{metric}", f"test/{place}/{metric}")
    for place in places if metrics else ():
        yield from _bounds(f"test/{place}/{metrics[0]}", f"test/{place}/{metrics[0]}")
    for place in places:
        counts = (key for key in every if key.startswith(f"test/{place}/"))
        yield from ((key, key) for key in counts if key.endswith(("/n", "_n_positive")))
    for metric in metrics[1:]:
        for place in places:
            yield from _bounds(f"test/{place}/{metric}", f"test/{place}/{metric}")


def _bounds(key: str, source: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{key}{end}", f"{source}{end}") for end in ("", ".lo", ".hi"))


def _places(table: pd.DataFrame) -> list[str]:
    """The sites and summaries as keys name them, in the order in which they are shown."""
    slugs = site_slugs(table["site"].astype(str))
    roles = table["site_role"] if "site_role" in table else pd.Series("", table.index)
    pairs = dict.fromkeys(zip(table["site"].astype(str), roles.astype(str), strict=True))

    def rank(pair: tuple[str, str]) -> tuple[bool, bool, int]:
        site, role = pair
        summary = _SUMMARIES.index(site) + 1 if site in _SUMMARIES else 0
        return role != "held_out", summary == 0 and role != "held_out", summary

    ordered = sorted(pairs, key=rank)
    return list(dict.fromkeys(site_key(slugs[site], role) for site, role in ordered))
