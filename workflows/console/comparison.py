"""The comparison of methods on a terminal: held-out sites first, differences with intervals."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.markup import escape

from offsite.workflows.console.messages import data
from offsite.workflows.console.tables import ROLES, plain_table, site_title

METRICS = ("macro_auroc", "macro_f1", "balanced_accuracy", "quadratic_weighted_kappa", "auroc")


def show(table: pd.DataFrame, metrics: Sequence[str] = (), confidence: float = 0.95) -> None:
    """Print the rows of some metrics by site; without names, the usual ones that are there."""
    sure = f"{100 * confidence:.6g} %"
    shown_metrics = [name for name in metrics or METRICS if (table["metric"] == name).any()]
    for metric in shown_metrics:
        rows = table[(table["metric"] == metric) & ~table["site"].isin(["_worst", "_gap"])]
        rows = rows.sort_values(
            "site_role", kind="stable", key=lambda role: role.map(list(ROLES).index)
        )
        shown = plain_table(metric)
        shown.add_column("site")
        shown.add_column("method", no_wrap=True)
        for column in ("seeds", f"value ({sure})", f"difference ({sure})"):
            shown.add_column(column, justify="right", no_wrap=True)
        for _, row in rows.iterrows():
            shown.add_row(
                escape(site_title(row["site"], row["site_role"])),
                escape(row["method"]),
                str(int(row["seeds"])),
                _number(row["value"], row["low"], row["high"], ".2f", "–"),
                _number(
                    row["difference"], row["difference_low"], row["difference_high"], "+.3f", ", "
                ),
            )
        data.print(shown)


def _number(value: Any, low: Any, high: Any, form: str, dash: str) -> str:
    if pd.isna(value):
        return ""
    if pd.isna(low) or pd.isna(high):
        return f"{value:{form}} (none)"
    return f"{value:{form}} ({low:{form}}{dash}{high:{form}})"
