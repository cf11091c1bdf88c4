"""What is to be measured, as settings and rows ask for it."""

from collections.abc import Iterable

import numpy as np

from offsite.evaluation.predictions.roles import Roles, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.measured import Request


def request_of(
    predictions: Predictions, settings: EvaluationSettings, only: Iterable[str] | None = None
) -> Request:
    """What the settings ask to be measured, or ``only`` so named, with each task's reference prevalence."""
    tasks = tasks_of(predictions.classes, settings)
    return Request(
        classes=predictions.classes,
        tasks=tasks,
        references=reference_prevalences(predictions, tasks),
        minimum_of_class=settings.minimum_of_class,
        ordered=settings.ordered is not False,
        only=None if only is None else frozenset(only),
    )


def reference_prevalences(predictions: Predictions, tasks: list[Task]) -> dict[str, float]:
    """Prevalence at which sites are compared: stated, or that of validation, or of test rows.

    A task without any positive or any negative row has none.
    """
    roles = roles_of(predictions.table)
    return {
        task.name: prevalence
        for task in tasks
        if (prevalence := _reference(predictions.labels, roles, task)) is not None
    }


def _reference(labels: np.ndarray, roles: Roles, task: Task) -> float | None:
    if task.settings.reference_prevalence is not None:
        return task.settings.reference_prevalence
    for rows in (roles.calibrate, roles.test):
        known = labels[rows & (labels >= 0)]
        if len(known) and 0 < (share := float(task.members[known].mean())) < 1:
            return share
    return None
