"""Cases that must not judge each other: those of one patient, and identical pictures."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def groups_of(table: pd.DataFrame) -> np.ndarray:
    """Return the group of each row: rows of one patient or of one picture are in one group.

    Parameters
    ----------
    table : pandas.DataFrame
        With ``patient``, ``site`` and ``content``, N rows.

    Returns
    -------
    numpy.ndarray
        N names.

    Examples
    --------
    >>> rows = pd.DataFrame({"patient": ["a", "b", "b", "c"], "content": ["x", "x", "y", "z"]})
    >>> groups_of(rows.assign(site="north")).tolist()
    ['0', '0', '0', '1']
    """
    rows = np.arange(len(table))
    patients = pd.factorize(table["site"] + "\n" + table["patient"])[0]
    pictures = pd.factorize(table["content"])[0] + patients.max(initial=-1) + 1
    nodes = len(rows) + pictures.max(initial=-1) + 1
    ends = np.concatenate([patients, pictures]) + len(rows)
    links = coo_matrix((np.ones(2 * len(rows)), (np.tile(rows, 2), ends)), (nodes, nodes))
    _, labels = connected_components(links, directed=False)
    return np.asarray(pd.factorize(labels[: len(rows)])[0].astype(str))


def identical(table: pd.DataFrame) -> pd.DataFrame:
    """Return, for each row whose picture is in the table more than once, what its copies say.

    Returns
    -------
    pandas.DataFrame
        Indexed like those rows of ``table``: ``content``, ``copies`` (others), ``conflict`` (whether
        any has another label), ``wrong``: the share of the copies, itself among them, that have
        another label. If one of them is right, whichever, that is how often it is not this one.

    Examples
    --------
    >>> rows = pd.DataFrame({"content": list("xxyyz"), "label": list("abccc")})
    >>> identical(rows)[["conflict", "wrong"]].to_numpy().tolist()
    [[True, 0.5], [True, 0.5], [False, 0.0], [False, 0.0]]
    """
    by_picture = table.groupby("content")["label"]
    size = by_picture.transform("size")
    same = table.groupby(["content", "label"])["label"].transform("size")
    found = pd.DataFrame({
        "content": table["content"], "copies": size - 1, "conflict": same < size,
        "wrong": 1 - same / size,
    })  # fmt: skip
    return found[size > 1]
