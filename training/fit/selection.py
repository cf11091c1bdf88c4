"""Which epoch's weights are kept, and when to stop waiting for better ones."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offsite.errors import InputError
from offsite.training.fit.settings import FitSettings

_LOG = logging.getLogger("offsite.training")


def classes_not_validated(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Return the classes without a validation item, and warn of them; none where nothing validates.

    Epochs are then compared by the other classes alone, if at all (`Selection`).

    Parameters
    ----------
    labels : numpy.ndarray
        int, into ``classes``, of the validation items.

    Examples
    --------
    >>> classes_not_validated(np.array([0, 0, 2]), ['none', 'mild', 'severe'])
    ['mild']
    """
    counts = np.bincount(labels, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if not len(labels) or not missing:
        return []
    _LOG.warning(
        "no validation item is of class %s: nothing tells how well it is learnt",
        ", ".join(missing),
    )
    return missing


def patients_by_class(
    labels: np.ndarray, patients: Sequence[str], classes: Sequence[str]
) -> dict[str, int]:
    """Return how many patients of each class there are among some items.

    Parameters
    ----------
    labels : numpy.ndarray
        int, into ``classes``; -1 = unlabelled.
    patients : sequence of str
        Whose each item is. One with items of two classes counts in both.

    Examples
    --------
    >>> patients_by_class(np.array([0, 0, 1, -1]), ["a", "a", "a", "b"], ["none", "mild"])
    {'none': 1, 'mild': 1}
    """
    found: dict[str, set[str]] = {name: set() for name in classes}
    for label, patient in zip(np.asarray(labels).tolist(), patients, strict=True):
        if label >= 0:
            found[classes[label]].add(str(patient))
    return {name: len(members) for name, members in found.items()}


class Selection:
    """The best epoch so far by one validation score.

    Epochs that end before ``select_after`` are passed over: while a curriculum has hardly trained
    the classifier, its scores say little. Without validation, or as long as no epoch has had a
    defined score, the last epoch is taken. So it is where a class has too few validation patients:
    the best of many epochs on two patients is a draw of lots, and costs more than it finds.

    Parameters
    ----------
    patients : mapping, optional
        Validation patients of each class; not given, they are taken to be enough.
    """

    def __init__(
        self, settings: FitSettings, *, validates: bool, patients: Mapping[str, int] | None = None
    ) -> None:
        self.settings = settings
        self.validates = validates
        fewest = settings.fewest_validated
        self.thin = {name: n for name, n in (patients or {}).items() if n < fewest}
        self.epoch = 0
        self.score: float | None = None
        self.waited = 0

    @property
    def reason(self) -> str:
        """Why the present epoch is the selected one."""
        if not self.validates:
            return "no validation"
        if self.thin:
            return "too few to compare epochs"
        return "no score defined" if self.score is None else "best"

    @property
    def note(self) -> str:
        """What there was too little of, in words; empty where epochs are compared."""
        if not self.validates or not self.thin:
            return ""
        few = ", ".join(f"{name} {number}" for name, number in self.thin.items())
        return (
            f"The last epoch is kept: of some classes fewer than {self.settings.fewest_validated}"
            f" validation patients ({few}), too few to compare epochs by"
        )

    @property
    def patience_is_out(self) -> bool:
        """Whether ``patience`` epochs have passed without a better score."""
        patience = self.settings.patience
        return patience is not None and self.waited >= patience

    def take(self, epoch: int, scores: Mapping[str, float | None]) -> bool:
        """Take in an epoch's scores; return whether its weights are now the selected ones."""
        if not self.validates:
            self.epoch = epoch
            return True
        name = self.settings.select_by
        if name not in scores:
            raise InputError(
                f"validation gives no score named '{name}' but {', '.join(sorted(scores))}",
                remedy="Set select_by to one of them",
                code="no_score",
            )
        score = scores[name]
        if self.thin:
            self.epoch, self.score = epoch, score
            return True
        if score is None or not self.settings.selectable(epoch):
            self.waited += self.score is not None
            better = self.score is None
        else:
            better = self._better(score)
            self.waited = 0 if better else self.waited + 1
            self.score = score if better else self.score
        self.epoch = epoch if better else self.epoch
        return better

    def _better(self, score: float) -> bool:
        if self.score is None:
            return True
        return score > self.score if self.settings.mode == "max" else score < self.score

    def facts(self) -> dict[str, Any]:
        """Return the state, JSON-able."""
        return {"epoch": self.epoch, "score": self.score, "waited": self.waited}

    def load(self, facts: Mapping[str, Any]) -> None:
        """Put back a state."""
        self.epoch, self.score, self.waited = facts["epoch"], facts["score"], facts["waited"]
