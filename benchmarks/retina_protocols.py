"""Leave-one-site-out and single-source: methods x sites x seeds, each cell is one run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from retina_results import site_results

from offsite.files import replacing
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import Cohort
from offsite.retina.settings import RetinaSettings
from offsite.retina.training import train_retina
from offsite.training.cells import Cell


def run_protocol(
    cohort: Cohort,
    prepared: str | Path,
    settings: RetinaSettings,
    cells: Sequence[Cell],
    folder: str | Path,
    *,
    splits: SplitSettings | None = None,
    progress: Callable[[int, int, Cell], None] | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> pd.DataFrame:
    """Run the cells that are not finished, and return the figures of all.

    The division of the training sites has one seed for all cells, so methods and seeds are paired.

    Parameters
    ----------
    cells : sequence of Cell
        In the order in which they are run; see `offsite.training.cells`.
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
        A row per cell and test site: ``method, division, seed`` and
        `benchmarks.retina_results.site_results`.
    """
    root = Path(folder)
    shares = splits or SplitSettings.model_validate({})
    tables: list[pd.DataFrame] = []
    for done, cell in enumerate(cells, start=1):
        if not go_on():
            break
        divided = split_cohort(cohort, shares.model_copy(update={"held_out_sites": cell.held_out}))
        fit = settings.fit.model_copy(update={"seed": cell.seed})
        of_cell = settings.model_copy(update={"method": cell.method, "fit": fit})
        predictions = train_retina(divided, prepared, of_cell, root / cell.name)
        figures = site_results(predictions, cohort.classes)
        figures.insert(0, "method", cell.method)
        figures.insert(1, "division", cell.division)
        figures.insert(2, "seed", cell.seed)
        tables.append(figures)
        with replacing(root / "results.csv") as temporary:
            pd.concat(tables).to_csv(temporary, index=False, lineterminator="\n")
        if progress is not None:
            progress(done, len(cells), cell)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
