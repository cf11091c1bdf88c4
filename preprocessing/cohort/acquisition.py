"""What gives a site away before a pixel is looked at: size, shape, format and compression."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.preprocessing.formats.kinds import dicom_size, kind_of

FEATURES = {
    "size": ("width", "height"),
    "aspect": ("aspect",),
    "format": ("format",),
    "compression": ("bits_per_px",),
}


@dataclass(frozen=True)
class FileFacts:
    """Of one picture file: width and height (px), format name, size (bytes)."""

    width: int
    height: int
    format: str
    bytes: int


def file_facts(path: Path) -> FileFacts | None:
    """Return the facts of a file from its header, or None where it is no picture."""
    from PIL import Image

    try:
        if kind_of(path) == "dicom":
            size = dicom_size(path)
            return None if size is None else FileFacts(*size, "DICOM", path.stat().st_size)
        with Image.open(path) as header:
            return FileFacts(*header.size, header.format or "", path.stat().st_size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def giveaways(facts: list[FileFacts | None], sites: pd.Series) -> pd.DataFrame:
    """Say how well each property of the files alone names the site.

    Parameters
    ----------
    facts : list
        One for each row; None rows are left out.
    sites : pandas.Series
        Site of each row.

    Returns
    -------
    pandas.DataFrame
        ``feature``, ``balanced_accuracy`` (a shallow tree, five-fold cross-validated; mean over
        sites of the share recognised), ``chance`` (one over the number of sites), ``n``.
    """
    there = [number for number, fact in enumerate(facts) if fact is not None]
    table = pd.DataFrame([vars(facts[number]) for number in there])
    names = sites.to_numpy()[there] if there else np.array([])
    chance = 1 / max(len(np.unique(names)), 1)
    if len(table):
        table["aspect"] = table["width"] / table["height"]
        table["bits_per_px"] = table["bytes"] * 8 / (table["width"] * table["height"])
        table["format"] = table["format"].astype("category").cat.codes
    rows = [
        {
            "feature": feature,
            "balanced_accuracy": _recognised(table[list(columns)].to_numpy(float), names),
            "chance": chance,
            "n": len(table),
        }
        for feature, columns in FEATURES.items()
        if len(np.unique(names)) > 1
    ]
    return pd.DataFrame(rows, columns=["feature", "balanced_accuracy", "chance", "n"])


def _recognised(values: np.ndarray, sites: np.ndarray) -> float:
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    _, counts = np.unique(sites, return_counts=True)
    folds = min(5, int(counts.min()))
    tree = DecisionTreeClassifier(max_depth=4, class_weight="balanced", random_state=0)
    if folds < 2:  # a site with one picture cannot be left out and learnt
        return float(balanced_accuracy_score(sites, tree.fit(values, sites).predict(values)))
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    return float(balanced_accuracy_score(sites, cross_val_predict(tree, values, sites, cv=split)))
