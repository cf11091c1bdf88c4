"""A number with its interval and its sample, or the reason why there is none."""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

FEW_PATIENTS = 30
"""With fewer of them no conclusion should rest on a number."""

FEWEST_PATIENTS = 5
"""With fewer on a side that a number rests on (the positive ones of a sensitivity, either class of an
AUROC, those outside the most frequent class of a kappa) its interval is next to the whole range, or does
not hold what it promises: the value is given with ``TOO_FEW`` in its stead."""


class Reason(StrEnum):
    """Why a metric has, or has not, a value."""

    OK = "ok"
    NO_SAMPLES = "no_samples"
    NO_LABELS = "no_labels"
    SINGLE_CLASS = "single_class"
    TOO_FEW = "too_few"
    INTERVAL_UNSTABLE = "interval_unstable"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One metric on one sample. Undefined is ``None`` with a reason: never 0, never NaN.

    Attributes
    ----------
    value, low, high : float or None
        The point estimate and its 95 % interval. The interval may be absent where the value is
        not: too few patients on a side (``TOO_FEW``, see ``FEWEST_PATIENTS``), or too few of the
        resamples with a defined value (``INTERVAL_UNSTABLE``).
    n, n_positive : int
        Samples used, and those of the positive class (``None`` where there is no such class).
    n_patients : int or None
        Independent units behind the samples, where the interval is clustered by them.
    classes_defined, classes : int or None
        For a macro average, the number of classes averaged and the number there are.
    reason : Reason
        ``OK``, or why ``value`` (or the interval) is missing.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    n_positive: int | None = None
    n_patients: int | None = None
    classes_defined: int | None = None
    classes: int | None = None
    reason: Reason = Reason.OK

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name} is {number}: an undefined metric is None with a reason")
        if self.value is None and self.reason is Reason.OK:
            raise ValueError("an undefined metric needs a reason")

    def cells(self) -> dict[str, Any]:
        """Its cells in a row of a table, by column."""
        return asdict(self) | {"reason": self.reason.value}
