"""The modality: its part of a job, and what offsite asks of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from offsite.file_formats import FileFormat
from offsite.registry import check_name
from offsite.training.fit.settings import FitSettings
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.modality import ImageJob, JobPart, Modality, Overlay, TrainingSettings
from offsite.training.prediction.contract import ModelPackage, Predictor
from offsite.training.samplers.settings import SamplerSettings
from offsite.training.trials import Trial
from offsite_greys.pictures import trial
from offsite_greys.stages import SHRINK, check_inputs, folder_of, image_tables, shrunk_table


class GreySettings(TrainingSettings):
    """How a model of grey pictures is trained."""

    method: str = Field("erm", description="erm, coral, group_dro")
    width: int = Field(16, ge=1, description="Width of the embedding (numbers)")
    sampler: SamplerSettings = Field(SamplerSettings(), description="How batches are drawn")
    general: GeneralisationSettings = Field(GeneralisationSettings(), description="Of the method")
    fit: FitSettings = Field(FitSettings(), description="How the weights are fitted")

    @classmethod
    def method_names(cls) -> tuple[str, ...]:
        """Return the methods that there are."""
        return ("erm", "coral", "group_dro")

    def check_method(self, method: str, n_classes: int) -> None:
        """Refuse an unknown method."""
        check_name(method, "method", dict.fromkeys(self.method_names()))


class GreyJob(JobPart):
    """Small grey pictures to a classifier."""

    side: int = Field(16, ge=4, le=256, description="Side that a picture is shrunk to, px")
    training: GreySettings = Field(GreySettings(), description="Method and fitting")


def _train(job: ImageJob, cohort: Any, settings: Any, folder: Path) -> pd.DataFrame:
    from offsite.training.train_run import train_run
    from offsite_greys.training import GreyRun

    return train_run(GreyRun(cohort, folder_of(job), shrunk_table(job), settings), folder)


def _package_facts(configuration: Any, architecture: Mapping[str, Any]) -> dict[str, Any]:
    return {"architecture": "greys", "preprocessing": {"side": configuration.side}}


def _predictor(package: ModelPackage, device: str, batch_size: int | None = None) -> Predictor:
    from offsite_greys.predictor import GreyPredictor

    return GreyPredictor(package, device, batch_size)


MODALITY = Modality(
    contract=1,
    name="greys",
    reads="grey pictures",
    job_part=GreyJob,
    stages=(SHRINK,),
    check_inputs=check_inputs,
    train=_train,
    image_tables=image_tables,
    package_facts=_package_facts,
    predictor=_predictor,
    formats=(FileFormat("PNG, PGM", (".png", ".pgm")),),
    checks={},
    bytes_to_do=lambda job: 0,
    overlay=Overlay(what="nothing", shown=False, caution="No overlay is made."),
    trials=(Trial("grey pictures", trial, "Install Pillow"),),
)
