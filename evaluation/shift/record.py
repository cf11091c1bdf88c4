"""One row of the shift tables: undefined is an empty cell with a reason."""

from typing import Any

from offsite.evaluation.shift.sides import Comparison
from offsite.evaluation.shift.two_sample import TwoSample

Cells = dict[str, Any]


def row_of(
    pair: Comparison,
    kind: str,
    statistic: str,
    found: Cells,
    *,
    labelled: bool = False,
    transductive: bool = False,
) -> Cells:
    """A row of this comparison, of all rows or of the labelled ones, with what was found."""
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
        **found,
    }


def undefined(reason: str) -> Cells:
    """A reason in place of a value."""
    return {"reason": reason}


def tested(test: TwoSample | None) -> Cells:
    """The outcome of a test; too few patients give none."""
    if test is None:
        return undefined("too_few")
    found = {"value": test.statistic, "low": test.low, "high": test.high}
    return found | {"null_high": test.null_high, "p_value": test.p_value}
