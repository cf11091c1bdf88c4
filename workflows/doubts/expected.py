"""How many of the first cases of the list have a wrong label, as far as the cohort itself can tell."""

from dataclasses import dataclass

import pandas as pd

from offsite.evaluation.statistics.binomial import clustered_interval

FIRST = (20, 50, 100)


@dataclass(frozen=True)
class Expected:
    """The share of wrong labels among the first cases.

    Attributes
    ----------
    first : int
        Of the list.
    told : int
        Those of them whose picture is in the cohort more than once: the share is theirs.
    share, low, high : float or None
        Estimate and 95 % interval over pictures; None: nothing tells.
    """

    first: int
    told: int
    share: float | None
    low: float | None
    high: float | None

    def text(self) -> str:
        """As it is printed.

        Examples
        --------
        >>> Expected(20, 0, None, None, None).text()
        'unknown: no picture among them is in the cohort twice'
        """
        if self.share is None:
            return "unknown: no picture among them is in the cohort twice"
        return (
            f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%}), by {self.told} of them whose"
            " picture is in the cohort more than once"
        )


def expected_wrong(ranked: pd.DataFrame, copies: pd.DataFrame, first: int) -> Expected:
    """Estimate the share of wrong labels among the first cases of a ranked list.

    Of identical pictures that were labelled differently at most one label is right. Each is taken
    to be the right one alike, so that a case is wrong as often as its copies differ from it; where all
    copies agree none is taken to be wrong, though all may be. Our construction: it holds if pictures that are in the cohort twice are labelled as others are.

    Parameters
    ----------
    ranked : pandas.DataFrame
        Worst first.
    copies : pandas.DataFrame
        See `offsite.workflows.doubts.alike.identical`, by the index of ``ranked``.
    first : int

    Examples
    --------
    >>> ranked = pd.DataFrame({"label": list("abc")}, index=[7, 3, 5])
    >>> told = {"content": ["x", "y"], "conflict": [True, False], "wrong": [0.5, 0.0]}
    >>> found = expected_wrong(ranked, pd.DataFrame(told, index=[7, 5]), 3)
    >>> (found.told, found.share)
    (2, 0.25)
    """
    here = copies.loc[[index for index in ranked.index[:first] if index in copies.index]]
    if here.empty:
        return Expected(first, 0, None, None, None)
    share = float(here["wrong"].mean())
    conflicts = here["conflict"].to_numpy(bool)
    # The interval is that of the share in conflict, times how often a label in conflict is wrong.
    in_conflict = here.loc[conflicts, "wrong"] if conflicts.any() else pd.Series([0.5])
    wrong = float(in_conflict.mean())
    low, high = clustered_interval(conflicts, here["content"].to_numpy(str))
    return Expected(first, len(here), share, low * wrong, high * wrong)
