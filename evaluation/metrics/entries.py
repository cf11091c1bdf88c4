"""The catalogue of metrics: every name that stands in a table, with the function that makes it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

Scale = Literal["logit", "fisher", "log", "none"]


@dataclass(frozen=True)
class Metric:
    """A metric, for all who measure, show, compare, combine or bound it.

    Attributes
    ----------
    name : str
        As in the tables.
    label, short : str
        In a sentence, and as a column's heading.
    function : str
        ``module:function`` that measures it, below ``offsite.evaluation``.
    formula : str
        How it is made, in a sentence.
    limits : (float, float)
        The range it can take.
    higher : bool or None
        Whether more is better; ``None``: neither, as for a prevalence.
    scale : str
        On which sites are combined: ``logit`` for shares and areas, ``fisher`` for kappas, ``log``
        for losses; ``none``: they are not.
    """

    name: str
    label: str
    short: str
    function: str
    formula: str
    limits: tuple[float, float] = (0.0, 1.0)
    higher: bool | None = True
    scale: Scale = "none"


_ANY, _NONNEGATIVE = (-math.inf, math.inf), (0.0, math.inf)
_RANKING, _CALLS = "metrics.of_classes:of_ranking", "metrics.of_classes:of_calls"
_PROBABILITIES, _TASKS = "metrics.of_classes:of_probabilities", "metrics.of_tasks:of_tasks"
_POINTS, _CURVES = (
    "operating_points.table:measured_at",
    "operating_points.net_benefit:decision_curve",
)
_ERROR, _FIT = "metrics.calibration_error:", "metrics.recalibration:"
_RISK, _CARRIED = "statistics.risk_coverage:RiskCoverage", "tables.selective:selective_table"
_SETS, _FPR = "conformal.table:conformal_table", "ood.metrics:false_positive_rates"
_SAMPLES, _DISTANCES = "shift.two_sample:", "shift.distances:"
_PAIRED = "operating_points.complementary:complementary_table"
_PRIOR, _CHANGE = "shift.label_shift:", "shift.performance:detail_rows"


_share = partial(Metric, scale="logit")
_loss = partial(Metric, limits=_NONNEGATIVE, higher=False, scale="log")


def _kappa(name: str, label: str, short: str, weights: str) -> Metric:
    formula = f"1 - sum(w O) / sum(w E) over pairs of classes in order, w = {weights}; O counted, E by chance."
    return Metric(name, label, short, _CALLS, formula, limits=(-1.0, 1.0), scale="fisher")


def _shift(
    name: str, label: str, function: str, formula: str, limits: tuple[float, float] = _NONNEGATIVE
) -> Metric:
    return Metric(name, label, label, function, formula, limits=limits, higher=None)


_PER_SITE = (
    _share("auroc", "AUROC", "AUROC", _RANKING, "Share of pairs of a positive and a negative image in which the positive one scores higher, ties half. Several classes: one against the rest, the mean over classes."),
    _share("auroc_ovo", "AUROC over pairs of classes", "AUROC, pairs", _RANKING, "Mean AUROC over all pairs of classes (Hand and Till 2001)."),
    _share("auprc", "AUPRC", "AUPRC", _RANKING, "Average precision: sum over thresholds of the step in recall times the precision. Its floor is the prevalence, so it does not compare between sites."),
    _share("accuracy", "accuracy", "Accuracy", _CALLS, "Share of images whose most probable class is the true one."),
    _share("balanced_accuracy", "balanced accuracy", "Balanced accuracy", _CALLS, "Mean over classes of the share of the class that is called so."),
    _share("macro_f1", "macro-F1", "Macro-F1", _CALLS, "Mean over classes of 2 TP / (2 TP + FP + FN)."),
    _kappa("quadratic_weighted_kappa", "quadratic weighted kappa", "Weighted kappa", "(i - j)^2"),
    _kappa("linear_weighted_kappa", "linear weighted kappa", "Linear kappa", "|i - j|"),
    _loss("brier", "Brier score", "Brier", _PROBABILITIES, "Mean squared difference of probability and truth, summed over classes; with two classes of one of them.", limits=(0.0, 2.0)),
    _loss("log_loss", "log loss", "Log loss", _PROBABILITIES, "Mean of -log p(true class), in nats."),
    _share("sensitivity", "sensitivity", "Sensitivity", _TASKS, "Share of the positive images that are called positive, TP / (TP + FN)."),
    Metric("prevalence", "prevalence", "Prevalence", _TASKS, "Share of the images that are positive.", higher=None, scale="logit"),
    _share("auprc_at_reference", "AUPRC at reference prevalence", "AUPRC, ref.", _TASKS, "Average precision with the positives weighted to the reference prevalence, so that sites compare."),
    _share("specificity", "specificity", "Specificity", _TASKS, "Share of the negative images that are called negative, TN / (TN + FP)."),
    _share("ppv", "positive predictive value", "PPV", _TASKS, "Share of the images called positive that are, at the site's own prevalence."),
    _share("npv", "negative predictive value", "NPV", _TASKS, "Share of the images called negative that are, at the site's own prevalence."),
)  # fmt: skip
_THRESHOLDS = (
    Metric("flag_rate", "share called positive or flagged", "Called positive", _POINTS, "Share of all images at or over the threshold; of a detector: over its frozen threshold.", higher=None),
    Metric("transfer_gap", "sensitivity missed", "Missed", _POINTS, "Wanted sensitivity minus the site's.", limits=(-1.0, 1.0), higher=False),
    Metric("needed_threshold", "threshold needed", "Threshold needed here", _POINTS, "The highest threshold at which the site reaches the wanted sensitivity.", higher=None),
    Metric("specificity_at_needed", "specificity at the threshold needed", "Specificity there", _POINTS, "Specificity of the site at the threshold that it needs."),
    Metric("ppv_at_reference", "PPV at reference prevalence", "PPV, ref.", _POINTS, "By Bayes' rule from the site's sensitivity and specificity at the reference prevalence."),
    Metric("npv_at_reference", "NPV at reference prevalence", "NPV, ref.", _POINTS, "By Bayes' rule from the site's sensitivity and specificity at the reference prevalence."),
    Metric("expected_cost", "expected cost", "Cost", _POINTS, "Cost of missed positives and false alarms, per image.", limits=_NONNEGATIVE, higher=False),
    Metric("expected_cost_at_reference", "expected cost at reference prevalence", "Cost, ref.", _POINTS, "The cost per image if the site had the reference prevalence.", limits=_NONNEGATIVE, higher=False),
    Metric("net_benefit", "net benefit", "Net benefit", _CURVES, "TP/n - FP/n t/(1 - t) of acting at or over the probability t (Vickers and Elkin 2006).", limits=(-math.inf, 1.0)),
)  # fmt: skip
_PAIRS = (
    Metric("caught_by_second", "what the second catches of the first's misses", "Caught by the second", _PAIRED, "Of the positive images that the first model calls negative, the share that the second calls positive, each at its own threshold; of the most probable class: of the images that the first gets wrong, the share that the second gets right."),
    Metric("caught_by_first", "what the first catches of the second's misses", "Caught by the first", _PAIRED, "The same with the models exchanged."),
    Metric("sensitivity_either", "sensitivity if either calls", "Sensitivity, either", _PAIRED, "Share of the positive images that at least one of the models calls positive."),
    Metric("specificity_either", "specificity if either calls", "Specificity, either", _PAIRED, "Share of the negative images that neither model calls positive."),
)  # fmt: skip
_CALIBRATION = (
    Metric("ece", "calibration error", "Calibration error", _ERROR + "expected_error", "Mean over bins of equal mass of |share that came true - mean probability|; beside it what noise alone would give.", higher=False),
    Metric("ece_debiased", "debiased calibration error", "Debiased error", _ERROR + "debiased_error", "Root of the squared error over bins less its noise (Kumar, Liang and Ma 2019).", higher=False),
    Metric("slope", "calibration slope", "Slope", _FIT + "slope_and_intercept", "Of the logit of the truth on the logit of the probability (Cox 1958); 1 is perfect, under 1 too sure. Sandwich variance by patient.", limits=_ANY, higher=None),
    Metric("intercept", "calibration intercept", "Intercept", _FIT + "slope_and_intercept", "The same with the slope held at 1: 0 is perfect, under 0 probabilities are too high as a whole.", limits=_ANY, higher=None),
    Metric("spiegelhalter_z", "Spiegelhalter's z", "Spiegelhalter's z", _FIT + "spiegelhalter_z", "Sum of (y - p)(1 - 2p) over its standard deviation: normal where probabilities are true.", limits=_ANY, higher=None),
)  # fmt: skip
_SELECTIVE = (
    Metric("aurc", "area under the risk-coverage curve", "AURC", _RISK, "Mean over k of the error rate of the k most confident cases (Geifman et al. 2019).", higher=False),
    Metric("e_aurc", "excess AURC", "E-AURC", _RISK, "AURC minus that of a confidence that puts every error last.", higher=False),
    Metric("augrc", "AUGRC", "AUGRC", _RISK, "Mean share of all cases that are kept and wrong (Traub et al. 2024).", higher=False),
    Metric("accuracy_at", "accuracy of the most confident x %", "Most confident x %", _RISK, "Accuracy of the site's most confident cases, so many of them."),
    Metric("accuracy_at_threshold", "accuracy over the threshold that keeps x %", "Over the training sites' threshold", _CARRIED, "Accuracy of the cases over the confidence that keeps so many of the validation rows."),
    Metric("coverage_at_threshold", "share over the threshold that keeps x %", "Share over it", _CARRIED, "Share of cases over the confidence that keeps so many of the validation rows.", higher=None),
)  # fmt: skip
_SETS_AND_DETECTORS = (
    Metric("coverage", "coverage of the prediction sets", "Holds the truth", _SETS, "Share of labelled images whose set holds the true class."),
    Metric("mean_size", "mean size of the prediction sets", "Classes in a set", _SETS, "Mean number of classes in a set.", limits=_NONNEGATIVE, higher=False),
    Metric("singleton_rate", "share of sets with one class", "One class", _SETS, "Share of images whose set is one class."),
    Metric("empty_rate", "share of empty sets", "Empty", _SETS, "Share of images whose set is empty.", higher=None),
    Metric("refer_rate", "share referred", "Referred", _SETS, "Share of images for which no set keeps the promise: a reader decides.", higher=False),
    Metric("fpr_ood_at_95_id_kept", "foreign images kept", "Foreign kept", _FPR, "Share of the site's images that pass the threshold that 95 % of the familiar ones pass.", higher=False),
    Metric("fpr_id_at_95_ood_caught", "familiar images flagged", "Familiar flagged", _FPR, "Share of the familiar images that the threshold flags that catches 95 % of the site's.", higher=False),
)  # fmt: skip
_SHIFTS = (
    _shift("mmd2", "difference of the images", _SAMPLES + "mmd_test", "Squared maximum mean discrepancy of embeddings, Gaussian kernel, pairs of one patient left out (Gretton et al. 2012); the test permutes patients.", _ANY),
    _shift("energy", "energy distance", _SAMPLES + "energy_test", "2 E|x - y| - E|x - x'| - E|y - y'| of embeddings; the test permutes patients.", _ANY),
    _shift("c2st_auroc", "AUROC of a classifier of the site", "shift.classifier_test:classifier_test", "Out-of-fold AUROC of telling the site from the reference, patients kept together.", (0.0, 1.0)),
    _shift("frechet", "Fréchet distance", _DISTANCES + "frechet_distance", "||m1 - m2||^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), against halves of the reference of equal size."),
    _shift("coral", "CORAL distance", _DISTANCES + "coral_distance", "||S1 - S2||^2 / (4 D^2), against halves of the reference of equal size."),
    _shift("whitened_mean", "whitened mean distance", _DISTANCES + "whitened_mean_distance", "(m1 - m2)' S^-1 (m1 - m2), against halves of the reference of equal size."),
    _shift("within_class_mmd2", "difference within classes", "shift.covariate:detail_rows", "Squared maximum mean discrepancy within each class, averaged: what prevalence cannot explain.", _ANY),
    _shift("prior_distance", "difference of the case mix", "shift.prevalence:prior_row", "Half the sum of absolute differences of the class shares, from labels.", (0.0, 1.0)),
    _shift("prior_distance_em", "difference of the case mix, by EM", _PRIOR + "em_prior", "The same with the site's shares estimated by EM from unlabelled rows (Saerens et al. 2002).", (0.0, 1.0)),
    _shift("prior_distance_bbse", "difference of the case mix, by BBSE", _PRIOR + "bbse_prior", "The same by black-box shift estimation (Lipton et al. 2018).", (0.0, 1.0)),
    _shift("prior", "share by EM", _PRIOR + "em_prior", "Share of the class by EM, without labels.", (0.0, 1.0)),
    _shift("label_shift_misfit", "misfit of label shift", "shift.label_shift_fit:SourceOutputs", "Chi-square distance of the outputs from the best mixture of the reference's classes, per patient."),
    Metric("auroc_change", "change of the AUROC", "AUROC change", "shift.performance:auroc_change_row", "AUROC of the site minus that of the reference, over the classes that both have. Variances by placement values; the test is on the logit scale.", limits=(-1.0, 1.0)),
    Metric("accuracy_prior_corrected", "accuracy after prior correction", "Accuracy, corrected", _CHANGE, "Accuracy with probabilities re-weighted to the prior by EM."),
    Metric("log_loss_prior_corrected", "log loss after prior correction", "Log loss, corrected", _CHANGE, "Log loss with probabilities re-weighted to the prior by EM.", limits=_NONNEGATIVE, higher=False),
    _shift("site_balanced_accuracy", "how well the site is told", "shift.classifier_test:site_predictability", "Balanced accuracy of the site told from features, patients kept together.", (0.0, 1.0)),
    Metric("robustness_index", "robustness index", "Robustness index", "shift.robustness:robustness_index", "SO / (SO + OS) over nearest neighbours: same class of another site, other class of the same site (Kömen et al. 2025)."),
)  # fmt: skip
_EMBEDDINGS = (
    Metric("class_nearer", "own class nearer", "Own class nearer", "tables.embeddings:nearer", "Of pairs of training images, one of the image's class and one of another, the share in which the first is nearer to its embedding, ties half; mean over images."),
    Metric("site_nearer", "own site nearer", "Own site nearer", "tables.embeddings:nearer", "The same over pairs of training images of the image's class, one of its site and one of another; 0.5: the site does not show.", higher=None),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *(*_PER_SITE, *_THRESHOLDS, *_PAIRS, *_CALIBRATION),
        *(*_SELECTIVE, *_SETS_AND_DETECTORS, *_SHIFTS, *_EMBEDDINGS),
    )
}
"""Every metric there is. Of a class it is ``<metric>/<class>``, of a task ``<task>/<metric>``, of a
share of cases ``<metric>_80``."""
PER_SITE = tuple(metric.name for metric in _PER_SITE)
"""Those of the per-site table, in its order."""


def measured_by(function: str) -> tuple[str, ...]:
    """Names of the metrics that a function makes, in their order."""
    return tuple(name for name, metric in METRICS.items() if metric.function == function)
