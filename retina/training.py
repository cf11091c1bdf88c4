"""One run of photographs: the network that learns from them, and what it says of each."""

from pathlib import Path

import pandas as pd

from offsite.preprocessing.cohort.table import Cohort
from offsite.retina.by_steps import PhotographRun
from offsite.retina.frozen_run import FrozenRun
from offsite.retina.linear.fitting import fit_linear
from offsite.retina.methods import (
    LINEAR,
    check_method_name,
    check_reads_features,
)
from offsite.retina.partly_frozen_run import PartlyFrozenRun
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.run_outputs import answers_of
from offsite.retina.settings import TRUNK, RetinaSettings
from offsite.training.devices import distributed
from offsite.training.fit.result import FitResult
from offsite.training.train_run import Answers, train_run


def train_retina(
    cohort: Cohort, prepared_folder: str | Path, settings: RetinaSettings, run_folder: str | Path
) -> pd.DataFrame:
    """Train a model of photographs and predict every one that was prepared.

    Weights are selected on the ``val`` photographs of training sites alone.

    Parameters
    ----------
    cohort : Cohort
        With ``split`` and ``site_role``, as `offsite.preprocessing.cohort.splits.split_cohort` gives them.
    prepared_folder : path
        Where `offsite.preprocessing.fundus.cohort.prepare_cohort` wrote.
    run_folder : path
        See `offsite.training.train_run.train_run`; photographs that take no part are listed in ``excluded.csv``.

    Returns
    -------
    pandas.DataFrame
        The predictions, a row per prepared photograph in the order of the cohort.

    Raises
    ------
    InputError
        See `offsite.retina.photographs.of_run.select_photographs` and `offsite.retina.methods.method_named`.
    """
    check_method_name(settings.method)
    if settings.backbone.frozen:
        check_reads_features(settings.method)
    photographs = select_photographs(cohort, prepared_folder, settings.resident_gib)
    of_method = FrozenRun if settings.backbone.frozen else PhotographRun
    if settings.backbone.frozen_stages or settings.backbone.crops:
        of_method = PartlyFrozenRun
    if settings.method == LINEAR:
        of_method = LinearRun
    return train_run(of_method(cohort, photographs, settings, prepared_folder), run_folder)


class LinearRun(PhotographRun):
    """A run of the method that fits a head to the frozen trunk; all else is as for the others."""

    def fit(self, folder: Path, fingerprint: str) -> FitResult:
        """Fit the head, in the first process alone: what the others return is not looked at."""
        settings = self.settings
        if distributed.rank_and_world()[0] != 0:
            return FitResult(folder / "weights.safetensors", None, None, 0, "another process fits")
        self._fitted = fit_linear(
            self.photographs,
            self.prepared_folder,
            settings.backbone.reading(),
            settings.linear,
            n_classes=len(self.classes),
            seed=settings.fit.seed,
            weights=settings.backbone.weights if settings.backbone.name == TRUNK else None,
            folder=folder,
            digest=fingerprint,
        )
        return self._fitted.result

    def answers(self, result: FitResult) -> Answers:
        """Return the grades by what the trunk read before."""
        architecture = {
            "reading": self.settings.backbone.reading().model_dump(mode="json"),
            "n_classes": len(self.classes),
        }
        if self.settings.linear.rich is not None:
            architecture["head"] = "classes"
        fitted = self._fitted
        return answers_of(self.photographs, fitted.graded(), architecture, fitted.facts)
