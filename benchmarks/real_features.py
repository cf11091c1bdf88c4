"""The trunk's features of real photographs, read once, for trials of heads and of adaptation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from evidence_retina import SITES, build_cohort
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from offsite.evaluation.metrics.calibration_error import equal_mass_bins, expected_error
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.retina.linear.features import TrunkFeatures
from offsite.retina.linear.fitting import trunk_network
from offsite.retina.photographs.of_run import RunPhotographs, select_photographs
from offsite.training.trunk.settings import TrunkReadingSettings

REFERABLE = 2
SHORT = {"dr_aptos_filtered": "APTOS", "dr_idrid": "IDRiD", "dr_messidor2": "Messidor-2"}


@dataclass(frozen=True, eq=False)
class Features:
    """Every prepared photograph of the cohort: what the trunk reads of it, and whose it is."""

    photographs: RunPhotographs
    rows: np.ndarray
    labels: np.ndarray
    sites: np.ndarray
    patients: np.ndarray


def prepared_cohort(data: Path, out: Path, px: int) -> tuple[Cohort, Path]:
    """Return the audited cohort and the folder of its photographs, prepared alike."""
    out.mkdir(parents=True, exist_ok=True)
    cohort, prepared = build_cohort(data, SITES, 10**9, out), out / f"prepared-{px}"
    settings = FundusSettings(px=px, enhancement="matched", already_cropped=True)
    prepare_cohort(cohort, prepared, settings, workers=1)
    return cohort, prepared


def features_of(cohort: Cohort, prepared: Path) -> Features:
    """Return the features of all stages, from the file beside the photographs where they are kept."""
    photographs = select_photographs(split_cohort(cohort, SplitSettings()), prepared, 2.0)
    network, digest = trunk_network(TrunkReadingSettings(), len(cohort.classes), None)
    kept = TrunkFeatures(prepared, network.reader, digest)
    table = photographs.table
    rows = kept.rows(photographs, [(row, 0) for row in range(len(table))])
    site, patient = (table[name].to_numpy(str) for name in ("site", "patient"))
    return Features(photographs, rows, photographs.labels, site, patient)


def judged(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return referable AUROC, quadratic kappa, ECE of referable, log loss, and the share called so."""
    wide = logits - logits.max(axis=1, keepdims=True)
    shares = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    referable, truth = shares[:, REFERABLE:].sum(axis=1), labels >= REFERABLE
    bins = equal_mass_bins(referable, truth, 15)
    called = logits.argmax(axis=1)
    return {
        "auroc": float(roc_auc_score(truth, referable)),
        "kappa": float(cohen_kappa_score(labels, called, weights="quadratic", labels=range(5))),
        "ece": float(expected_error(bins, bins.observed)),
        "log_loss": float(-np.log(shares[np.arange(len(labels)), labels] + 1e-12).mean()),
        "called": float((called >= REFERABLE).mean()),
    }


def parted(patients: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which rows belong to a random share of the patients (N booleans)."""
    names = np.random.default_rng(seed).permutation(np.unique(patients))
    return np.isin(patients, names[: round(share * len(names))])
