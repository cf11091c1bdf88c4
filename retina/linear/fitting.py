"""Method `linear`: a graded linear head on all stages of the frozen trunk, fitted to sums.

The head is ridge regression of the grade on the trunk's statistics of each training photograph and of
altered copies of it; `training.heads.sums` has the formula. Penalty and cut points are chosen on
training patients that were left out of the fit in turn, the cut points on the validation patients
too; a held-out site takes no part. Our construction; what it was tried against stands in
docs/evidence/real_photographs.md. With ``linear.rich`` a head of a logit for each class is learnt in rounds
on the same rows instead (`training.heads.rounds`), the validation patients stopping each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from offsite.retina.inference import Graded
from offsite.retina.linear.features import TrunkFeatures
from offsite.retina.linear.settings import LinearSettings
from offsite.retina.networks.linear import Head, LinearClassifier
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.training.fit.from_sums import ClosedFit, write_fit
from offsite.training.heads import ridge
from offsite.training.heads.cut_points import fit_cut_points
from offsite.training.heads.rounds import fit_rounds
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import RowSums, fit_grades, together
from offsite.training.trunk.network import folded_state
from offsite.training.trunk.settings import TrunkReadingSettings
from offsite.training.trunk.weights import content_digest, trunk_state


@dataclass(frozen=True, eq=False)
class LinearFit(ClosedFit):
    """The fit, and what the run reads of it further.

    Attributes
    ----------
    network : LinearClassifier
        Trunk and head, in evaluation mode.
    features : numpy.ndarray
        N x D, float32: the embedding of every photograph of the run.
    sums : SiteSums
        Of the training rows and their copies, site by site, as the head was fitted to them.
    """

    network: LinearClassifier
    features: np.ndarray
    sums: SiteSums

    @torch.inference_mode()
    def graded(self) -> Graded:
        """Return the answers to all photographs of the run, of what the trunk read before."""
        output = self.network.of_embedding(torch.from_numpy(self.features))
        return Graded(output.logits.numpy(), self.features)


def trunk_network(
    reading: TrunkReadingSettings, n_classes: int, weights: Path | None, head: Head = "grade"
) -> tuple[LinearClassifier, str]:
    """Return the network with the trunk's weights and an unfitted head, and the trunk's digest.

    Raises
    ------
    InputError
        See `offsite.training.trunk.weights.trunk_state`.
    """
    state = trunk_state(weights)
    network = LinearClassifier(reading, n_classes, head).eval()
    network.reader.net.load_state_dict(folded_state(state))
    return network, content_digest(state)


def fit_linear(
    photographs: RunPhotographs,
    prepared: str | Path,
    reading: TrunkReadingSettings,
    settings: LinearSettings,
    *,
    n_classes: int,
    seed: int,
    weights: Path | None,
    folder: Path,
    digest: str,
    progress: Callable[[int, int], None] | None = None,
) -> LinearFit:
    """Read the photographs, fit the head, and write ``weights.safetensors`` and ``fit.json``.

    Parameters
    ----------
    photographs : RunPhotographs
        Of the run.
    prepared : path
        Their folder, which keeps what the trunk read of them.
    seed : int
        Of the folds of training patients.
    weights : Path, optional
        Other weights of the trunk.
    folder, digest : Path, str
        The run's folder, and the digest of its inputs.
    progress : callable, optional
        Called with (read, to read) while the trunk reads.

    Raises
    ------
    InputError
        Code ``too_few_patients``, or see `offsite.training.trunk.weights.trunk_state`.
    """
    head: Head = "grade" if settings.rich is None else "classes"
    network, trunk_digest = trunk_network(reading, n_classes, weights, head)
    kept = TrunkFeatures(prepared, network.reader, trunk_digest)
    everything = np.arange(len(photographs.table))
    train, val = photographs.rows("train"), photographs.rows("val")
    copies = [(int(row), copy) for copy in range(1, settings.copies + 1) for row in train]
    read = kept.rows(photographs, [*((int(row), 0) for row in everything), *copies], progress)
    features, altered = read[: len(everything)], read[len(everything) :]
    labels = photographs.labels
    share = ridge.site_weights(photographs.sites[train], settings.site_share)
    of_run = photographs.table.iloc[train]
    folds = ridge.folds_of(of_run["patient"], of_run["site"], settings.folds, seed)
    parts, of_sites = _sums(
        features[train], altered, labels[train], photographs.sites[train], share, folds, n_classes
    )
    if settings.rich is None:
        errors, told = _set_grade(network, photographs, parts, folds, features, settings, n_classes)
    else:
        rounds = fit_rounds(
            np.concatenate([features[train], altered]),
            np.tile(labels[train], 1 + settings.copies),
            (features[val], labels[val]),
            settings.rich,
            n_classes=n_classes,
            seed=seed,
        )
        network.set_classes(torch.from_numpy(rounds.slopes), torch.from_numpy(rounds.starts))
        errors, told = np.array(rounds.losses), {"rounds": settings.rich.rounds}
    site_names = [photographs.training_sites[number] for number in of_sites]
    row_weights = np.array([share[photographs.sites[train] == number][0] for number in of_sites])
    sums = SiteSums(tuple(site_names), tuple(of_sites.values()), row_weights)
    kept_sums = {**sums.arrays(), "copies": np.array([settings.copies])}
    result = write_fit(folder, digest, network.state_dict(), kept_sums, errors)
    facts = {
        **told,
        "trunk": trunk_digest,
        "sites_of_sums": site_names,
    }
    return LinearFit(result, facts, network, features, sums)


def _set_grade(
    network: LinearClassifier,
    photographs: RunPhotographs,
    parts: list[RowSums],
    folds: np.ndarray,
    features: np.ndarray,
    settings: LinearSettings,
    n_classes: int,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Fit the grade and its cut points; the errors for each penalty, and what the run tells."""
    train, val = photographs.rows("train"), photographs.rows("val")
    labels, sites = photographs.labels, photographs.sites
    numbers = np.arange(n_classes, dtype=np.float64)[:, None]
    left_out = ridge.left_out_answers(parts, folds, features[train], numbers, settings.penalties)[
        ..., 0
    ]
    errors = ((left_out - labels[train]) ** 2) @ ridge.site_weights(
        sites[train], settings.site_share
    )
    strongest = ridge.strongest_within(errors, settings.slack)
    penalty = settings.penalties[strongest]
    ((slope, start),) = fit_grades(together(parts), [penalty])
    grades = np.concatenate([left_out[strongest], features[val] @ slope + start])
    both = np.concatenate([train, val])
    shares = ridge.site_weights(sites[both], settings.site_share)
    cuts = fit_cut_points(grades, labels[both], n_classes, shares)
    network.set_head(torch.from_numpy(slope).float(), start, cuts)
    return errors, {
        "penalty": penalty,
        "errors_at_left_out_patients": [float(error) for error in errors],
        "kappa_of_cut_points": cuts.kappa,
    }


def _sums(
    rows: np.ndarray,
    altered: np.ndarray,
    labels: np.ndarray,
    sites: np.ndarray,
    share: np.ndarray,
    folds: np.ndarray,
    n_classes: int,
) -> tuple[list[RowSums], dict[int, RowSums]]:
    """The sums of each fold with the rows' shares, and of each site with a photograph counting one.

    ``altered`` holds the rows of the first copies, then of the second, ...; a photograph's weight is
    parted among itself and its copies.
    """
    read = np.concatenate([rows[None], altered.reshape(-1, *rows.shape)])
    by_fold, by_site = [], dict[int, RowSums]()
    for fold in np.unique(folds):
        of_fold = []
        for site in np.unique(sites):
            inside = np.flatnonzero((folds == fold) & (sites == site))
            if not len(inside):
                continue
            part = RowSums.of(
                read[:, inside].reshape(-1, rows.shape[1]),
                np.tile(labels[inside], len(read)),
                np.full(len(read) * len(inside), 1 / len(read)),
                n_classes,
            )
            of_fold.append(part.scaled(float(share[inside[0]])))
            by_site[int(site)] = by_site[int(site)] + part if int(site) in by_site else part
        by_fold.append(together(of_fold))
    return by_fold, by_site
