"""From the evaluation of a candidate to the verdict of the gate.

What is undefined never passes: a site where a number cannot be given fails the rule that asks for
it, unless the rules leave that site out and say why.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.gate.candidate import Candidate
from offsite.evaluation.gate.judges import JUDGES
from offsite.evaluation.gate.rules import GateSettings
from offsite.evaluation.gate.verdict import GateVerdict
from offsite.evaluation.tables.reading import read_evaluation

CONFIDENCE = 0.95


def judge(
    tables: Mapping[str, pd.DataFrame] | str | Path,
    settings: GateSettings,
    *,
    champion: str | None,
    differences: pd.DataFrame | None,
    version: str | None = None,
) -> GateVerdict:
    """Judge a candidate by its evaluation.

    Parameters
    ----------
    tables : path, or mapping of str to pandas.DataFrame
        The candidate's evaluation folder, or its tables by name: ``per_site``, and where a rule
        asks for them ``calibration`` and ``operating_points``.
    settings : GateSettings
        The rules.
    champion : str or None
        Version of the current champion; ``None`` where there is none yet.
    differences : pandas.DataFrame or None
        ``differences.csv`` with the champion first and the candidate second, on the same cases.
    version : str or None
        Version of the candidate, where it is registered; it may be the champion itself.

    Raises
    ------
    InputError
        A site to be left out is not in the evaluation, or its intervals are not over patients or
        narrower than those of 95 %.
    """
    if not isinstance(tables, Mapping):
        tables = _of_patients(tables)
    known = set(tables["per_site"]["site"])
    for site in settings.left_out:
        if site not in known:
            raise InputError(
                f"the rules leave out '{site}', which is not a site of this evaluation",
                remedy=f"The sites are {', '.join(sorted(s for s in known if s[0] != '_'))}",
                code="gate_rules",
            )
    compared = {} if differences is None else {"differences": differences}
    candidate = Candidate(
        tables={**tables, **compared},
        left_out=frozenset(settings.left_out),
        champion=champion,
        version=version,
    )
    return GateVerdict(
        rules=tuple(JUDGES[type(rule)](candidate, rule) for rule in settings.rules),
        settings_digest=settings.digest(),
        left_out=dict(settings.left_out),
    )


def _of_patients(folder: str | Path) -> Mapping[str, pd.DataFrame]:
    """The tables of an evaluation folder whose intervals may be judged."""
    evaluated = read_evaluation(folder)
    if evaluated.over_images:
        raise InputError(
            "the intervals of this evaluation are over images, too narrow to be judged by",
            file=Path(folder),
            remedy="Set the evaluation's metrics.unit to patient, and evaluate again",
            code="gate_unit",
        )
    if evaluated.confidence < CONFIDENCE:
        raise InputError(
            f"the intervals of this evaluation are {evaluated.confidence:.6g} intervals, too narrow"
            " to be judged by",
            file=Path(folder),
            remedy=f"Set the evaluation's metrics.confidence to {CONFIDENCE} or more",
            code="gate_confidence",
        )
    return evaluated.tables
