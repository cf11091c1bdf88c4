"""Predictions of any origin, measured at every site."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.evaluation.evaluating import evaluate as evaluate_predictions
from offsite.evaluation.predictions.checks import check_rows
from offsite.evaluation.predictions.frames import predictions_of_frame, read_predictions
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.per_site import per_site_table
from offsite.evaluation.tables.reading import read_evaluation

TaskOf = str | Sequence[str] | Mapping[str, Sequence[str] | TaskSettings]
_SHOWN = ("auroc", "macro_f1", "quadratic_weighted_kappa", "accuracy")


class Report:
    """How a model does at every site; made by `evaluate`.

    Attributes
    ----------
    per_site : pandas.DataFrame
        A row per ``split, site, site_role, metric``, with ``value, low, high, n, n_patients,
        reason`` and more (docs/evaluation/tables.md). ``site`` may also be ``_pooled``,
        ``_worst`` or ``_gap``.
    classes : tuple of str
        In order.
    notes : tuple of str
        What was taken for granted of the table; also printed in the report's page.
    """

    def __init__(
        self, predictions: Predictions, settings: ReportSettings, notes: tuple[str, ...]
    ) -> None:
        self._predictions, self._settings = predictions, settings
        self.classes, self.notes = predictions.classes, notes
        self.per_site: pd.DataFrame = per_site_table(Sites.of(predictions, settings.metrics))

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table of the evaluation by name; made when first asked for, which takes a while."""
        with TemporaryDirectory(prefix="offsite-report-") as folder:
            self.save(folder)
            return dict(read_evaluation(folder).tables)

    def save(self, folder: str | Path) -> Path:
        """Write all tables, the figures and ``report.html``; return the path of the page.

        A folder that holds this evaluation is left as it is, another evaluation is replaced.

        Raises
        ------
        InputError
            The folder holds other files.
        """
        return evaluate_predictions(self._predictions, folder, self._settings).report

    def show(self) -> None:
        """Print the main metrics of each site with their intervals."""
        print(self)

    def __str__(self) -> str:
        level = f"{100 * self._settings.metrics.confidence:g} %"
        unit = "rows" if self._over_rows else "patients"
        title = f"Results by site, {level} intervals over {unit}"
        return "\n".join([title, self._overview.to_string(), *self.notes])

    def __repr__(self) -> str:
        sites = self._predictions.table["site"].nunique()
        return f"<Report: {len(self._predictions)} rows, {sites} sites; .show() prints it>"

    def _repr_html_(self) -> str:
        return self._overview.to_html()

    @property
    def _over_rows(self) -> bool:
        return bool((self._predictions.table["patient"] == "").all())

    @property
    def _overview(self) -> pd.DataFrame:
        """Sites x main metrics, as text."""
        table = self.per_site[~self.per_site["site"].isin(["_worst", "_gap"])]
        short = table["metric"].str.rsplit("/", n=1).str[-1]
        wanted = table["metric"].isin(_SHOWN) | short.isin(["sensitivity", "specificity"])
        cells = table[wanted].assign(text=[_text(row) for _, row in table[wanted].iterrows()])
        metrics = list(dict.fromkeys(cells["metric"]))
        wide = cells.pivot_table(
            index=["split", "site", "site_role"], columns="metric", values="text",
            aggfunc="first", sort=False,
        )  # fmt: skip
        return wide[metrics].rename_axis(columns=None)


def evaluate(
    frame_or_path: pd.DataFrame | str | Path,
    classes: Sequence[str] | None = None,
    columns: Mapping[str, str | None] | None = None,
    task: TaskOf | None = None,
    seed: int = 0,
) -> Report:
    """Measure a model's predictions at every site.

    Parameters
    ----------
    frame_or_path : pandas.DataFrame or path
        A row per image: its site, patient, true class and probabilities; a CSV or Parquet file of
        such rows, or a run folder. Rows may also have a ``split`` (``train``, ``val``, ``test``);
        without it all are measured.
    classes : sequence of str, optional
        Class names in order, the negative or mildest first. Without them they are the names of
        the columns ``prob_<class>``, in no order: weighted kappas are then left out.
    columns : mapping, optional
        Your name of a column by offsite's: ``site``, ``patient``, ``label``, and where there are
        such columns ``image``, ``split``, ``prob_<class>``, or ``score``: of two classes, the
        probability of the second. ``{"patient": None}`` says that every row is of another
        patient. A column that has offsite's name, or a probability that has its class's, need
        not be named.
    task : str, sequence of str or mapping, optional
        What counts as positive: a class, several, or several named tasks
        (``{"referable": ["moderate", "severe"]}``). Of two classes it is the second.
    seed : int
        Seed of the bootstrap and of every other draw.

    Raises
    ------
    InputError
        What the table says is unclear, or cannot be measured; the message says what to do.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({
    ...     "hospital": ["north"] * 20 + ["south"] * 20,
    ...     "case": range(40),
    ...     "truth": ["benign", "malignant"] * 20,
    ...     "p": [0.2, 0.7, 0.4, 0.9] * 5 + [0.6, 0.5, 0.1, 0.8] * 5,
    ... })
    >>> report = evaluate(
    ...     frame, classes=["benign", "malignant"],
    ...     columns={"site": "hospital", "patient": "case", "label": "truth", "score": "p"},
    ... )
    >>> auroc = report.per_site.query("metric == 'auroc'").set_index("site")["value"]
    >>> f"{auroc['north']:.2f} at north, {auroc['south']:.2f} at south"
    '1.00 at north, 0.75 at south'
    """
    if isinstance(frame_or_path, pd.DataFrame):
        predictions, notes = predictions_of_frame(frame_or_path, classes, columns)
    elif isinstance(frame_or_path, str | Path):
        predictions, notes = read_predictions(frame_or_path, classes, columns)
    else:
        raise InputError(
            f"a {type(frame_or_path).__name__} is no table of predictions",
            remedy="Give a pandas DataFrame, or the path of a CSV or Parquet file",
        )
    check_rows(predictions)
    return Report(predictions, _settings(task, seed, notes, classes is not None), notes)


def _settings(
    task: TaskOf | None, seed: int, notes: tuple[str, ...], ordered: bool
) -> ReportSettings:
    parts = {
        name: {"seed": seed}
        for name, field in ReportSettings.model_fields.items()
        if "seed" in getattr(field.annotation, "model_fields", {})
    }
    try:
        metrics = EvaluationSettings.model_validate(
            {"tasks": _tasks(task), "seed": seed, "ordered": ordered}
        )
        return ReportSettings.model_validate({"limits": notes, **parts, "metrics": metrics})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"the task or seed cannot be used ({first['msg']})",
            remedy="Name positive classes, as task='malignant' or task={'referable': [...]},"
            " and a seed of 0 or more",
        ) from error


def _tasks(task: TaskOf | None) -> dict[str, TaskSettings]:
    if task is None:
        return {}
    if isinstance(task, str):
        task = {task: [task]}
    elif not isinstance(task, Mapping):
        task = {"positive": task}
    return {
        name: members
        if isinstance(members, TaskSettings)
        else TaskSettings(positive_classes=(members,) if isinstance(members, str) else members)
        for name, members in task.items()
    }


def _text(row: "pd.Series") -> str:
    if pd.isna(row["value"]):
        return str(row["reason"]).replace("_", " ")
    if pd.isna(row["low"]):
        return f"{row['value']:.2f}"
    return f"{row['value']:.2f} ({row['low']:.2f}–{row['high']:.2f})"
