"""What a package keeps of the evaluation: how the model does at each site, as it will be used."""

from pathlib import Path

import pandas as pd

from offsite.evaluation.metrics.thresholds import AT_THRESHOLD
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.tables.reading import Evaluated, read_evaluation
from offsite.evaluation.wording import level
from offsite.workflows.package.schema import SiteResult

# What the card says of the intervals.
_CONFIDENCE = 0.95
# Of the per-site report the package keeps what a reader asks at a site.
_METRICS = (
    "auroc",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "quadratic_weighted_kappa",
    "brier",
)


def site_results(folder: str | Path | None) -> tuple[tuple[SiteResult, ...], list[str]]:
    """Return the results at each site, and sentences on what they cannot say.

    Sensitivity, specificity and predictive values are those of the threshold that is chosen as the
    package chooses its own. Those of ``per_site.csv`` are of the threshold stated in the settings,
    by which the model never decides.

    Parameters
    ----------
    folder : path or None
        An evaluation folder.
    """
    if folder is None or not (Path(folder) / "per_site.csv").is_file():
        return (), ["Nothing was measured: no evaluation came with the run."]
    evaluated, limits = read_evaluation(folder), []
    wanted = evaluated.per_site["metric"].str.rsplit("/", n=1).str[-1].isin(_METRICS)
    rows = [evaluated.per_site[wanted], _at_threshold(evaluated)]
    if rows[1].empty:
        limits.append(
            "Sensitivity and specificity at the thresholds of this package were measured at no site:"
            " the evaluation carries no thresholds."
        )
    if evaluated.over_images:
        limits.append(
            "The intervals of the results are over images, as if each were of another patient: too"
            " narrow where patients have several."
        )
    if evaluated.confidence != _CONFIDENCE:
        limits.append(f"The intervals of the results are {level(evaluated.confidence)} intervals.")
    return tuple(result for part in rows for result in _results(part)), limits


def _at_threshold(evaluated: Evaluated) -> pd.DataFrame:
    table = evaluated.tables.get("operating_points")
    if table is None:
        return pd.DataFrame()
    carried = (table["rule"] == PACKAGED) & (table["site"] != "_chosen")
    rows = table[carried & table["metric"].isin(AT_THRESHOLD)]
    return rows.assign(split="test", metric=rows["task"] + "/" + rows["metric"])


def _results(table: pd.DataFrame) -> list[SiteResult]:
    fields = [name for name in SiteResult.model_fields if name in table.columns]
    return [
        SiteResult(**{str(k): v for k, v in row.items() if not pd.isna(v)})
        for row in table[fields].to_dict("records")
    ]
