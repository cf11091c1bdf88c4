"""Which share of the draws each cell gets, from the number of its items."""

from typing import Any, Literal

import numpy as np

from offsite.errors import InputError

Rule = Literal["power", "effective_number", "progressive"]


def cell_shares(
    counts: np.ndarray,
    rule: Rule = "power",
    *,
    exponent: float = 1.0,
    beta: float = 0.999,
    progress: float = 0.0,
) -> np.ndarray:
    """Return each cell's share of the draws; shares sum to 1, empty cells get 0.

    Parameters
    ----------
    counts : array
        K, items in each cell.
    rule : {"power", "effective_number", "progressive"}
        ``power``: n_k^q: q = 1 as they come, 1/2 square root, 0 balanced. ``effective_number``:
        each item weighs (1 - beta) / (1 - beta^n_k) (Cui et al. 2019, arXiv 1901.05555).
        ``progressive``: from as they come to balanced, (1 - t) n_k / N + t / K (Kang et al. 2020,
        arXiv 1910.09217, equation 3).
    exponent, beta, progress : float
        q, beta in [0, 1), t in [0, 1].

    Examples
    --------
    >>> cell_shares(np.array([90, 10, 0]), exponent=0.5).round(2).tolist()
    [0.75, 0.25, 0.0]
    """
    n = np.asarray(counts, dtype=float)
    there = n > 0
    natural = n / n.sum()
    if rule == "power":
        weights = np.where(there, np.where(there, n, 1.0) ** exponent, 0.0)
    elif rule == "effective_number":
        weights = np.where(there, n * (1 - beta) / (1 - beta ** np.where(there, n, 1.0)), 0.0)
    elif rule == "progressive":
        t = min(max(progress, 0.0), 1.0)
        weights = (1 - t) * natural + t * there / there.sum()
    else:
        raise ValueError(f"no rule is named {rule!r}")
    return weights / weights.sum()


def cells_of(*keys: Any) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """Return each item's cell of a product of keys, such as site x class, and the cells' names.

    Cells are numbered in sorted order of their keys; only those with an item exist.

    Raises
    ------
    InputError
        Code ``keys_differ``: the keys are not of one length.

    Examples
    --------
    >>> cells, names = cells_of(["B", "A", "B"], [1, 0, 1])
    >>> cells.tolist(), names
    ([1, 0, 1], [('A', 0), ('B', 1)])
    """
    columns = [np.asarray(key) for key in keys]
    if len({len(column) for column in columns}) != 1:
        raise InputError(
            f"grouping keys have {', '.join(str(len(c)) for c in columns)} items",
            remedy="Give one value of each key for each item",
            code="keys_differ",
        )
    codes, levels = [], []
    for column in columns:
        values, code = np.unique(column, return_inverse=True)
        codes.append(code)
        levels.append(values)
    rows, cell = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    names = [tuple(values[c].item() for values, c in zip(levels, row, strict=True)) for row in rows]
    return cell.reshape(-1), names
