"""The table of out-of-distribution scores: what each detector notices at each site."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.metrics.separation import why_undefined
from offsite.evaluation.ood.by_fold import JoinedScores, joined_scores
from offsite.evaluation.ood.fitting import Fitted, fit_detectors, usable_embeddings, usable_logits
from offsite.evaluation.ood.metrics import Scored, false_positive_rates
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.predictions.roles import HELD_OUT, TRAINING
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.binomial import share_p_value
from offsite.evaluation.statistics.delong import placements
from offsite.evaluation.statistics.site import Site
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS

_FPR = ("fpr_ood_at_95_id_kept", "fpr_id_at_95_ood_caught")
_ROLE_OF = {"in_distribution": TRAINING, "covariate_shifted": HELD_OUT}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Rows of one site (or set), or of all, in one category."""

    category: str
    rows: Site
    sites: Sites


@dataclass(frozen=True, kw_only=True, eq=False)
class _Detected:
    """A detector with its scores of every group's rows, and what its threshold rests on there.

    ``references`` are the rows behind the threshold, and where they come from, for each group.
    """

    name: str
    threshold: float | None
    references: list[tuple[int, str]]
    reason: str
    groups: list[_Group]
    scores: list[np.ndarray]
    settings: OodSettings

    def record(self, group: _Group, metric: str, **values: Any) -> dict[str, Any]:
        return {
            "detector": self.name,
            "category": group.category,
            "site": group.rows.name,
            "site_role": _ROLE_OF.get(group.category, ""),
            "metric": metric,
            "n": len(group.rows),
            "n_patients": group.rows.n_patients,
            "threshold": self.threshold,
            "threshold_from": self.references[self.groups.index(group)][1],
            "reason": self.reason,
            **values,
        }


def ood_table(
    sites: Sites,
    settings: OodSettings,
    far: Predictions | None = None,
    near: Predictions | None = None,
    models: Mapping[int, Predictions] | None = None,
) -> pd.DataFrame:
    """A row per detector, category, site and metric.

    Parameters
    ----------
    sites : Sites
        Rows of all splits; detectors are fitted on training rows of training sites only.
    settings : OodSettings
        Detectors, threshold, and how many of the sites' draws are used.
    far, near : Predictions, optional
        The same model's predictions on images it was never meant for (far), or of another kind
        from the same modality (near); every row counts, a set per value of ``site``.
    models : mapping of int to Predictions, optional
        Of a cross-validation all rows of the model of each fold, 0 being the refit: each row is
        scored by the model that answered it (`offsite.evaluation.ood.by_fold`), and ``threshold``
        is 0, that of the unit in which the scores are told.

    Raises
    ------
    InputError
        ``far`` or ``near`` were predicted by a model of another shape.
    """
    for other in (far, near):
        _check_same_model(sites.predictions, other)
    groups = _groups(sites, far, near)
    records: list[dict[str, Any]] = []
    if models is None:
        every = (
            _of_one_model(fitted, groups, settings)
            for fitted in fit_detectors(sites.predictions, settings)
        )
    else:
        every = (
            _of_folds(joined, groups, settings)
            for joined in joined_scores(sites.predictions, models, settings)
        )
    for detected in every:
        records.extend(_rows_of(detected))
    return SCHEMAS["ood"].frame(records)


def _of_one_model(fitted: Fitted, groups: list[_Group], settings: OodSettings) -> _Detected:
    detector = fitted.detector
    return _Detected(
        name=fitted.name,
        threshold=None if detector is None else detector.threshold,
        references=[(0 if detector is None else detector.n, fitted.threshold_from)] * len(groups),
        reason=fitted.reason,
        groups=groups,
        scores=_scores(fitted, groups),
        settings=settings,
    )


def _of_folds(joined: JoinedScores, groups: list[_Group], settings: OodSettings) -> _Detected:
    known = joined.reason == "ok"
    return _Detected(
        name=joined.name,
        threshold=0.0 if known else None,
        references=[joined.reference(g.rows.index) if known else (0, "") for g in groups],
        reason=joined.reason,
        groups=groups,
        scores=[joined.scores[group.rows.index] for group in groups],
        settings=settings,
    )


def _check_same_model(predictions: Predictions, other: Predictions | None) -> None:
    if other is None:
        return
    mine, theirs = usable_embeddings(predictions).shape[1], usable_embeddings(other).shape[1]
    if predictions.classes != other.classes or mine != theirs:
        raise InputError(
            f"{len(other.classes)} classes and {theirs} features, not "
            f"{len(predictions.classes)} and {mine}",
            remedy="Predict near and far images by the same model",
        )


def _groups(sites: Sites, far: Predictions | None, near: Predictions | None) -> list[_Group]:
    """Each category pooled and by site; the pooled in-distribution test stands first."""
    sets = [(category, sites, role) for category, role in _ROLE_OF.items()]
    for category, rows in (("near", near), ("far", far)):
        if rows is not None:
            tested = replace(rows, table=rows.table.assign(split="test", site_role=HELD_OUT))
            sets.append((category, Sites.of(tested, sites.settings, draws=category), HELD_OUT))
    return [
        _Group(category=category, rows=rows, sites=among)
        for category, among, role in sets
        for members in [[rows for rows in among.every if rows.role == role]]
        for rows in [among.pool(role, members), *members]
    ]


