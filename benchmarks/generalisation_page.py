"""What the pages on domain generalisation for slides share: methods, tables of them, what they show."""

import pandas as pd
from evidence import markdown, mean_and_spread, paired

PLAIN = "cross_entropy"
CONTROL, CELLS = f"{PLAIN}, batches by site", f"{PLAIN}, batches by site and class"
SAMPLERS = {
    CONTROL: {"by": "site", "exponent": 0.0},
    CELLS: {"by": "site_class", "exponent": 0.0},
}
"""Batches that hold as much of each site, or of each site and class, and nothing else."""
ADDED = ("coral", "group_dro", "irm", "vrex", "fishr", "mixstyle")
ALGORITHMS = tuple(f"{PLAIN}+{kind}" for kind in ADDED)


def alone(method: str) -> str:
    """Return the method with one ingredient less: the same batches, no algorithm."""
    return CONTROL if method in ALGORITHMS and method != f"{PLAIN}+mixstyle" else PLAIN


def comparison(
    table: pd.DataFrame, metrics: dict[str, str], others: dict[str, str], level: str = "##"
) -> list[str]:
    """Return the table of means, and one of paired differences from each of ``others``.

    Parameters
    ----------
    table : pandas.DataFrame
        ``method, seed`` and the metrics, a row per run.
    metrics, others : dict of str to str
        Columns, and methods, with the words that the page has for them.
    """
    shown = [name for name in (PLAIN, *SAMPLERS, *ALGORITHMS) if name in set(table["method"])]
    columns = {
        title: table.groupby("method")[metric].apply(mean_and_spread).reindex(shown)
        for metric, title in metrics.items()
    }
    means = markdown(pd.DataFrame(columns).rename_axis("method"))
    parts = [f"{level} Mean ± sd over seeds", means]
    for other, words in others.items():
        rows = {
            method: {
                title: paired(table, metric, method, other, ["seed"])
                for metric, title in metrics.items()
            }
            for method in shown if method != other and other in (PLAIN, CELLS, alone(method))
        }  # fmt: skip
        parts += [
            f"{level} Difference from {words} (95 % t interval over seeds)",
            markdown(pd.DataFrame(rows).T.rename_axis("method")),
        ]
    return parts


def verdict(table: pd.DataFrame, measures: dict[str, str]) -> str:
    """Say which algorithms help, harm, or do neither, against the same batches without them.

    Parameters
    ----------
    measures : dict of str to str
        Columns of the table, with the words that the page has for them.
    """
    told = [
        "Against the same batches without an algorithm (those of mixstyle are plain cross-entropy's)."
    ]
    for metric, words in measures.items():
        said: dict[str, list[str]] = {"helps": [], "harms": [], "neither": []}
        for method in ALGORITHMS:
            text = paired(table, metric, method, alone(method), ["seed"])
            if "(" not in text:  # too few seeds
                continue
            low, high = (float(end) for end in text[text.index("(") + 1 : -1].split(" to "))
            outcome = "helps" if low > 0 else "harms" if high < 0 else "neither"
            said[outcome].append(method.removeprefix(f"{PLAIN}+"))
        names = {outcome: ", ".join(methods) or "none" for outcome, methods in said.items()}
        told.append(
            f"By the {words}: shown to help {names['helps']}; shown to harm {names['harms']};"
            f" neither is shown of {names['neither']}."
        )
    told.append(
        "Each row is one comparison of several, and an interval that includes 0 is not a proof of no"
        " difference."
    )
    return " ".join(told)
