"""The plan of a gate on a terminal: rules by candidates."""

import pandas as pd
from rich.markup import escape

from offsite.workflows.console.messages import data
from offsite.workflows.console.tables import plain_table


def show(rates: pd.DataFrame) -> None:
    """Print the share that passes each rule, by candidate, for each number of patients."""
    candidates = list(rates["candidate"].unique())
    for patients, part in rates.groupby("patients", sort=False):
        draws = int(part["draws"].iloc[0])
        widest = 100 * float((part["high"] - part["low"]).max()) / 2
        shown = plain_table(
            f"{patients} patients at each site: share of candidates that pass",
            caption=f"{draws:,} draws each: to within {widest:.1f} percentage points (95 %).",
        )
        shown.add_column("rule")
        for candidate in candidates:
            shown.add_column(candidate, justify="right")
        for rule in part["rule"].unique():
            row = part[part["rule"] == rule].set_index("candidate")["rate"]
            cells = [f"{100 * row[candidate]:.0f} %" for candidate in candidates]
            shown.add_row(escape(str(rule)), *cells)
        data.print(shown)
