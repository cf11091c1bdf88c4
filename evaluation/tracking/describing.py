"""A run in words: what stands under its name on MLflow's page."""

import html
import re

import pandas as pd

from offsite.evaluation.metrics.names import described, primary_metric
from offsite.evaluation.tables.reading import Record, records
from offsite.evaluation.wording import interval, number, reason

LONGEST = 4900
_MOST_SITES = 5
_ROLES = (("held_out", "held-out site"), ("training", "training site"))


def headline(table: pd.DataFrame, primary: str = "") -> str:
    """The primary metric at the held-out sites with its interval; without any, at those of training.

    Parameters
    ----------
    table : pandas.DataFrame
        The per-site table.
    primary : str
        Name of the primary metric; empty: as a page chooses it.

    Examples
    --------
    >>> row = {"site": "North", "site_role": "held_out", "metric": "auroc", "reason": "ok"}
    >>> headline(pd.DataFrame([row | {"value": 0.83, "low": 0.79, "high": 0.87}]))
    'AUROC at the held-out site North: 0.83 (95 % interval 0.79–0.87)'
    """
    names = list(dict.fromkeys(table["metric"].astype(str)))
    if not names:
        return "nothing was measured"
    metric = primary_metric(names, primary)
    rows = records(table[table["metric"] == metric])
    for role, words in _ROLES:
        of_role = [row for row in rows if row.get("site_role") == role]
        sites = [row for row in of_role if not row["site"].startswith("_")]
        if not sites:
            continue
        label = described(metric).label
        if len(sites) == 1:
            return f"{label} at the {words} {plain(sites[0]['site'])}: {_said(sites[0])}"
        pool = next((row for row in of_role if row["site"] == "_pooled"), None)
        whole = [] if pool is None else [f"together {_said(pool)}"]
        single = [f"{plain(row['site'])} {_said(row)}" for row in sites[:_MOST_SITES]]
        more = [f"{len(sites) - _MOST_SITES} more"] if len(sites) > _MOST_SITES else []
        return f"{label} at {len(sites)} {words}s: {'; '.join([*whole, *single, *more])}"
    return "no site was measured"


def description(head: str, sentences: list[str], pages: str = "") -> str:
    """The headline, the summary of the report, and where the whole stands, as Markdown.

    Sentences that would make it longer than MLflow keeps are left out, and it says so.
    """
    end = f"\n\n{pages}" if pages else ""
    end += "\n\nResearch use only."
    text = f"**{head}**\n"
    for left, sentence in zip(range(len(sentences), 0, -1), sentences, strict=True):
        line = f"\n- {plain(sentence)}"
        rest = f"\n- {left} more findings stand in the report."
        if len(text) + len(line) + len(rest) + len(end) > LONGEST:
            return text + rest + end
        text += line
    return text + end


def plain(text: str) -> str:
    """Text of others as Markdown shows it: no markup of it takes effect.

    Examples
    --------
    >>> plain("<b>North</b>")
    '&lt;b&gt;North&lt;/b&gt;'
    """
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _said(row: Record) -> str:
    value, low, high = (row.get(name) for name in ("value", "low", "high"))
    if value is None:
        return f"not defined ({reason(row.get('reason') or '')})"
    bounds = interval(low, high)
    return f"{number(value)} ({'95 % interval ' if low is not None else ''}{bounds})"
