"""What a plan of local cases says, for the commands that plan and that calibrate."""

from collections.abc import Iterator

from offsite.evaluation.new_site.planning import (
    LARGEST,
    cases_for,
    positives_for_sensitivity,
    positives_for_threshold,
)


def planned(
    sensitivity: float, prevalence: float, within: float, confidence: float = 0.95
) -> Iterator[tuple[str, str, str]]:
    """Yield what is stated, the positive cases and the cases that it takes, in words.

    Examples
    --------
    >>> list(planned(0.9, 0.2, 0.05))
    [('the sensitivity', '202', '1,092'), ('a threshold for it', '201', '1,087')]
    """
    for what, function in (
        ("the sensitivity", positives_for_sensitivity),
        ("a threshold for it", positives_for_threshold),
    ):
        positives = function(sensitivity, within, confidence)
        if positives is None:
            yield what, f"over {LARGEST:,}", ""
        else:
            yield what, f"{positives:,}", f"{cases_for(positives, prevalence):,}"


def more_needed(sensitivity: float | None, positives: int, cases: int, within: float) -> str:
    """Return a sentence on how many cases it takes to state a local sensitivity; empty: enough.

    Parameters
    ----------
    sensitivity : float or None
        As seen here; ``None``, or 1 of few, is taken for 0.9.
    positives, cases : int
        Positive cases here, of so many with labels.
    within : float
        Wanted distance of the interval's ends.
    """
    if not positives:
        return ""
    expected = 0.9 if sensitivity is None or sensitivity >= 1 else max(sensitivity, 0.5)
    needed = positives_for_sensitivity(expected, within)
    if needed is None or needed <= positives:
        return ""
    whole = cases_for(needed, positives / cases)
    return (
        f"to state a sensitivity of {expected:.2f} to within {within:g} it takes {needed:,} positive"
        f" cases (here {positives:,}), some {whole:,} cases in all"
    )
