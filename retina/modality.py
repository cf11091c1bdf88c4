"""Fundus photographs as a modality."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import Field

from offsite.preprocessing.formats.photographs import PHOTOGRAPHS
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.retina.checking import bytes_to_do, package_faults, weights_faults
from offsite.retina.settings import RetinaSettings
from offsite.retina.stages import PREPARE, check_inputs, image_tables, prepared_of
from offsite.training.frozen_images import FrozenImages
from offsite.training.heads.joining import HeadOfRun, KnownRows, RefittedHead
from offsite.training.held_files import HeldFile
from offsite.training.modality import ImageJob, JobPart, Modality, Overlay
from offsite.training.prediction.contract import ModelPackage, Predictor

if TYPE_CHECKING:
    from offsite.training.heads.sums import RowSums


class PhotographJob(JobPart):
    """Fundus photographs to a grader of diabetic retinopathy."""

    preparation: FundusSettings = Field(FundusSettings(), description="Preparation")
    training: RetinaSettings = Field(
        default_factory=RetinaSettings, description="Method and fitting"
    )


def _train(job: ImageJob, cohort: Any, settings: Any, folder: Path) -> pd.DataFrame:
    from offsite.retina.training import train_retina

    return train_retina(cohort, prepared_of(job), settings, folder)


def _package_facts(configuration: Any, architecture: Mapping[str, Any]) -> dict[str, Any]:
    settings = configuration.model_dump(mode="json")
    return {
        "architecture": "fundus_classifier",
        "preprocessing": {"fundus": settings["preparation"]},
    }


def _predictor(package: ModelPackage, device: str, batch_size: int | None = None) -> Predictor:
    from offsite.retina.prediction.predictor import PhotographPredictor

    return PhotographPredictor(package, device, batch_size)


def _refit_head(head: HeadOfRun, sums: "RowSums", rows: KnownRows) -> RefittedHead:
    from offsite.retina.linear.joining import refit_head

    return refit_head(head, sums, rows)


def _held_files(job: ImageJob, slides: Sequence[str]) -> list[HeldFile]:
    from offsite.retina.held_files import held_files

    return held_files(job, slides)


def _frozen_images(job: ImageJob) -> FrozenImages:
    from offsite.retina.frozen_images import frozen_images

    return frozen_images(job)


MODALITY = Modality(
    contract=1,
    name="retina",
    reads="photographs",
    job_part=PhotographJob,
    stages=(PREPARE,),
    check_inputs=check_inputs,
    train=_train,
    image_tables=image_tables,
    package_facts=_package_facts,
    predictor=_predictor,
    formats=tuple(PHOTOGRAPHS.values()),
    checks={"weights": weights_faults, "packages": package_faults},
    bytes_to_do=bytes_to_do,
    overlay=Overlay(
        what="what spoke for referral",
        shown=False,
        caution="The overlay shows what spoke for referral to the model, not where disease is."
        " It is as coarse as the model's last map. A stronger colour is more.",
    ),
    by_eye=True,
    refit_head=_refit_head,
    held_files=_held_files,
    frozen_images=_frozen_images,
)
