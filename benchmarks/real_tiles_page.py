"""What the bags of real colon tiles compare, and the tables that tell it."""

import pandas as pd
from colon_features import SITES
from evidence import markdown, mean_and_spread, paired

TEST_SEEDS = range(300, 310)
RATIOS = (10, 20)
FURTHER_RATIOS = (5, 1)
"""These the recipe that followed was tested at (`evidence_contrast_weight.py`)."""
FIRST = "sc_mil_logit_adjustment"
"""What is compared with all others: contrast beside logit adjustment, batches as they come."""
RIVALS = ("cross_entropy", "balanced_sampling", "ldam_drw", "logit_adjustment", "two_stage")
DEFAULT = "sc_mil"
ADJUSTED = "logit_adjustment_views"
CONTROLS = (ADJUSTED, DEFAULT, "balanced_views")
"""With an ingredient less or another: the same views without contrast; contrast on batches that draw
classes equally, in place of the adjustment; and those batches without contrast."""
METHODS = (FIRST, *RIVALS, *CONTROLS)
NAMES = {FIRST: "sc_mil", DEFAULT: "sc_mil_balanced"}
"""What the pages' methods are called today, where it is something else; their contrast hands over."""
METRICS = {"auroc": "AUROC", "macro_f1": "macro-F1"}


def comparison(table: pd.DataFrame) -> list[str]:
    """Return SC-MIL against the best rival, then each ratio's methods and paired differences."""
    ahead: dict[str, dict[str, dict[str, str]]] = {FIRST: {}, DEFAULT: {}, ADJUSTED: {}}
    parts = []
    for metric, title in METRICS.items():
        for ratio in RATIOS:
            part = whole_seeds(with_mean(table[table["ratio"] == ratio], metric))
            if part["seed"].nunique() < 3:
                continue  # nothing can be told of so few
            best = part.groupby("method")["mean"].mean().reindex(RIVALS).idxmax()
            for name, rows in ahead.items():
                rows[f"{title}, ratio {ratio}"] = {
                    "best rival": best, **against(part, metric, name, best),
                    "seeds": part["seed"].nunique(),
                }  # fmt: skip
            names = [f"{site}_{metric}" for site in SITES]
            shown = part.groupby("method")[names].agg(mean_and_spread).reindex(order_of(part))
            shown.columns = list(SITES)
            parts += [
                f"## {title}, ratio {ratio}: mean ± sd over seeds",
                markdown(shown.rename_axis("method")),
                "Paired differences (95 % t interval over seeds), mean of the sites:",
                markdown(pd.DataFrame(differences(part)).T.rename_axis("")),
            ]
    whitened = (table["directions"] > 0).mean()
    head = [
        *(text for name, rows in ahead.items() for text in (
            f"## {name} minus the best rival: 95 % t interval over seeds",
            markdown(pd.DataFrame(rows).T.rename_axis("")),
        )),
        "The best rival is the one with the highest mean of the three sites on these very seeds."
        f" {', '.join(CONTROLS)} have an ingredient less or another; they stand below. Whitened"
        f" inputs were chosen in {whitened:.0%} of the runs."
        f" CPU: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core.",
    ]  # fmt: skip
    return head + parts


def with_mean(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return rows with a metric's mean over the sites."""
    return part.assign(mean=part[[f"{site}_{metric}" for site in SITES]].mean(axis=1))


def order_of(part: pd.DataFrame) -> list[str]:
    """Return the methods of a table, SC-MIL first."""
    return [name for name in METHODS if name in set(part["method"])]


def whole_seeds(part: pd.DataFrame) -> pd.DataFrame:
    """Return the seeds that all methods have been run on."""
    counts = part.groupby("seed")["method"].transform("nunique")
    return part[counts == part["method"].nunique()]


def against(part: pd.DataFrame, metric: str, name: str, other: str) -> dict[str, str]:
    """Return the paired differences between two methods at each site and over the sites."""
    sites = {site: paired(part, f"{site}_{metric}", name, other, ["seed"]) for site in SITES}
    return {**sites, "mean of the sites": paired(part, "mean", name, other, ["seed"])}


def differences(part: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return a row for each method: what the first, the default and the adjusted one are ahead of it by."""
    return {
        other: {
            f"{name} minus it": "" if name == other else paired(part, "mean", name, other, ["seed"])
            for name in (FIRST, DEFAULT, ADJUSTED)
        }
        for other in order_of(part)
    }
