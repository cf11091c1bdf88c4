"""Tables whose empty cells are empty: never NaN, never a number that stands for nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def nullable_frame(records: Iterable[Mapping[str, Any]], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Records as a table with the given columns in order, each of the given pandas dtype.

    Parameters
    ----------
    records : iterable of mapping
        A mapping for each row; a column that is missing or ``None`` is empty.
    kinds : mapping
        Column to dtype: ``str``, ``Float64``, ``Int64``, ``boolean``.
    """
    rows = list(records)
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=kind) for name, kind in kinds.items()
    }
    return pd.DataFrame(columns)
