"""What the metrics are called in words, which way is better, and which a page shows first."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is spoken of.

    Attributes
    ----------
    label, short : str
        In a sentence, and as a column's heading.
    limits : (float, float)
        The range it can take.
    higher : bool
        Whether more is better.
    """

    label: str
    short: str
    limits: tuple[float, float] = (0.0, 1.0)
    higher: bool = True


KNOWN = {
    "auroc": Metric(label="AUROC", short="AUROC"),
    "auroc_ovo": Metric(label="AUROC over pairs of classes", short="AUROC, pairs"),
    "auprc": Metric(label="AUPRC", short="AUPRC"),
    "auprc_at_reference": Metric(label="AUPRC at reference prevalence", short="AUPRC, ref."),
    "accuracy": Metric(label="accuracy", short="Accuracy"),
    "balanced_accuracy": Metric(label="balanced accuracy", short="Balanced accuracy"),
    "macro_f1": Metric(label="macro-F1", short="Macro-F1"),
    "quadratic_weighted_kappa": Metric(
        label="quadratic weighted kappa", short="Weighted kappa", limits=(-1.0, 1.0)
    ),
    "linear_weighted_kappa": Metric(
        label="linear weighted kappa", short="Linear kappa", limits=(-1.0, 1.0)
    ),
    "sensitivity": Metric(label="sensitivity", short="Sensitivity"),
    "specificity": Metric(label="specificity", short="Specificity"),
    "ppv": Metric(label="positive predictive value", short="PPV"),
    "npv": Metric(label="negative predictive value", short="NPV"),
    "prevalence": Metric(label="prevalence", short="Prevalence"),
    "brier": Metric(label="Brier score", short="Brier", higher=False, limits=(0.0, 2.0)),
    "log_loss": Metric(label="log loss", short="Log loss", higher=False, limits=(0.0, 1e9)),
}
# A page speaks first of what compares between sites of different prevalence.
PRIMARY = (
    "auroc",
    "quadratic_weighted_kappa",
    "balanced_accuracy",
    "macro_f1",
    "accuracy",
)
HEADLINE = ("auroc", "quadratic_weighted_kappa", "balanced_accuracy", "macro_f1", "brier")
_TASK_HEADLINE = ("sensitivity", "specificity")


def described(name: str) -> Metric:
    """How to speak of a metric of the per-site table, also of a class or a task.

    >>> described("referable/sensitivity").label
    'sensitivity for referable'
    >>> described("auroc/mild").short
    'AUROC: mild'
    """
    if name in KNOWN:
        return KNOWN[name]
    first, _, last = name.partition("/")
    known, of = (KNOWN[first], last) if first in KNOWN else (KNOWN.get(last), first)
    if known is None:
        plain = name.replace("_", " ")
        return Metric(label=plain, short=plain, limits=(-1e9, 1e9))
    return Metric(
        label=f"{known.label} for {of}",
        short=f"{known.short}: {of}",
        limits=known.limits,
        higher=known.higher,
    )


def primary_metric(names: list[str], wanted: str | None = None) -> str:
    """The metric a page is about: the one asked for, else the first known, else the first."""
    if wanted in names:
        return str(wanted)
    return next((name for name in PRIMARY if name in names), names[0])


def headline_metrics(names: list[str], primary: str) -> list[str]:
    """The few metrics of the first table: the primary one, then the usual ones, then tasks'."""
    usual = [name for name in HEADLINE if name in names and name != primary]
    tasks = [
        name
        for name in names
        if "/" in name
        and name.split("/")[0] not in KNOWN
        and name.rsplit("/", 1)[1] in _TASK_HEADLINE
    ]
    return [primary, *usual][: 6 - min(2, len(tasks))] + tasks[:2]
