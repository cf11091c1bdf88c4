"""Leave-one-site-out and single-source: methods x sites x seeds, each cell a run of its own."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from preprocessing.cohort import Cohort
from preprocessing.errors import InputError
from preprocessing.files import replacing
from preprocessing.splits import SplitSettings, split_cohort
from retina.results import site_results
from retina.training import RetinaSettings, train_retina

Protocol = Literal["leave_one_site_out", "single_source"]


@dataclass(frozen=True)
class ProtocolCell:
    """One run of a protocol.

    Attributes
    ----------
    method : str
        See `retina.methods`.
    fold : str
        The site that the fold is named for: held out, or the single source.
    held_out : tuple of str
        Sites that take no part in training or selection.
    seed : int
        Of first weights, batches and augmentation.
    """

    method: str
    fold: str
    held_out: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """The run's path below the protocol's folder."""
        return f"{self.method}/{re.sub(r'[^A-Za-z0-9._-]', '_', self.fold)}/seed-{self.seed}"


def protocol_cells(
    protocol: Protocol, sites: Sequence[str], methods: Sequence[str], seeds: Sequence[int]
) -> list[ProtocolCell]:
    """Return all cells; methods are innermost, so that a part of them compares like with like.

    Raises
    ------
    InputError
        Code ``one_site``: there is nothing to leave out.
    """
    if len(sites) < 2:
        raise InputError(
            "the cohort has one site", remedy="A protocol needs at least two", code="one_site"
        )
    found = []
    for seed in seeds:
        for fold in sites:
            others = tuple(site for site in sites if site != fold)
            held_out = (fold,) if protocol == "leave_one_site_out" else others
            found += [ProtocolCell(method, fold, held_out, seed) for method in methods]
    return found


def run_protocol(
    cohort: Cohort,
    prepared: str | Path,
    settings: RetinaSettings,
    cells: Sequence[ProtocolCell],
    folder: str | Path,
    *,
    splits: SplitSettings | None = None,
    progress: Callable[[int, int, ProtocolCell], None] | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> pd.DataFrame:
    """Run the cells that are not finished, and return the figures of all.

    The division of the training sites has one seed for all cells, so methods and seeds are paired.

    Parameters
    ----------
    cells : sequence of ProtocolCell
        In the order in which they are run.
    folder : path
        Gets a run folder for each cell and ``results.csv``, which is written after each cell.
    splits : SplitSettings, optional
        Shares and seed; the held-out sites are the cells'.
    progress : callable, optional
        Called with (done, all, cell) after each cell.
    go_on : callable, optional
        Asked before each cell; False ends early with what there is.

    Returns
    -------
    pandas.DataFrame
        A row per cell and test site: ``method, fold, seed`` and `retina.results.site_results`.
    """
    root = Path(folder)
    shares = splits or SplitSettings.model_validate({})
    tables: list[pd.DataFrame] = []
    for done, cell in enumerate(cells, start=1):
        if not go_on():
            break
        divided = split_cohort(cohort, shares.model_copy(update={"held_out_sites": cell.held_out}))
        fit = settings.fit.model_copy(update={"seed": cell.seed})
        chosen = settings.model_copy(update={"method": cell.method, "fit": fit})
        predictions = train_retina(divided, prepared, chosen, root / cell.name)
        figures = site_results(predictions, cohort.classes)
        figures.insert(0, "method", cell.method)
        figures.insert(1, "fold", cell.fold)
        figures.insert(2, "seed", cell.seed)
        tables.append(figures)
        with replacing(root / "results.csv") as temporary:
            pd.concat(tables).to_csv(temporary, index=False, lineterminator="\n")
        if progress is not None:
            progress(done, len(cells), cell)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
