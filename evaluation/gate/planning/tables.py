"""The tables that rules read, made as an evaluation makes them and no further."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.calibration.calibrators import KINDS, fit_calibrators
from offsite.evaluation.calibration.table import TOP, calibration_tables
from offsite.evaluation.gate.candidate import source_of
from offsite.evaluation.gate.planning.simulating import CLASSES, POSITIVE, Drawn
from offsite.evaluation.gate.rules import AnyRule, GateSettings, MinimumN
from offsite.evaluation.metrics.catalogue import metric_names
from offsite.evaluation.metrics.entries import METRICS
from offsite.evaluation.operating_points.choosing import PACKAGED, choose_thresholds
from offsite.evaluation.operating_points.table import operating_point_table
from offsite.evaluation.predictions.tasks import tasks_of
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.measured import Request, request_of
from offsite.evaluation.tables.comparison import differences_of_aligned
from offsite.evaluation.tables.per_site import per_site_table


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a gate's rules read of an evaluation.

    Attributes
    ----------
    task : str
        The one task that they are about.
    classes : int
        How many classes give all of it: three where a task has an AUROC of its own, else two.
    metrics : mapping of str to frozenset of str
        The metrics that are read, by table.
    calibrated : frozenset of (str, str)
        Pairs of task and calibrator.
    """

    task: str
    classes: int
    metrics: Mapping[str, frozenset[str]]
    calibrated: frozenset[tuple[str, str]]

    def settings(self, target: float, draws: int, simulations: int) -> EvaluationSettings:
        """Those of an evaluation, but with fewer draws, or none where no interval needs them."""
        tasks = {self.task: TaskSettings(positive_classes=(POSITIVE,), target_sensitivity=target)}
        plain = EvaluationSettings(tasks=tasks, ordered=False, calibration_simulations=simulations)
        return plain.model_copy(update={"resamples": draws})


def reading_of(gate: GateSettings) -> Reading:
    """What the rules read.

    Raises
    ------
    InputError
        A rule cannot be planned: it is about another task, or about more than two sides of one.
    """
    named = dict.fromkeys(task for rule in gate.rules for task in _tasks(rule))
    if len(named) > 1:
        raise InputError(
            f"the rules are about several tasks ({', '.join(named)}), and one is planned at a time",
            remedy="Copy the file, and leave the rules of one task in it",
            code="gate_plan",
        )
    task = next(iter(named), POSITIVE)
    sources = [source for rule in gate.rules if (source := source_of(rule)) is not None]
    found = {
        table: frozenset(source.metric for source in sources if source.table == table)
        for table in dict.fromkeys(source.table for source in sources)
    }
    # Patients are counted by that table, whatever else is read of it.
    found.setdefault("per_site", frozenset({f"{task}/prevalence"}))
    calibrated = [source.wanted for source in sources if source.table == "calibration"]
    return Reading(
        task=task,
        classes=_classes(task, found["per_site"] | found.get("differences", frozenset())),
        metrics=found,
        calibrated=frozenset((wanted["task"], wanted["calibrator"]) for wanted in calibrated),
    )


def _tasks(rule: AnyRule) -> Iterator[str]:
    if isinstance(rule, MinimumN):
        return
    name = getattr(rule, "task", None) or getattr(rule, "metric", "").rpartition("/")[0]
    # Of "sensitivity/mild" the first word is a metric, and there is no task.
    if name and name not in (TOP, *METRICS):
        yield name


def _classes(task: str, wanted: frozenset[str]) -> int:
    settings = EvaluationSettings(
        tasks={task: TaskSettings(positive_classes=(POSITIVE,))}, ordered=False
    )
    missing: list[str] = []
    for count in (2, 3):
        classes, references = CLASSES[:count], {task: 0.5}
        tasks = tasks_of(classes, settings)
        request = Request(classes=classes, tasks=tasks, references=references, ordered=False)
        missing = sorted(wanted - set(metric_names(request)))
        if not missing:
            return count
    raise InputError(
        f"'{missing[0]}' is not measured of positive and negative cases, which are what is planned",
        remedy="Plan a copy of the file without rules about kappas or single classes",
        code="gate_plan",
    )


def judged_tables(drawn: Drawn, reading: Reading) -> Mapping[str, pd.DataFrame]:
    """The tables of one candidate, ``differences`` from the champion among them."""
    rows, settings = drawn.every.predictions, drawn.every.settings
    asked = reading.metrics
    tables = {"per_site": per_site_table(drawn.tested, asked["per_site"])}
    if "operating_points" in asked:
        chosen = choose_thresholds(drawn.every, [PACKAGED])
        metrics = sorted(asked["operating_points"])
        tables["operating_points"] = operating_point_table(drawn.every, chosen, metrics)
    if reading.calibrated:
        kinds = [kind for kind in KINDS if any(kind == name for _, name in reading.calibrated)]
        fitted = fit_calibrators(rows, kinds)
        made = calibration_tables(drawn.every, fitted, reading.calibrated)
        tables["calibration"] = made["calibration"]
    if "differences" in asked:
        request = request_of(rows, settings, asked["differences"])
        second = drawn.tested.predictions
        tables["differences"] = differences_of_aligned(drawn.champion, second, request)
    return tables
