"""Method `linear` of slides: one linear answer a class on mean tile features, fitted to sums.

The answers are ridge regression of the classes' indicators; one scale for all of them and a shift for
each class make logits of them, both fitted to the answers of patients that were left out. Our
construction. With ``linear.rich`` the logits are learnt in rounds on the same rows (`training.heads.rounds`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offsite.pathology.bags import BagLoader
from offsite.pathology.inference import predict_all
from offsite.pathology.linear_network import LinearSlides
from offsite.pathology.slides_of_run import SlidesOfRun
from offsite.training.fit.from_sums import ClosedFit, write_fit
from offsite.training.heads import ridge
from offsite.training.heads.logits import fit_logits
from offsite.training.heads.rounds import fit_rounds
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import RowSums, fit_targets


@dataclass(frozen=True, eq=False)
class LinearFit(ClosedFit):
    """The fit, and its network in evaluation mode."""

    network: LinearSlides


def fit_linear(
    slides: SlidesOfRun,
    settings: ridge.RidgeSettings,
    *,
    n_classes: int,
    seed: int,
    folder: Path,
    digest: str,
) -> LinearFit:
    """Read the bags, fit the head, and write ``weights.safetensors``, the sums and ``fit.json``.

    Parameters
    ----------
    seed : int
        Of the folds of training patients.
    folder, digest : Path, str
        The run's folder, and the digest of its inputs.

    Raises
    ------
    InputError
        Code ``too_few_patients``.
    """
    network = LinearSlides(slides.store.dimensions, n_classes).eval()
    train = slides.training_bags()
    # On the way of every answer, so that a slide's numbers are the same in training and after it.
    loader = BagLoader(slides.store, slides.subset(train))
    rows = np.stack([one.embedding for one in predict_all(network, loader)]).astype(np.float64)
    of_bag = slides.table.drop_duplicates("bag").set_index("bag").loc[train]
    patients, sites = (of_bag[name].to_numpy(str) for name in ("patient", "site"))
    labels = slides.bags.labels[train]
    if settings.rich is not None:
        val = slides.validation_bags()
        loader = BagLoader(slides.store, slides.subset(val))
        seen = [one.embedding for one in predict_all(network, loader)] if len(val) else []
        kept_back = np.reshape(seen, (len(val), rows.shape[1])), slides.bags.labels[val]
        rounds = fit_rounds(rows, labels, kept_back, settings.rich, n_classes=n_classes, seed=seed)
        network.set_head(rounds.slopes, rounds.starts)
        sums = SiteSums.of(rows, labels, sites, n_classes, settings.site_share)
        errors, facts = np.array(rounds.losses), dict[str, Any](rounds=settings.rich.rounds)
    else:
        head = linear_head(rows, labels, patients, sites, settings, n_classes=n_classes, seed=seed)
        network.set_head(head.slopes, head.starts)
        sums, errors = head.sums, head.errors
        facts = {
            "penalty": head.penalty,
            "errors_at_left_out_patients": [float(error) for error in errors],
        }
    result = write_fit(folder, digest, network.state_dict(), sums.arrays(), errors)
    return LinearFit(result, {**facts, "sites_of_sums": list(sums.sites)}, network)


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logits that are linear in the mean tile features, and what they were fitted to.

    Attributes
    ----------
    slopes, starts : numpy.ndarray
        D x C and C: the logits of a row x are ``x @ slopes + starts``.
    penalty : float
    errors : numpy.ndarray
        At patients that were left out, for each penalty.
    sums : SiteSums
    """

    slopes: np.ndarray
    starts: np.ndarray
    penalty: float
    errors: np.ndarray
    sums: SiteSums


def linear_head(
    rows: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    sites: np.ndarray,
    settings: ridge.RidgeSettings,
    *,
    n_classes: int,
    seed: int,
) -> LinearHead:
    """Fit the head to rows (N x D, float64) of classes, patients and sites (N each).

    Raises
    ------
    InputError
        Code ``too_few_patients``.

    Examples
    --------
    >>> rows, labels = np.array([[0.0], [0.1], [1.0], [1.1]]), np.array([0, 0, 1, 1])
    >>> settings = ridge.RidgeSettings(folds=2)
    >>> names, sites = np.array(["a", "b", "c", "d"]), np.array(["north"] * 4)
    >>> head = linear_head(rows, labels, names, sites, settings, n_classes=2, seed=0)
    >>> (rows @ head.slopes + head.starts).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    share = ridge.site_weights(sites, settings.site_share)
    folds = ridge.folds_of(patients, sites, settings.folds, seed)
    parts = [
        RowSums.of(rows[folds == fold], labels[folds == fold], share[folds == fold], n_classes)
        for fold in range(settings.folds)
    ]
    targets = np.eye(n_classes)
    left_out = ridge.left_out_answers(parts, folds, rows, targets, settings.penalties)
    errors = ((left_out - targets[labels]) ** 2).sum(axis=2) @ share
    strongest = ridge.strongest_within(errors, settings.slack)
    penalty = settings.penalties[strongest]
    sums = SiteSums.of(rows, labels, sites, n_classes, settings.site_share)
    ((slopes, starts),) = fit_targets(sums.weighted(), targets, [penalty])
    scale, shifts = fit_logits(left_out[strongest], labels, share)
    return LinearHead(slopes * scale, starts * scale + shifts, penalty, errors, sums)
