"""Several p-values as one family."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values after Holm's (1979) correction, in the order in which they came.

    The chance that any one is under a level where there is nothing to find is under that level,
    however the questions depend on each other.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.02, 0.001, 0.3, 0.012])]
    [0.04, 0.004, 0.3, 0.036]
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = least
    return adjusted
