"""The shift tables: three rows for each site, and every other statistic behind them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from offsite.evaluation.settings import ShiftSettings
from offsite.evaluation.shift import covariate, performance, prevalence
from offsite.evaluation.shift.classifier_test import site_predictability
from offsite.evaluation.shift.prevalence import Priors
from offsite.evaluation.shift.robustness import robustness_index
from offsite.evaluation.shift.sides import Cells, Material, Side, cells_of, comparisons
from offsite.evaluation.shift.two_sample import TwoSample
from offsite.evaluation.statistics.feature_stats import constant
from offsite.evaluation.statistics.site import POOLED
from offsite.evaluation.statistics.sites import ALL, Sites
from offsite.evaluation.tables.schemas import SCHEMAS


def shift_tables(sites: Sites, settings: ShiftSettings) -> dict[str, pd.DataFrame]:
    """Return ``shift``, three rows for each test site, and ``shift_details``, every statistic.

    Parameters
    ----------
    sites : Sites
        Rows of all splits; validation rows of training sites calibrate what EM needs, test rows
        are compared. A site with one class, a dozen patients or no labels has its rows, with a
        reason in place of what is undefined.
    settings : ShiftSettings
        Permutations, limits and seed.
    """
    material = Material(sites, settings)
    heads: list[Cells] = []
    details: list[Cells] = []
    for pair in comparisons(material):
        priors = Priors(pair)
        for head, others in (
            (covariate.mmd_row(pair), covariate.detail_rows(pair)),
            (prevalence.prior_row(pair, priors), prevalence.detail_rows(pair, priors)),
            (performance.auroc_change_row(pair), performance.detail_rows(pair, priors)),
        ):
            heads.append(head)
            details += [head, *others]
    details += _rows_of_all(Side(material=material, rows=sites.pool(ALL, sites.every)))
    tables = {"shift": heads, "shift_details": details}
    return {name: SCHEMAS[name].frame(rows) for name, rows in tables.items()}


def _rows_of_all(side: Side) -> Iterator[Cells]:
    """What the features of all sites together tell of class and site."""
    for statistic, usable, measure in (
        ("site_balanced_accuracy", np.ones(len(side), dtype=bool), _predictability),
        ("robustness_index", side.labelled, _robustness),
    ):
        rows = _even_sample(side, usable)
        found: Cells | TwoSample | str | None = _features_problem(side, rows)
        if found == "ok":
            found = measure(side, rows)
        patients = side.rows.patients_among(rows)
        place = {"site": POOLED, "site_role": "", "kind": "features", "statistic": statistic}
        yield (
            place
            | {"transductive": False, "n": len(rows), "n_patients": patients}
            | cells_of(found)
        )


def _names(side: Side) -> np.ndarray:
    return side.material.sites.names[side.rows.index]


def _even_sample(side: Side, usable: np.ndarray) -> np.ndarray:
    """Places of each site in equal number where it has them, twice ``max_rows`` in all."""
    sites, settings = _names(side), side.material.settings
    names = np.unique(sites[usable])
    share = max(1, 2 * settings.max_rows // max(len(names), 1))
    generator = np.random.default_rng([settings.seed, 8])
    sampled = []
    for name in names:
        of_site = np.flatnonzero(usable & (sites == name))
        sampled.append(generator.choice(of_site, size=min(share, len(of_site)), replace=False))
    return np.sort(np.concatenate(sampled)) if sampled else np.empty(0, dtype=np.int64)


def _features_problem(side: Side, rows: np.ndarray) -> str:
    embeddings = side.material.sites.predictions.embeddings
    if embeddings is None:
        return "no_embeddings"
    if len(rows) < side.material.settings.minimum_rows:
        return "too_few"
    return "constant_embeddings" if constant(embeddings, side.rows.index[rows]) else "ok"


def _predictability(side: Side, rows: np.ndarray) -> TwoSample | None:
    settings = side.material.settings
    return site_predictability(
        side.features(rows),
        _names(side)[rows],
        side.rows.patient_of_row[rows],
        permutations=min(settings.permutations, 200),
        folds=settings.folds,
        ridge=settings.ridge,
        seed=settings.seed,
    )


def _robustness(side: Side, rows: np.ndarray) -> Cells | str:
    settings = side.material.settings
    weights = side.rows.counts[1 : 1 + settings.resamples][:, side.rows.units[rows]]
    result = robustness_index(
        side.features(rows),
        side.rows.labels[rows],
        _names(side)[rows],
        side.rows.patient_of_row[rows],
        weights=weights.astype(np.float32),
        neighbours=settings.neighbours,
        confidence=side.material.sites.settings.confidence,
    )
    if result is None:
        return "single_class"
    return {"value": result.value, "low": result.low, "high": result.high}
