"""One row of the shift tables."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from offsite.evaluation.shift.sides import Comparison


@dataclass(frozen=True, kw_only=True)
class ShiftRow:
    """A statistic of one site; undefined is ``None`` with a reason."""

    site: str
    site_role: str
    kind: str
    statistic: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    null_high: float | None = None
    p_value: float | None = None
    transductive: bool = False
    n: int = 0
    n_patients: int = 0
    n_reference: int = 0
    reason: str = "ok"

    def cells(self) -> dict[str, Any]:
        """Its cells by column."""
        return asdict(self)


def blank(pair: Comparison, kind: str, statistic: str, *, labelled: bool = False) -> ShiftRow:
    """A row of this comparison without a value yet, of all rows or of the labelled ones."""
    local, reference = pair.local, pair.reference
    known = local.labelled if labelled else None
    return ShiftRow(
        site=local.rows.name,
        site_role=local.rows.role,
        kind=kind,
        statistic=statistic,
        n=len(local) if known is None else int(known.sum()),
        n_patients=local.rows.n_patients(known),
        n_reference=int(reference.labelled.sum()) if labelled else len(reference),
    )


def undefined(row: ShiftRow, reason: str) -> ShiftRow:
    """The row with a reason in place of a value."""
    return replace(row, reason=reason)
