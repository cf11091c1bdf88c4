"""How far a run that was made again stands from the one that had seen the patient."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.predictions.table import PROBABILITY_PREFIX
from offsite.files import is_plain_file
from offsite.written import LIST, replacing_own, strike

_LEAST = 1e-12


@dataclass(frozen=True)
class Distance:
    """Between the answers of two runs to the same images.

    Attributes
    ----------
    images : int
        That both answered.
    kl : float
        Mean Kullback-Leibler divergence (nats, at least 0) from the answers made again to those of
        before: what was to be gained by who compared them.
    changed : int
        Images whose most probable class is another.
    """

    images: int
    kl: float
    changed: int


def distance_between(again: pd.DataFrame, before: pd.DataFrame) -> Distance | None:
    """Compare two tables of predictions on the images of both; None where there is none.

    Examples
    --------
    >>> one = pd.DataFrame({"image": ["a", "b"], "prob_x": [0.5, 0.9], "prob_y": [0.5, 0.1]})
    >>> other = pd.DataFrame({"image": ["b", "a"], "prob_x": [0.9, 0.25], "prob_y": [0.1, 0.75]})
    >>> found = distance_between(one, other)
    >>> found.images, round(found.kl, 4), found.changed
    (2, 0.0719, 1)
    """
    columns = [name for name in again if str(name).startswith(PROBABILITY_PREFIX)]
    both = again[["image", *columns]].merge(before[["image", *columns]], on="image")
    if both.empty:
        return None
    new, old = (
        both[[f"{name}_{side}" for name in columns]].to_numpy(np.float64).clip(_LEAST)
        for side in ("x", "y")
    )
    kl = (new * np.log(new / old)).sum(axis=1).mean()
    changed = int((new.argmax(axis=1) != old.argmax(axis=1)).sum())
    return Distance(images=len(both), kl=max(float(kl), 0.0), changed=changed)


def stash(predictions: Path, kept: Path, images: frozenset[str]) -> None:
    """Keep the answers of a run to all images but these, unless that was done before."""
    if is_plain_file(kept) or not is_plain_file(predictions):
        return
    table = pd.read_parquet(predictions)
    columns = [name for name in table if str(name).startswith(PROBABILITY_PREFIX)]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with replacing_own(kept) as temporary:
        table.loc[~table["image"].isin(images), ["image", *columns]].to_parquet(
            temporary, index=False
        )


def unstash(predictions: Path, kept: Path) -> Distance | None:
    """Compare a run's answers with those that were kept."""
    if not is_plain_file(kept):
        return None
    return distance_between(pd.read_parquet(predictions), pd.read_parquet(kept))


def drop_stash(folder: Path) -> None:
    """Remove what was kept, and its folder."""
    for file in sorted(folder.glob("*.parquet")):
        with contextlib.suppress(InputError):  # somebody else's stays
            strike(file)
    if (folder / LIST).is_file() and not (folder / LIST).stat().st_size:
        (folder / LIST).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
