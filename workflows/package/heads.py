"""The rows behind a model's head as sums, and heads refitted for a site, as a package keeps them.

``trunk/`` holds sums of what the part that was not trained here sees: the statistics of a pretrained
trunk, or a slide's mean tile features. ``embedding/`` holds those of what the head reads, where that is
something else. Both are parted by site and class (`offsite.training.heads.site_sums`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offsite.evaluation.predictions.table import Predictions
from offsite.training.heads.cut_points import CutPoints
from offsite.training.heads.refit import GradedHead
from offsite.training.heads.site_sums import MOST_BYTES, SiteSums, bytes_of_second_moments
from offsite.training.heads.sums import RowSums
from offsite.training.run_folder import SUMS
from offsite.workflows.package.folder import Package

TRUNK, EMBEDDING = "trunk", "embedding"
_PENALTY = 1.0  # where training fitted no penalty of its own


@dataclass(frozen=True, eq=False)
class TrainingSums:
    """What a head can be fitted from again.

    Attributes
    ----------
    rows : RowSums
        Of the training rows, weighing what they weighed in the fit.
    penalty : float
    sites : SiteSums or None
        The same rows by site; None in packages that were made before these were kept.
    """

    rows: RowSums
    penalty: float
    sites: SiteSums | None = None


def sums_of_run(
    run: Path, predictions: Predictions, facts: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the arrays of the sums of a run's package, with their prefixes; none without embeddings.

    Of method `linear` they are the sums that its head was fitted to; of other methods those of the
    labelled training rows, each site weighing the square root of its rows.
    """
    if (run / SUMS).is_file():
        from safetensors.numpy import load_file

        kept = dict(load_file(run / SUMS))
        if "site_weights" in kept:
            kept["sites"] = np.array(facts["sites_of_sums"])
        kept["penalty"] = np.array(float(facts.get("penalty", _PENALTY)))
        if rounds := facts.get("rounds"):
            kept["rounds"] = np.array(int(rounds))
        return _under(TRUNK, kept)
    return {
        **_under(EMBEDDING, _arrays(predictions, predictions.embeddings)),
        **_under(TRUNK, _arrays(predictions, predictions.trunk)),
    }


def _arrays(predictions: Predictions, values: np.ndarray | None) -> dict[str, np.ndarray]:
    table = predictions.table
    trained = (table["split"] == "train") & (table["site_role"] == "training")
    rows = np.flatnonzero(trained.to_numpy() & (predictions.labels >= 0))
    if values is None or not len(rows) or not np.isfinite(values[rows]).all():
        return {}
    sites = table["site"].to_numpy(str)[rows]
    if bytes_of_second_moments(len(np.unique(sites)), values.shape[1]) > MOST_BYTES:
        return {}
    sums = SiteSums.of(values[rows], predictions.labels[rows], sites, len(predictions.classes))
    return {**sums.arrays(), "sites": np.array(sums.sites), "penalty": np.array(_PENALTY)}


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def training_sums(arrays: Mapping[str, np.ndarray]) -> TrainingSums | None:
    """Return what the arrays under one prefix hold, or None where a package has none."""
    if not arrays:
        return None
    penalty = float(arrays["penalty"])
    if "site_weights" not in arrays:  # of before sites were kept apart
        return TrainingSums(RowSums.from_arrays(arrays), penalty)
    sites = SiteSums.from_arrays(arrays, [str(name) for name in arrays["sites"]])
    return TrainingSums(sites.weighted(), penalty, sites)


def sums_of_head(package: Package) -> TrainingSums | None:
    """Return the sums of what the package's head reads, or None where it has none."""
    return training_sums(package.arrays(EMBEDDING) or package.arrays(TRUNK))


def arrays_of_head(head: GradedHead) -> dict[str, np.ndarray]:
    """Return a head as arrays, for ``head/<site>/``."""
    return {
        "slope": head.slope.astype(np.float64),
        "start": np.array(head.start),
        "cuts": np.array(head.cuts.cuts),
        "scale": np.array(head.cuts.scale),
    }


def head_of(arrays: Mapping[str, np.ndarray]) -> GradedHead | None:
    """Return the head that `arrays_of_head` gave, or None without one."""
    if not arrays:
        return None
    cuts = CutPoints(
        tuple(float(cut) for cut in arrays["cuts"]), float(arrays["scale"]), float("nan")
    )
    return GradedHead(np.asarray(arrays["slope"]), float(arrays["start"]), cuts)
