"""Binary tasks over the classes of a model: which are positive, at what threshold."""

from dataclasses import dataclass

import numpy as np

from offsite.errors import InputError
from offsite.evaluation.settings import EvaluationSettings, TaskSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A named grouping of the classes.

    Attributes
    ----------
    name : str
        Its name in tables.
    members : numpy.ndarray
        C booleans: whether a class is positive.
    settings : TaskSettings
        Threshold, wanted sensitivity, reference prevalence, costs.
    """

    name: str
    members: np.ndarray
    settings: TaskSettings

    def scores(self, probabilities: np.ndarray) -> np.ndarray:
        """Probability of the positive side, for N x C probabilities."""
        return np.minimum(probabilities[:, self.members].sum(axis=1), 1.0)

    def positive(self, labels: np.ndarray) -> np.ndarray:
        """Whether each of N class indices is positive; unlabelled rows are not."""
        return (labels >= 0) & self.members[labels]


def tasks_of(classes: tuple[str, ...], settings: EvaluationSettings) -> list[Task]:
    """The tasks of the settings; with two classes and none named, the second class.

    Raises
    ------
    InputError
        A task names a class that is not there, or all of them.

    Examples
    --------
    >>> tasks_of(('benign', 'malignant'), EvaluationSettings())[0].name
    'malignant'
    """
    named = dict(settings.tasks)
    if not named and len(classes) == 2:
        named = {classes[1]: TaskSettings(positive_classes=(classes[1],))}
    return [_task(name, task, classes) for name, task in named.items()]


def _task(name: str, settings: TaskSettings, classes: tuple[str, ...]) -> Task:
    unknown = [label for label in settings.positive_classes if label not in classes]
    if unknown:
        raise InputError(
            f"task '{name}' names '{unknown[0]}', which is not a class",
            remedy=f"The classes are {', '.join(classes)}",
            code="unknown_class",
        )
    members = np.isin(np.array(classes), settings.positive_classes)
    if members.all():
        raise InputError(
            f"task '{name}' makes every class positive",
            remedy="Leave at least one class on the negative side",
            code="empty_task",
        )
    return Task(name=name, members=members, settings=settings)
