"""One row of the shift tables: undefined is an empty cell with a reason."""

from typing import Any

from offsite.evaluation.shift.sides import Comparison
from offsite.evaluation.shift.two_sample import TwoSample

ShiftRow = dict[str, Any]


def blank(
    pair: Comparison,
    kind: str,
    statistic: str,
    *,
    labelled: bool = False,
    transductive: bool = False,
) -> ShiftRow:
    """A row of this comparison without a value yet, of all rows or of the labelled ones."""
    local, reference = pair.local, pair.reference
    known = local.labelled if labelled else None
    return {
        "site": local.rows.name,
        "site_role": local.rows.role,
        "kind": kind,
        "statistic": statistic,
        "transductive": transductive,
        "n": len(local) if known is None else int(known.sum()),
        "n_patients": local.rows.n_patients(known),
        "n_reference": int(reference.labelled.sum()) if labelled else len(reference),
        "reason": "ok",
    }


def undefined(row: ShiftRow, reason: str) -> ShiftRow:
    """The row with a reason in place of a value."""
    return row | {"reason": reason}


def tested(row: ShiftRow, test: TwoSample | None) -> ShiftRow:
    """The row with the outcome of its test; too few patients give none."""
    if test is None:
        return undefined(row, "too_few")
    return row | {"value": test.statistic, "null_high": test.null_high, "p_value": test.p_value}
