"""Method `linear`: a graded linear head on all stages of the frozen trunk, fitted to sums.

The head is ridge regression of the grade on the trunk's statistics of each training photograph and of
altered copies of it; `training.heads.sums` has the formula. Penalty and cut points are chosen on
training patients that were left out of the fit in turn, the cut points on the validation patients
too; a held-out site takes no part. Our construction; what it was tried against stands in
docs/evidence/real_photographs.md.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from offsite.errors import InputError
from offsite.files import write_text
from offsite.retina.inference import Graded
from offsite.retina.linear.features import TrunkFeatures
from offsite.retina.linear.settings import LinearSettings
from offsite.retina.networks.linear import LinearClassifier
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.training.fit.checkpoint import save_tensors
from offsite.training.fit.result import FitResult, record
from offsite.training.heads.ordinal import fit_cut_points
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import RowSums, fit_grades, together
from offsite.training.run_folder import SUMS
from offsite.training.trunk.network import folded_state
from offsite.training.trunk.settings import TrunkReadingSettings
from offsite.training.trunk.weights import content_digest, trunk_state


@dataclass(frozen=True, eq=False)
class LinearFit:
    """What the fit ended with.

    Attributes
    ----------
    network : LinearClassifier
        Trunk and head, in evaluation mode.
    features : numpy.ndarray
        N x D, float32: the embedding of every photograph of the run.
    sums : SiteSums
        Of the training rows and their copies, site by site, as the head was fitted to them.
    result : FitResult
        The weights' file.
    facts : dict
        Penalty, errors by penalty, kappa of the cut points: JSON-able.
    """

    network: LinearClassifier
    features: np.ndarray
    sums: SiteSums
    result: FitResult
    facts: dict[str, Any]

    @torch.inference_mode()
    def graded(self) -> Graded:
        """Return the answers to all photographs of the run, of what the trunk read before."""
        output = self.network.of_embedding(torch.from_numpy(self.features))
        return Graded(output.logits.numpy(), self.features)


def trunk_network(
    reading: TrunkReadingSettings, n_classes: int, weights: Path | None
) -> tuple[LinearClassifier, str]:
    """Return the network with the trunk's weights and an unfitted head, and the trunk's digest.

    Raises
    ------
    InputError
        See `offsite.training.trunk.weights.trunk_state`.
    """
    state = trunk_state(weights)
    network = LinearClassifier(reading, n_classes).eval()
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
    network, trunk_digest = trunk_network(reading, n_classes, weights)
    kept = TrunkFeatures(prepared, network, trunk_digest)
    everything = np.arange(len(photographs.table))
    train, val = photographs.rows("train"), photographs.rows("val")
    copies = [(int(row), copy) for copy in range(1, settings.copies + 1) for row in train]
    read = kept.rows(photographs, [*((int(row), 0) for row in everything), *copies], progress)
    features, altered = read[: len(everything)], read[len(everything) :]
    labels = photographs.labels
    share = site_weights(photographs.sites[train], settings.site_share)
    folds = _folds(photographs, train, settings.folds, seed)
    parts, of_sites = _sums(
        features[train], altered, labels[train], photographs.sites[train], share, folds, n_classes
    )
    whole = together(parts)
    left_out = np.empty((len(settings.penalties), len(train)))
    for fold, part in enumerate(parts):
        inside = np.flatnonzero(folds == fold)
        for index, (slope, start) in enumerate(fit_grades(whole - part, settings.penalties)):
            left_out[index, inside] = features[train[inside]] @ slope + start
    errors = ((left_out - labels[train]) ** 2) @ share
    strongest = int(np.flatnonzero(errors <= (1 + settings.slack) * errors.min())[-1])
    ((slope, start),) = fit_grades(whole, [settings.penalties[strongest]])
    network.set_head(torch.from_numpy(slope).float(), start)
    grades = np.concatenate([left_out[strongest], features[val] @ slope + start])
    both = np.concatenate([train, val])
    cuts = fit_cut_points(
        grades, labels[both], n_classes, site_weights(photographs.sites[both], settings.site_share)
    )
    network.classifier.set_cut_points(cuts)
    save_tensors(folder / "weights.safetensors", network.state_dict())
    site_names = [photographs.training_sites[number] for number in of_sites]
    row_weights = np.array([share[photographs.sites[train] == number][0] for number in of_sites])
    sums = SiteSums(tuple(site_names), tuple(of_sites.values()), row_weights)
    tensors = {name: torch.from_numpy(array) for name, array in sums.arrays().items()}
    save_tensors(folder / SUMS, tensors)
    lines = [json.dumps({"epoch": n, "scores": {"error": float(e)}}) for n, e in enumerate(errors)]
    write_text(folder / "curves.jsonl", "\n".join(lines) + "\n")  # a line for each penalty
    result = FitResult(folder / "weights.safetensors", None, None, 0, "fitted to sums")
    record(folder, digest, result)
    facts = {
        "penalty": settings.penalties[strongest],
        "errors_at_left_out_patients": [float(error) for error in errors],
        "kappa_of_cut_points": cuts.kappa,
        "trunk": trunk_digest,
        "sites_of_sums": site_names,
    }
    return LinearFit(network, features, sums, result, facts)


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


def _folds(photographs: RunPhotographs, train: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each training row: whole patients, the patients of each site spread evenly."""
    table = photographs.table.iloc[train]
    patients = table["site"].astype(str) + "\n" + table["patient"].astype(str)
    names = np.sort(patients.unique())
    if len(names) < folds:
        raise InputError(
            f"{len(names)} training patients cannot be parted into {folds} folds",
            remedy="Set linear.folds lower, or train on more patients", code="too_few_patients",
        )  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(names))
    sites = np.array([name.split("\n")[0] for name in names])
    fold_of_patient = np.empty(len(names), np.int64)
    fold_of_patient[order[np.argsort(sites[order], kind="stable")]] = np.arange(len(names)) % folds
    return np.asarray(fold_of_patient[np.searchsorted(names, patients)])
