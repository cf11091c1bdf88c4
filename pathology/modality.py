"""Whole-slide images as a modality."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
from pydantic import Field, model_validator

from offsite.pathology.checking import bytes_to_do, encoder_faults, package_faults, refusals
from offsite.pathology.features.settings import BITS, FEATURES, FeatureSettings
from offsite.pathology.settings import PathologySettings
from offsite.pathology.stages import EMBED, TILE, check_inputs, image_tables, source_of
from offsite.pathology.tile_encoders.registry import EncoderSettings
from offsite.pathology.trials import TRIALS
from offsite.preprocessing.slides.formats import FORMATS
from offsite.preprocessing.tiles.table import TileSettings
from offsite.training.encoders import EncoderBench
from offsite.training.frozen_images import FrozenImages
from offsite.training.heads.joining import HeadOfRun, KnownRows, RefittedHead
from offsite.training.held_files import HeldFile
from offsite.training.modality import ImageJob, JobPart, Modality, Overlay
from offsite.training.prediction.contract import FileChoice, ModelPackage, Predictor

if TYPE_CHECKING:
    from offsite.training.heads.sums import RowSums


class SlideJob(JobPart):
    """Whole-slide images to a slide classifier."""

    tiles: TileSettings = Field(TileSettings(), description="Tiling")
    encoder: EncoderSettings = Field(EncoderSettings(), description="Tile encoder")
    features: FeatureSettings = Field(
        default_factory=lambda: FeatureSettings.model_validate({}),
        description="Features of the tiles",
    )
    training: PathologySettings = Field(
        default_factory=PathologySettings, description="Method and fitting"
    )

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        tiles, encoder = self.tiles, self.encoder
        if (tiles.tile_px, tiles.mpp) != (encoder.tile_px, encoder.mpp):
            raise ValueError(
                f"tiles of {tiles.tile_px} px at {tiles.mpp:g} um per px do not fit an encoder"
                f" for {encoder.tile_px} px at {encoder.mpp:g}"
            )
        return self

    @model_validator(mode="after")
    def _made_once(self) -> Self:
        own = {"tiles": TileSettings(), "encoder": EncoderSettings(device=self.encoder.device)}
        named = [name for name, default in own.items() if getattr(self, name) != default]
        if self.features.folder is not None and named:
            raise ValueError(
                f"{' and '.join(named)} would make features, and those of features.folder are made:"
                " leave out one or the other"
            )
        return self

    def reads_images(self) -> bool:
        """Whether slides are read: not where another tool made their features."""
        return self.features.folder is None

    def stage_names(self) -> tuple[str, ...] | None:
        """Return the stages: without slides nothing is tiled."""
        return None if self.reads_images() else (EMBED.name,)


def _train(job: ImageJob, cohort: Any, settings: Any, folder: Path) -> pd.DataFrame:
    from offsite.pathology.training import train_pathology

    return train_pathology(cohort, source_of(job), settings, folder)


def _package_facts(configuration: Any, architecture: Mapping[str, Any]) -> dict[str, Any]:
    if configuration.features.folder is not None:  # what they are, the run's facts say
        return {"architecture": architecture["name"], "preprocessing": {}}
    settings = configuration.model_dump(mode="json")
    bits = configuration.features.bits
    return {
        "architecture": architecture["name"],
        "preprocessing": {
            **({BITS: bits} if bits != 16 else {}),
            "tiles": settings["tiles"],
            "encoder": settings["encoder"],
        },
        "mpp": configuration.tiles.mpp,
    }


def _predictor(package: ModelPackage, device: str, batch_size: int | None = None) -> Predictor:
    if FEATURES in package.record.preprocessing:
        from offsite.pathology.prediction.from_features import FeaturePredictor

        return FeaturePredictor(package, device, batch_size)
    from offsite.pathology.prediction.predictor import SlidePredictor

    return SlidePredictor(package, device, batch_size)


def _file_choice(package: ModelPackage) -> FileChoice | None:
    if FEATURES not in package.record.preprocessing:
        return None
    from offsite.pathology.prediction.from_features import feature_choice

    return feature_choice()


def _encoders() -> EncoderBench:
    from offsite.pathology.encoder_bench import BENCH

    return BENCH


def _refit_head(head: HeadOfRun, sums: "RowSums", rows: KnownRows) -> RefittedHead:
    from offsite.pathology.linear.joining import refit_head

    return refit_head(head, sums, rows)


def _held_files(job: ImageJob, slides: Sequence[str]) -> list[HeldFile]:
    from offsite.pathology.held_files import held_files

    return held_files(job, slides)


def _frozen_images(job: ImageJob) -> FrozenImages:
    from offsite.pathology.frozen_images import frozen_images

    return frozen_images(job)


def _files_read(job: ImageJob) -> list[Path]:
    from offsite.pathology.features.locating import located

    source = source_of(job)
    files = located(source.folder, job.cohort.table["slide"]).files
    return [files.get(slide, source.folder / slide) for slide in job.cohort.table["slide"]]


MODALITY = Modality(
    contract=1,
    name="pathology",
    reads="slides",
    job_part=SlideJob,
    stages=(TILE, EMBED),
    check_inputs=check_inputs,
    train=_train,
    image_tables=image_tables,
    package_facts=_package_facts,
    predictor=_predictor,
    formats=tuple(FORMATS.values()),
    checks={"encoder": encoder_faults, "packages": package_faults},
    bytes_to_do=bytes_to_do,
    overlay=Overlay(
        what="where the model looked",
        shown=True,
        caution="The overlay shows where the model looked, not where disease is. A stronger"
        " colour is more.",
    ),
    joins_series=True,
    encoders=_encoders,
    trials=TRIALS,
    refit_head=_refit_head,
    held_files=_held_files,
    frozen_images=_frozen_images,
    files_read=_files_read,
    file_choice=_file_choice,
    refusals=refusals,
)
