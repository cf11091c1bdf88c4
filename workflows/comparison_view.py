"""The comparison of methods on a terminal: held-out sites first, differences with intervals."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from workflows.console import data

METRICS = ("macro_auroc", "macro_f1", "balanced_accuracy", "quadratic_weighted_kappa", "auroc")


def show(table: pd.DataFrame, metrics: Sequence[str] = ()) -> None:
    """Print the pooled rows of some metrics; without names, the usual ones that are there."""
    found = [name for name in metrics or METRICS if (table["metric"] == name).any()]
    for metric in found:
        rows = table[(table["metric"] == metric) & ~table["site"].isin(["_worst", "_gap"])]
        shown = Table(title=metric, title_justify="left")
        for column in ("site", "method", "seeds", "value", "95 %", "difference", "95 %"):
            shown.add_column(column, justify="left" if column in ("site", "method") else "right")
        for _, row in rows.iterrows():
            shown.add_row(
                f"{row['site']} ({row['site_role']})", row["method"], str(int(row["seeds"])),
                _number(row["value"]), _interval(row["low"], row["high"]),
                _number(row["difference"], signed=True),
                _interval(row["difference_low"], row["difference_high"]),
            )  # fmt: skip
        data.print(shown)


def _number(value: Any, *, signed: bool = False) -> str:
    return "–" if pd.isna(value) else f"{value:{'+' if signed else ''}.3f}"


def _interval(low: Any, high: Any) -> str:
    return "–" if pd.isna(low) or pd.isna(high) else f"{low:.3f} to {high:.3f}"
