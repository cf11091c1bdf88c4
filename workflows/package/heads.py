"""The rows behind a model's head as sums, and heads refitted for a site, as a package keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offsite.evaluation.predictions.table import Predictions
from offsite.training.heads.ordinal import CutPoints
from offsite.training.heads.refit import GradedHead
from offsite.training.heads.sums import RowSums
from offsite.training.run_folder import SUMS

TRUNK = "trunk"
WIDEST = 4096
"""Numbers of an embedding beyond which second moments are not kept: they grow with the square."""
_PENALTY = 1.0  # where training fitted no penalty of its own


@dataclass(frozen=True, eq=False)
class TrainingSums:
    """What a head can be fitted from again: sums of training rows, and the penalty."""

    rows: RowSums
    penalty: float


def sums_of_run(
    run: Path, predictions: Predictions, facts: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the arrays under ``trunk/`` of a run's package; none without embeddings.

    Of method `linear` they are the sums that its head was fitted to; of other methods those of the
    embeddings of the labelled training rows, each site weighing n^1/2.
    """
    if (run / SUMS).is_file():
        from safetensors.numpy import load_file

        kept = dict(load_file(run / SUMS))
        return {**kept, "penalty": np.array(float(facts.get("penalty", _PENALTY)))}
    table, embeddings = predictions.table, predictions.embeddings
    if embeddings is None or embeddings.shape[1] > WIDEST:
        return {}
    trained = (table["split"] == "train") & (table["site_role"] == "training")
    rows = np.flatnonzero(trained.to_numpy() & (predictions.labels >= 0))
    if not len(rows) or not np.isfinite(embeddings[rows]).all():
        return {}
    counts = table["site"].iloc[rows].map(table["site"].iloc[rows].value_counts()).to_numpy()
    weights = counts.astype(np.float64) ** -0.5
    sums = RowSums.of(
        embeddings[rows],
        predictions.labels[rows],
        weights / weights.sum(),
        len(predictions.classes),
    )
    return {**sums.arrays(), "penalty": np.array(_PENALTY)}


def training_sums(arrays: Mapping[str, np.ndarray]) -> TrainingSums | None:
    """Return what `sums_of_run` gave, or None where a package has none."""
    if not arrays:
        return None
    return TrainingSums(RowSums.from_arrays(arrays), float(arrays["penalty"]))


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
