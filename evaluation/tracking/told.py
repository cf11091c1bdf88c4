"""What MLflow's page tells of a run in its own fields, beside parameters and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from offsite.evaluation.tracking.data_parts import DataPart


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """More of a run.

    Attributes
    ----------
    primary : str
        The primary metric of its evaluation.
    points : pandas.DataFrame or None
        The table of operating points.
    findings : sequence of str
        Sentences for its description, such as the summary of its report.
    pages : str
        Where the whole stands.
    parts : sequence of DataPart
        The images that it was made and measured with.
    weights : str
        SHA-256 (hex) of its weights; empty where it made none.
    started, finished : int or None
        When the work itself began and ended, in ms since 1970; ``None``: when it was logged.
    """

    primary: str = ""
    points: pd.DataFrame | None = None
    findings: Sequence[str] = ()
    pages: str = ""
    parts: Sequence[DataPart] = ()
    weights: str = ""
    started: int | None = None
    finished: int | None = None

    def facts(self) -> list[Any]:
        """Everything that the run would be logged anew for, JSON-able."""
        return [
            [self.primary, list(self.findings), self.pages, self.weights],
            [[part.name, part.digest, part.images, part.patients] for part in self.parts],
        ]


NOTHING = Told()


def milliseconds(moment: str | None) -> int | None:
    """A moment in ISO form as ms since 1970; ``None`` stays.

    Examples
    --------
    >>> milliseconds("2024-05-01T00:00:00+00:00")
    1714521600000
    """
    return None if not moment else int(datetime.fromisoformat(moment).timestamp() * 1000)
