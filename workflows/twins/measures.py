"""The measures of one encoder on twins: features, sites and answers, as rows of a table."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from offsite.evaluation.shift.classifier_test import site_predictability
from offsite.evaluation.shift.robustness import robustness_index
from offsite.evaluation.shift.twins import (
    cosines,
    flips,
    mean_over_tissues,
    rank_retention,
    retrieved,
    standardised,
)
from offsite.evaluation.statistics.estimates import Estimate, Reason
from offsite.evaluation.statistics.resampling import patient_weights
from offsite.evaluation.tables.schemas import frame_of

POOLED = "_pooled"
NEIGHBOURS = 10
COLUMNS = {
    "encoder": "text",
    "measure": "text",
    "site": "text",
    "other_site": "text",
    "value": "number",
    "low": "number",
    "high": "number",
    "chance": "number",
    "p_value": "number",
    "n": "count",
    "n_tissues": "count",
    "reason": "text",
}


@dataclass(frozen=True, kw_only=True)
class TwinRow:
    """One measure of one encoder, for a pair of sites or pooled."""

    encoder: str
    measure: str
    site: str = POOLED
    other_site: str = POOLED
    value: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    p_value: float | None = None
    n: int = 0
    n_tissues: int = 0
    reason: str = Reason.OK.value


@dataclass(frozen=True)
class TwinFeatures:
    """Features of tiles of twins.

    Attributes
    ----------
    tiles : pandas.DataFrame
        M rows: ``tissue, site, slide, label`` ("" where unlabelled) and ``place``, equal for the
        same place of a tissue.
    features : numpy.ndarray
        M x D.
    """

    tiles: pd.DataFrame
    features: np.ndarray

    def pairs(self) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
        """Two sites and the rows of the tiles that both show, in the same order."""
        tiles = self.tiles[["tissue", "place", "site"]].assign(row=np.arange(len(self.tiles)))
        for site, other in combinations(sorted(tiles["site"].unique()), 2):
            first, second = tiles[tiles["site"] == site], tiles[tiles["site"] == other]
            both = first.merge(second, on=["tissue", "place"])
            if len(both):
                yield site, other, both["row_x"].to_numpy(), both["row_y"].to_numpy()


def twin_rows(
    encoder: str, twins: TwinFeatures, predicted: pd.DataFrame, *, seed: int = 0
) -> list[TwinRow]:
    """Return every measure of an encoder (docs/features.md, "Twins").

    Parameters
    ----------
    predicted : pandas.DataFrame
        Answers on whole slides, a row for each: ``model`` (a short word), ``fitted_at`` (site whose
        slides the model was fitted on, or "" for a model of another cohort), ``tissue, site, label,
        answer``.
    """
    rows = standardised(twins.features)
    return [
        *_of_features(encoder, twins, rows, seed),
        _site_row(encoder, twins, rows, seed),
        _robustness_row(encoder, twins, rows, seed),
        *_of_answers(encoder, predicted),
    ]


def frame(rows: list[TwinRow]) -> pd.DataFrame:
    """Rows as a table of ``COLUMNS``."""
    return frame_of((asdict(row) for row in rows), COLUMNS)


def _of_features(
    encoder: str, twins: TwinFeatures, rows: np.ndarray, seed: int
) -> Iterator[TwinRow]:
    names = twins.tiles["tissue"].to_numpy(str)
    pooled: dict[str, list[tuple[np.ndarray, np.ndarray, float | None]]] = {}
    for site, other, here, there in twins.pairs():
        first, second, tissues = rows[here], rows[there], names[here]
        both = np.concatenate([tissues, tissues])
        to, back = retrieved(first, second), retrieved(second, first)
        scored = {
            "cosine": (cosines(first, second), tissues, 0.0),
            "rank_retention": (
                *_with(tissues, rank_retention(first, second, tissues, NEIGHBOURS)),
            ),
            "retrieval": (np.concatenate([to[0], back[0]]), both, to[1]),
        }
        for measure, (scores, units, chance) in scored.items():
            pooled.setdefault(measure, []).append((scores, units, chance))
            estimate = mean_over_tissues(scores, units, seed=seed)
            yield _row(encoder, measure, estimate, chance, site, other)
    for measure, parts in pooled.items():
        scores, units = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        chances = [chance for _, _, chance in parts if chance is not None]
        chance = float(np.mean(chances)) if chances else None
        yield _row(encoder, measure, mean_over_tissues(scores, units, seed=seed), chance)


def _with(
    tissues: np.ndarray, score: tuple[np.ndarray, float | None]
) -> tuple[np.ndarray, np.ndarray, float | None]:
    return score[0], tissues, score[1]


def _site_row(encoder: str, twins: TwinFeatures, rows: np.ndarray, seed: int) -> TwinRow:
    """All twins of a tissue are in one fold: only the site can tell them apart."""
    sites, tissues = (twins.tiles[name].to_numpy(str) for name in ("site", "tissue"))
    test = site_predictability(rows, sites, tissues, permutations=199, seed=seed)
    base = TwinRow(
        encoder=encoder,
        measure="site_predictability",
        n=len(rows),
        n_tissues=len(np.unique(tissues)),
        reason=Reason.TOO_FEW.value,
    )
    if test is None:
        return base
    known = {"value": test.statistic, "p_value": test.p_value, "reason": Reason.OK.value}
    return TwinRow(**{**asdict(base), **known, "chance": 1 / len(np.unique(sites))})


def _robustness_row(encoder: str, twins: TwinFeatures, rows: np.ndarray, seed: int) -> TwinRow:
    """The index over mean features of slides; a tissue's twins are no neighbours of each other."""
    slides, means = slide_means(twins, rows)
    labelled = (slides["label"] != "").to_numpy()
    slides, means = slides[labelled], means[labelled]
    base = TwinRow(
        encoder=encoder,
        measure="robustness_index",
        n=len(slides),
        n_tissues=slides["tissue"].nunique(),
        reason=Reason.NO_LABELS.value,
    )
    index = robustness_index(
        means,
        pd.factorize(slides["label"])[0],
        slides["site"].to_numpy(str),
        slides["tissue"].to_numpy(str),
        weights=patient_weights(
            slides["tissue"].to_numpy(str), 500, np.random.default_rng(np.random.SeedSequence(seed))
        ),
        neighbours=(5, 10, 20),
    )
    if index is None:
        return base
    if index.low is None:
        known = {"value": index.value, "reason": Reason.INTERVAL_UNSTABLE.value}
    else:
        known = {
            "value": index.value,
            "low": index.low,
            "high": index.high,
            "reason": Reason.OK.value,
        }
    return TwinRow(**{**asdict(base), **known})


