"""One row of the shift tables."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from offsite.evaluation.shift.sides import Comparison
from offsite.evaluation.tables.frames import nullable_frame


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
    flagged: bool | None = None
    transductive: bool = False
    n: int = 0
    n_patients: int = 0
    n_reference: int = 0
    reason: str = "ok"


COLUMNS = {
    "site": "str",
    "site_role": "str",
    "kind": "str",
    "statistic": "str",
    "value": "Float64",
    "low": "Float64",
    "high": "Float64",
    "null_high": "Float64",
    "p_value": "Float64",
    "flagged": "boolean",
    "transductive": "boolean",
    "n": "Int64",
    "n_patients": "Int64",
    "n_reference": "Int64",
    "reason": "str",
}


def blank(pair: Comparison, kind: str, statistic: str) -> ShiftRow:
    """A row of this comparison without a value yet."""
    return ShiftRow(
        site=pair.site,
        site_role=pair.site_role,
        kind=kind,
        statistic=statistic,
        n=len(pair.local),
        n_patients=len(np.unique(pair.local.patients)),
        n_reference=len(pair.reference),
    )


def undefined(row: ShiftRow, reason: str) -> ShiftRow:
    """The row with a reason in place of a value."""
    return replace(row, reason=reason)


def frame(rows: Iterable[ShiftRow]) -> pd.DataFrame:
    """Rows as a table of ``COLUMNS``."""
    return nullable_frame((asdict(row) for row in rows), COLUMNS)


def with_alarms(rows: list[ShiftRow], level: float) -> list[ShiftRow]:
    """Rows with ``flagged`` set from their p values, by Holm's method over the rows given."""
    tested = [index for index, row in enumerate(rows) if row.p_value is not None]
    tested.sort(key=lambda index: rows[index].p_value or 0.0)
    result, open_ = list(rows), True
    for rank, index in enumerate(tested):
        p_value = rows[index].p_value
        open_ = open_ and p_value is not None and p_value <= level / (len(tested) - rank)
        result[index] = replace(rows[index], flagged=open_)
    return result
