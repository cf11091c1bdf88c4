"""Performance shift of a labelled site: discrimination, and what prior correction would do."""

from dataclasses import replace

import numpy as np

from offsite.evaluation.ood.metrics import separation
from offsite.evaluation.shift.label_shift import prior_corrected
from offsite.evaluation.shift.prevalence import model_prior, prior_problem, site_prior
from offsite.evaluation.shift.record import ShiftRow, blank, undefined
from offsite.evaluation.shift.settings import ShiftSettings
from offsite.evaluation.shift.sides import Comparison, Side
from offsite.evaluation.statistics.patient_weights import patient_weights

KIND = "performance"
_TINY = 1e-12


def auroc_change_row(pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    """The headline: macro AUROC of the site minus the reference's, over classes both have."""
    row = _labelled(blank(pair, KIND, "auroc_change"), pair)
    reason = _why_not(pair.local, settings)
    reason = _why_not(pair.reference, settings) if reason == "ok" else reason
    if reason != "ok":
        return undefined(row, reason)
    local, reference = (_class_aurocs(side, settings) for side in (pair.local, pair.reference))
    common = np.isfinite(local[:, 0]) & np.isfinite(reference[:, 0])
    if not common.any():
        return undefined(row, "single_class")
    change = local[common].mean(axis=0) - reference[common].mean(axis=0)
    return _with_interval(row, pair, change)


def detail_rows(pair: Comparison, settings: ShiftSettings) -> list[ShiftRow]:
    """AUROC, accuracy and log loss; the last two also with the prior corrected by EM."""
    names = ("auroc", "accuracy", "log_loss")
    corrected = ("accuracy_prior_corrected", "log_loss_prior_corrected")
    rows = {name: _labelled(blank(pair, KIND, name), pair) for name in (*names, *corrected)}
    for name in corrected:
        rows[name] = replace(rows[name], transductive=True)
    reason = _why_not(pair.local, settings)
    if reason != "ok":
        return [undefined(row, reason) for row in rows.values()]
    known = pair.local.labelled
    labels, weights = pair.local.rows.labels[known], _weights(pair.local, settings)
    result = [_auroc_row(rows["auroc"], pair, settings)]
    plain = _losses(pair.local.calibrated[known], labels)
    result += [_with_interval(rows[name], pair, weights @ plain[name]) for name in names[1:]]
    reason = prior_problem(pair, settings)
    if reason != "ok":
        return result + [undefined(rows[name], reason) for name in corrected]
    corrected_rows = prior_corrected(
        pair.local.calibrated[known], model_prior(pair), site_prior(pair)
    )
    better = _losses(corrected_rows, labels)
    pairs = zip(corrected, names[1:], strict=True)
    return result + [_with_interval(rows[name], pair, weights @ better[key]) for name, key in pairs]


def _labelled(row: ShiftRow, pair: Comparison) -> ShiftRow:
    known = pair.local.labelled
    return replace(
        row,
        n=int(known.sum()),
        n_patients=len(np.unique(pair.local.patients[known])),
        n_reference=int(pair.reference.labelled.sum()),
    )


def _why_not(side: Side, settings: ShiftSettings) -> str:
    known = int(side.labelled.sum())
    if len(side) == 0:
        return "no_samples"
    if known == 0:
        return "no_labels"
    return "ok" if known >= settings.minimum_rows else "too_few"


def _with_interval(row: ShiftRow, pair: Comparison, values: np.ndarray) -> ShiftRow:
    """From the estimate (first) and its bootstrap draws."""
    units = len(np.unique(pair.local.units[pair.local.labelled]))
    interval = pair.sites.interval(values[1:], units)
    if interval is None:
        return replace(row, value=float(values[0]), reason="interval_unstable")
    return replace(row, value=float(values[0]), low=interval[0], high=interval[1])


def _weights(side: Side, settings: ShiftSettings) -> np.ndarray:
    """Weights of labelled rows, summing to 1: as they are (first), then resampled by patient."""
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 7]))
    drawn = patient_weights(side.units[side.labelled], settings.resamples, generator)
    weights = np.vstack([np.ones((1, drawn.shape[1]), dtype=drawn.dtype), drawn])
    return weights / weights.sum(axis=1, keepdims=True, dtype=np.float64)


def _class_aurocs(side: Side, settings: ShiftSettings) -> np.ndarray:
    """One-vs-rest AUROC, classes x (1 + resamples), NaN where a class is absent.

    A binary task has one row, that of the second class.
    """
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 7]))
    known = side.labelled
    drawn = patient_weights(side.units[known], settings.resamples, generator)
    weights = np.vstack([np.ones((1, drawn.shape[1]), dtype=drawn.dtype), drawn])
    probabilities, labels = side.rows.probabilities[known], side.rows.labels[known]
    classes = range(probabilities.shape[1]) if probabilities.shape[1] > 2 else range(1, 2)
    return np.stack([separation(probabilities[:, c], labels == c, weights).auroc for c in classes])


def _auroc_row(row: ShiftRow, pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    values = _class_aurocs(pair.local, settings)
    defined = np.isfinite(values[:, 0])
    if not defined.any():
        return undefined(row, "single_class")
    return _with_interval(row, pair, values[defined].mean(axis=0))


def _losses(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    of_truth = probabilities[np.arange(len(labels)), labels]
    return {
        "accuracy": (probabilities.argmax(axis=1) == labels).astype(np.float64),
        "log_loss": -np.log(np.maximum(of_truth, _TINY)),
    }