def slide_means(twins: TwinFeatures, rows: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a row per slide (``slide, tissue, site, label``) and the mean of its tiles' rows."""
    codes, names = pd.factorize(twins.tiles["slide"])
    totals = np.zeros((len(names), rows.shape[1]))
    np.add.at(totals, codes, rows)
    slides = twins.tiles.drop_duplicates("slide")[["slide", "tissue", "site", "label"]]
    counts = np.bincount(codes, minlength=len(names))
    return slides.reset_index(drop=True), totals / np.maximum(counts, 1)[:, None]


def _of_answers(encoder: str, predicted: pd.DataFrame) -> Iterator[TwinRow]:
    for model, answers in predicted.groupby("model", sort=False):
        pairs = _paired(answers)
        flipped = flips(pairs["answer"].to_numpy(str), pairs["answer_other"].to_numpy(str))
        tissues = pairs["tissue"].to_numpy(str)
        ordered = np.sort(pairs[["site", "site_other"]].to_numpy(str), axis=1)
        for site, other in np.unique(ordered, axis=0):
            part = (ordered == (site, other)).all(axis=1)
            estimate = mean_over_tissues(flipped[part], tissues[part])
            yield _row(encoder, f"{model}_flip_rate", estimate, None, str(site), str(other))
        yield _row(encoder, f"{model}_flip_rate", mean_over_tissues(flipped, tissues))
        labelled = answers[answers["label"] != ""]
        home = (labelled["site"] == labelled["fitted_at"]).to_numpy()
        right = (labelled["answer"] == labelled["label"]).to_numpy(bool)
        units = labelled["tissue"].to_numpy(str)
        away = "accuracy_other_site" if home.any() else "accuracy"
        for name, part in (("accuracy_same_site", home), (away, ~home)):
            if part.any():
                yield _row(encoder, f"{model}_{name}", mean_over_tissues(right[part], units[part]))


def _paired(answers: pd.DataFrame) -> pd.DataFrame:
    """Answers of one model on two twins: its own site beside each other, or any two sites."""
    columns = ["tissue", "fitted_at", "site", "answer"]
    both = answers[columns].merge(
        answers[columns], on=["tissue", "fitted_at"], suffixes=("", "_other")
    )
    other_site = (both["fitted_at"] == both["site"]) & (both["site"] != both["site_other"])
    foreign = (both["fitted_at"] == "") & (both["site"] < both["site_other"])
    return both[other_site | foreign]


def _row(
    encoder: str,
    measure: str,
    estimate: Estimate,
    chance: float | None = None,
    site: str = POOLED,
    other_site: str = POOLED,
) -> TwinRow:
    return TwinRow(
        encoder=encoder,
        measure=measure,
        site=site,
        other_site=other_site,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        chance=chance,
        n=estimate.n,
        n_tissues=estimate.n_patients or 0,
        reason=estimate.reason.value,
    )
