"""What a reader must know of a model whose results come from the folds of a cross-validation."""

from collections.abc import Mapping
from typing import Any

from offsite.evaluation.report.settings import Part

OF_ONE_MODEL: tuple[Part, ...] = ("embeddings", "shift")
"""Parts of a report that compare rows of one model with one another: folds are of several."""

_KNOWN = (
    "Whether an image is unlike the training images is told by the model that answered it, against that"
    " model's own training and validation images; to rank images of several models, scores are told in"
    " units of threshold less median."
)
_UNKNOWN = (
    "Whether images are unlike the training images is not in this report: the folds' runs, which it"
    " takes, are not there any more, or were trained anew since."
)


def fold_limits(folds: Mapping[str, Any], *, foreign: bool | None) -> tuple[str, ...]:
    """Return what a report of joined folds says of itself, a sentence each.

    Parameters
    ----------
    folds : mapping
        ``folds`` of the facts of the refit's ``run.json``.
    foreign : bool or None
        Whether images are told from foreign ones, which needs the runs of the folds; None where
        that is not asked for.
    """
    several = folds["repeats"] > 1
    return (
        f"Cross-validation in {folds['of']} folds: each patient of a training site was answered once, by"
        " the model of the fold that had not seen the patient; patients of held-out sites by the model"
        " that ships. Intervals are over patients, of the models of the folds. The model that ships is"
        " another: of it such intervals held the truth in 86 to 95 of 100 simulated cohorts of 60 and 150"
        " patients; those of `offsite compare`, which are wider, in 91 to 99.",
        "Where sites are pooled or a site's patients are ranked, answers of several models are ranked"
        " together: a ranking (AUROC) can come out a little lower than that of one model.",
        "What ships (thresholds, calibration, prediction sets) is fitted on the patients of all folds;"
        " those of one fold are judged by what the other folds alone would have given. Where this page"
        " speaks of validation images, these are meant.",
        *([] if foreign is None else [_KNOWN if foreign else _UNKNOWN]),
        "Shift between sites and pictures of embeddings are not joined: both compare embeddings with one"
        " another, and those of two models have no common axes. `offsite evaluate` of a fold's run shows"
        " them for that model. Sets weighted by likeness to a site are not joined for the same reason.",
        *(
            [
                f"It shows the first of {folds['repeats']} divisions into folds; `offsite compare` has"
                " their mean."
            ]
            if several
            else []
        ),
    )


def refit_limits(folds: Mapping[str, Any]) -> list[str]:
    """Return what the card says of a refit, a sentence each."""
    models = int(folds["of"]) * int(folds["repeats"])
    how_long = ""
    if folds["epochs"] is not None:
        least, most = min(folds["selected"]), max(folds["selected"])
        how_long = (
            f" for {folds['epochs']} epochs, the median of what {models} folds selected ({least} to"
            f" {most})"
        )
    return [
        f"It was trained on all patients of the training sites{how_long}. The results at these sites are"
        f" those of the {folds['of']} models of a cross-validation, each at patients whom it had not"
        " seen; those at held-out sites are its own.",
        "Its thresholds, temperature and prediction sets were fitted to the answers of the folds, whose"
        " models are others, trained on fewer patients: their promises hold as far as the models are"
        " alike.",
    ]
