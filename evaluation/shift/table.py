"""The shift tables: three rows for each site, and every other statistic behind them."""

from dataclasses import replace

import numpy as np
import pandas as pd

from offsite.evaluation.shift import covariate, performance, prevalence
from offsite.evaluation.shift.classifier_test import site_predictability
from offsite.evaluation.shift.record import ShiftRow, frame, undefined, with_alarms
from offsite.evaluation.shift.robustness import robustness_index
from offsite.evaluation.shift.settings import ShiftSettings
from offsite.evaluation.shift.sides import Comparison, Side, comparisons, test_rows
from offsite.evaluation.statistics.feature_stats import constant
from offsite.evaluation.statistics.sites import POOLED, Sites


def shift_table(sites: Sites, settings: ShiftSettings) -> pd.DataFrame:
    """Three rows for each test site: covariate, prevalence, performance.

    Parameters
    ----------
    sites : Sites
        Rows of all splits; validation rows of training sites calibrate what EM needs, test rows
        are compared.
    settings : ShiftSettings
        Permutations, resamples, level and seed.

    Returns
    -------
    pandas.DataFrame
        Columns as in ``docs/evaluation/ood_and_shift.md``. A site with one class, a dozen
        patients or no labels has its rows, with a reason in place of what is undefined.
    """
    heads = _headlines(comparisons(sites), settings)
    return frame(row for head in heads for row in head)


def shift_details(sites: Sites, settings: ShiftSettings) -> pd.DataFrame:
    """Every statistic of every test site, and two of the features of all sites together."""
    return shift_tables(sites, settings)[1]


def shift_tables(sites: Sites, settings: ShiftSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``shift_table`` and ``shift_details`` in one pass, as fast as the second alone."""
    pairs = comparisons(sites)
    heads = _headlines(pairs, settings)
    rows: list[ShiftRow] = []
    for pair, (features, prior, change) in zip(pairs, heads, strict=True):
        rows += [features, *covariate.detail_rows(pair, settings)]
        rows += [prior, *prevalence.detail_rows(pair, settings)]
        rows += [change, *performance.detail_rows(pair, settings)]
    side, confidence = test_rows(sites), sites.settings.confidence
    rows += [_predictability_row(side, settings), _robustness_row(side, settings, confidence)]
    return frame(row for head in heads for row in head), frame(rows)


def _headlines(
    pairs: list[Comparison], settings: ShiftSettings
) -> list[tuple[ShiftRow, ShiftRow, ShiftRow]]:
    """(covariate, prevalence, performance) of each site, with alarms over all sites."""
    # The least p value must lie under the level shared by all sites, or none could be flagged.
    enough = int(np.ceil(len(pairs) / settings.level))
    settings = settings.model_copy(update={"permutations": max(settings.permutations, enough)})
    features = [covariate.mmd_row(pair, settings) for pair in pairs]
    priors = [prevalence.prior_row(pair, settings) for pair in pairs]
    changes = [_worse(performance.auroc_change_row(pair, settings)) for pair in pairs]
    tested = (with_alarms(rows, settings.level) for rows in (features, priors))
    return list(zip(*tested, changes, strict=True))


def _worse(row: ShiftRow) -> ShiftRow:
    return row if row.high is None else replace(row, flagged=row.high < 0)


def _pooled_row(statistic: str, side: Side, rows: np.ndarray) -> ShiftRow:
    return ShiftRow(
        site=POOLED,
        site_role="",
        kind="features",
        statistic=statistic,
        n=len(rows),
        n_patients=len(np.unique(side.patients[rows])),
    )


def _even_sample(side: Side, usable: np.ndarray, settings: ShiftSettings) -> np.ndarray:
    """Rows of each site in equal number where it has them, twice ``max_rows`` in all."""
    sites = side.rows.table["site"].to_numpy(str)
    names = np.unique(sites[usable])
    share = max(1, 2 * settings.max_rows // max(len(names), 1))
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 8]))
    sampled = []
    for name in names:
        of_site = np.flatnonzero(usable & (sites == name))
        sampled.append(generator.choice(of_site, size=min(share, len(of_site)), replace=False))
    return np.sort(np.concatenate(sampled)) if sampled else np.empty(0, dtype=np.int64)


def _features_problem(side: Side, rows: np.ndarray, settings: ShiftSettings) -> str:
    if side.rows.embeddings is None:
        return "no_embeddings"
    if len(rows) < settings.minimum_rows:
        return "too_few"
    return "constant_embeddings" if constant(side.rows.embeddings[rows]) else "ok"


def _predictability_row(side: Side, settings: ShiftSettings) -> ShiftRow:
    rows = _even_sample(side, np.ones(len(side), dtype=bool), settings)
    row = _pooled_row("site_balanced_accuracy", side, rows)
    reason = _features_problem(side, rows, settings)
    if reason != "ok":
        return undefined(row, reason)
    assert side.rows.embeddings is not None
    result = site_predictability(
        side.rows.embeddings[rows],
        side.rows.table["site"].to_numpy(str)[rows],
        side.patients[rows],
        permutations=min(settings.permutations, 200),
        folds=settings.folds,
        ridge=settings.ridge,
        seed=settings.seed,
    )
    if result is None:
        return undefined(row, "too_few")
    return replace(row, value=result.statistic, null_high=result.null_high, p_value=result.p_value)


def _robustness_row(side: Side, settings: ShiftSettings, confidence: float) -> ShiftRow:
    rows = _even_sample(side, side.labelled, settings)
    row = _pooled_row("robustness_index", side, rows)
    reason = _features_problem(side, rows, settings)
    if reason != "ok":
        return undefined(row, reason)
    assert side.rows.embeddings is not None
    result = robustness_index(
        side.rows.embeddings[rows],
        side.rows.labels[rows],
        side.rows.table["site"].to_numpy(str)[rows],
        side.patients[rows],
        neighbours=settings.neighbours,
        resamples=settings.resamples,
        confidence=confidence,
        seed=settings.seed,
    )
    if result is None:
        return undefined(row, "single_class")
    return replace(row, value=result.value, low=result.low, high=result.high)
