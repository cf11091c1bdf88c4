"""What a plan of local cases says, for the commands that plan and that calibrate."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from offsite.evaluation.new_site.planning import (
    LARGEST,
    cases_for,
    positives_for_sensitivity,
    positives_for_threshold,
)

WIDTHS = (0.1, 0.05)


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


def local_plan(
    what: str, sensitivity: float, target: float, positives: int, patients: int
) -> list[dict[str, Any]]:
    """Return how many local patients it takes until a sensitivity, or a threshold, can be stated.

    A row for each statement and width: ``what, states, within, positives, positives_needed,
    patients, patients_needed``; a need is None where nothing is planned so far, or where no case
    tells how frequent positive ones are.

    Parameters
    ----------
    what : str
        What is decided, such as ``referral``.
    sensitivity, target : float
        As seen here, and as wanted of a threshold (0..1).
    positives, patients : int
        Patients with a positive case, of so many with a label.

    Examples
    --------
    >>> row = local_plan("referral", 0.9, 0.9, positives=12, patients=60)[1]
    >>> row["states"], row["within"], row["positives_needed"], row["patients_needed"]
    ('the sensitivity', 0.05, 202, 1092)
    """
    # All found, or under a half: the case of few patients, which says nothing of what to expect.
    expected = sensitivity if 0.5 <= sensitivity < 1 else target
    rows = []
    for states, function, share in (
        ("the sensitivity", positives_for_sensitivity, expected),
        ("a threshold for it", positives_for_threshold, target),
    ):
        for within in WIDTHS:
            needed = function(share, within)
            known = needed is not None and positives > 0
            rows.append(
                {
                    "what": what,
                    "states": states,
                    "within": within,
                    "positives": positives,
                    "positives_needed": needed,
                    "patients": patients,
                    "patients_needed": cases_for(needed, positives / patients)
                    if needed is not None and known
                    else None,
                }
            )
    return rows


def plan_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the rows of each decision say, for a card.

    Examples
    --------
    >>> print(*plan_sentences(local_plan("referral", 0.9, 0.9, positives=12, patients=60)))
    referral: 12 of 60 patients here have a positive case; the sensitivity can be stated to ± 0.1 from 65 such patients on (some 372 in all), to ± 0.05 from 202 (1,092), and a threshold for it from 66 (377) and 201 (1,087)
    """
    return [_sentence(list(of_one)) for _, of_one in groupby(rows, lambda row: row["what"])]


def _sentence(rows: list[Mapping[str, Any]]) -> str:
    first = rows[0]
    near, nearer, of_threshold, finer = (_needs(row) for row in rows)
    return (
        f"{first['what']}: {first['positives']} of {first['patients']} patients here have a positive"
        f" case; the sensitivity can be stated to ± {WIDTHS[0]:g} from {near[0]} such patients on"
        f" (some {near[1]} in all), to ± {WIDTHS[1]:g} from {nearer[0]} ({nearer[1]}), and a threshold"
        f" for it from {of_threshold[0]} ({of_threshold[1]}) and {finer[0]} ({finer[1]})"
    )


def _needs(row: Mapping[str, Any]) -> tuple[str, str]:
    positives, patients = row["positives_needed"], row["patients_needed"]
    return (
        f"over {LARGEST:,}" if positives is None else f"{positives:,}",
        "an unknown number" if patients is None else f"{patients:,}",
    )
