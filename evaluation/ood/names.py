"""The detectors by name: known, and listed, without the code that fits them."""

from typing import Any

from offsite.registry import Registry

DETECTORS: Registry[type[Any]] = Registry(
    "detector",
    {
        "mahalanobis": "offsite.evaluation.ood.gaussian_detectors:Mahalanobis",
        "relative_mahalanobis": "offsite.evaluation.ood.gaussian_detectors:RelativeMahalanobis",
        "residual": "offsite.evaluation.ood.gaussian_detectors:Residual",
        "vim": "offsite.evaluation.ood.gaussian_detectors:Vim",
        "knn": "offsite.evaluation.ood.neighbour_detectors:Knn",
        "nnguide": "offsite.evaluation.ood.neighbour_detectors:NNGuide",
        "msp": "offsite.evaluation.ood.logit_detectors:Msp",
        "max_logit": "offsite.evaluation.ood.logit_detectors:MaxLogit",
        "energy": "offsite.evaluation.ood.logit_detectors:Energy",
        "gen": "offsite.evaluation.ood.logit_detectors:Gen",
        "react": "offsite.evaluation.ood.logit_detectors:React",
        "she": "offsite.evaluation.ood.neighbour_detectors:She",
        "fdbd": "offsite.evaluation.ood.neighbour_detectors:Fdbd",
    },
)