def _scores(fitted: Fitted, groups: list[_Group]) -> list[np.ndarray]:
    """Scores of the rows of each group; those of all rows are the scores of their sites."""
    known: dict[int, np.ndarray] = {}
    for group in groups:
        rows, index = group.sites.predictions, group.rows.index
        scores = known.setdefault(id(group.sites), np.full(len(rows), np.nan))
        if fitted.detector is not None and len(group.rows.draws) == 1 and len(index):
            scores[index] = fitted.detector.score(
                usable_embeddings(rows)[index], usable_logits(rows, index)
            )
    return [known[id(group.sites)][group.rows.index] for group in groups]


def _rows_of(detected: _Detected) -> Iterator[dict[str, Any]]:
    rates = _rates(detected)
    for place, group in enumerate(detected.groups):
        if group.category != "in_distribution":
            yield from _separations(detected, place, rates.get(place))
        yield _flag_rate(detected, group, detected.scores[place])
    for group, scores in zip(detected.groups, detected.scores, strict=True):
        if group.category in _ROLE_OF:
            yield _error_detection(detected, group, scores)


def _why_not(detected: _Detected, group: _Group) -> str:
    fewest = min(len(group.rows), len(detected.groups[0].rows))
    if detected.reason != "ok" or fewest >= detected.settings.minimum_rows:
        return detected.reason
    return "no_samples" if fewest == 0 else "too_few"


def _rates(detected: _Detected) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Both false-positive rates of every group that has them, by its place."""
    draws = 1 + detected.settings.resamples
    places = [
        place
        for place, group in enumerate(detected.groups)
        if group.category != "in_distribution" and _why_not(detected, group) == "ok"
    ]
    if not places:
        return {}
    familiar, *others = (
        Scored.of(detected.scores[place], rows.units, rows.counts[:draws])
        for place in [0, *places]
        for rows in [detected.groups[place].rows]
    )
    return dict(zip(places, false_positive_rates(familiar, others), strict=True))


def _separations(
    detected: _Detected, place: int, rates: tuple[np.ndarray, np.ndarray] | None
) -> Iterator[dict[str, Any]]:
    group, familiar = detected.groups[place], detected.groups[0]
    counts = {"n_positive": len(group.rows), "n_reference": len(familiar.rows)}
    if rates is None:
        reason = _why_not(detected, group)
        for metric in ("auroc", *_FPR):
            yield detected.record(group, metric, **counts, reason=reason)
        return
    scores = np.concatenate([detected.scores[0], detected.scores[place]])
    units = np.concatenate([familiar.rows.units, group.rows.units + familiar.rows.n_units])
    foreign = np.arange(len(scores)) >= len(familiar.rows)
    area = group.sites.of_area(placements(scores, foreign, units))
    yield detected.record(group, "auroc", **counts, **area)
    fewest = min(group.rows.n_units, familiar.rows.n_units)
    for metric, draws in zip(_FPR, rates, strict=True):
        yield detected.record(group, metric, **counts, **group.sites.of_draws(draws, fewest))


def _flag_rate(detected: _Detected, group: _Group, scores: np.ndarray) -> dict[str, Any]:
    if detected.threshold is None or len(scores) == 0:
        reason = "no_samples" if detected.threshold is not None else detected.reason
        return detected.record(group, "flag_rate", reason=reason)
    flags = scores > detected.threshold
    behind = detected.references[detected.groups.index(group)][0]
    # One site may flag somewhat more by nature; twice the expected share is worth a word.
    most = 2 * (1 - detected.settings.kept)
    p_value = share_p_value(~flags, group.rows.units, 1 - most, like=behind)
    told = group.sites.of_share(flags, group.rows.units)
    told |= {"n_positive": int(flags.sum()), "p_value": p_value}
    return detected.record(group, "flag_rate", **told)


def _error_detection(detected: _Detected, group: _Group, scores: np.ndarray) -> dict[str, Any]:
    rows, known = group.rows, group.rows.labels >= 0
    wrong = rows.probabilities[known].argmax(axis=1) != rows.labels[known]
    values: dict[str, Any] = {
        "category": "error",
        "n": len(wrong),
        "n_positive": int(wrong.sum()),
        "n_patients": rows.patients_among(known),
        "reason": detected.reason,
    }
    if detected.threshold is not None:
        values["reason"] = _no_errors(len(known), wrong, detected.settings.minimum_rows)
    if values["reason"] == "ok":
        area = placements(scores[known], wrong, rows.units[known])
        values |= group.sites.of_area(area)
    return detected.record(group, "auroc", **values)


def _no_errors(rows: int, wrong: np.ndarray, minimum: int) -> str:
    if len(wrong) == 0:
        return "no_labels" if rows else "no_samples"
    undefined = why_undefined(wrong, 2)
    if undefined is not None:
        return undefined.value
    return "ok" if len(wrong) >= minimum else "too_few"
