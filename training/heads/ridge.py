"""How strongly a head fitted to sums is held back: judged at patients that were left out in turn."""

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from offsite.errors import InputError
from offsite.settings import Settings
from offsite.training.heads.rounds_settings import RichSettings
from offsite.training.heads.sums import RowSums, fit_targets, together


class RidgeSettings(Settings):
    """How a linear head is fitted to sums."""

    site_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Exponent by which sites of many images weigh less: 0 each image alike, 1 each"
        " site alike",
    )
    penalties: tuple[float, ...] = Field(
        default=(0.1, 0.3, 1.0, 3.0),
        min_length=1,
        description="Penalties that are tried, from weak to strong",
    )
    slack: float = Field(
        default=0.03,
        ge=0,
        lt=1,
        description="The strongest penalty is taken whose error at left-out training patients is"
        " at most this share above the lowest",
    )
    folds: int = Field(
        default=4, ge=2, le=20, description="Parts of the training patients for that"
    )
    rich: RichSettings | None = Field(
        default=None,
        description="A head learnt in rounds in the place of one fitted to sums; no hospital can join"
        " it by sums. docs/evidence/mixing.md has what it is worth",
    )

    @model_validator(mode="after")
    def _from_weak_to_strong(self) -> Self:
        if min(self.penalties) <= 0 or sorted(set(self.penalties)) != list(self.penalties):
            raise ValueError("penalties are above 0 and rise")
        return self


def site_weights(sites: np.ndarray, exponent: float) -> np.ndarray:
    """Return the weight of each row, n^-exponent with n rows of its site, summing to 1.

    Examples
    --------
    >>> site_weights(np.array([0, 1, 1, 1, 1]), 1.0).tolist()
    [0.5, 0.125, 0.125, 0.125, 0.125]
    """
    _, site_of_row, counts = np.unique(sites, return_inverse=True, return_counts=True)
    weights = counts[site_of_row].astype(np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


def folds_of(patients: Iterable[str], sites: Iterable[str], folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row: whole patients, the patients of each site spread evenly.

    Raises
    ------
    InputError
        Code ``too_few_patients``.
    """
    keys = np.array([f"{site}\n{patient}" for site, patient in zip(sites, patients, strict=True)])
    names = np.unique(keys)
    if len(names) < folds:
        raise InputError(
            f"{len(names)} training patients cannot be parted into {folds} folds",
            remedy="Set linear.folds lower, or train on more patients", code="too_few_patients",
        )  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(names))
    site_of_name = np.array([name.split("\n")[0] for name in names])
    fold_of_patient = np.empty(len(names), np.int64)
    fold_of_patient[order[np.argsort(site_of_name[order], kind="stable")]] = (
        np.arange(len(names)) % folds
    )
    return np.asarray(fold_of_patient[np.searchsorted(names, keys)])


def left_out_answers(
    by_fold: Sequence[RowSums],
    folds: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    penalties: Sequence[float],
) -> np.ndarray:
    """Return P x N x T: for each penalty, each row's answers by the head fitted without its fold.

    Parameters
    ----------
    by_fold : sequence of RowSums
        Of the rows of each fold, in order of the folds.
    folds : numpy.ndarray
        N, the fold of each row.
    rows : numpy.ndarray
        N x D.
    targets : numpy.ndarray
        C x T, see `offsite.training.heads.sums.fit_targets`.
    """
    whole = together(by_fold)
    answers = np.empty((len(penalties), len(rows), targets.shape[1]))
    for fold, part in enumerate(by_fold):
        inside = np.flatnonzero(folds == fold)
        for index, (slope, start) in enumerate(fit_targets(whole - part, targets, penalties)):
            answers[index, inside] = rows[inside] @ slope + start
    return answers


def strongest_within(errors: np.ndarray, slack: float) -> int:
    """Return the last index whose error is at most ``slack`` (a share) above the lowest.

    Examples
    --------
    >>> strongest_within(np.array([1.0, 0.98, 1.0, 1.2]), 0.03)
    2
    """
    return int(np.flatnonzero(errors <= (1 + slack) * errors.min())[-1])
