"""What a kind of image is to the rest of offsite: its settings, stages, runs, predictor and words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from offsite.errors import InputError
from offsite.file_formats import FileFormat
from offsite.settings import Settings
from offsite.training.encoders import EncoderBench
from offsite.training.fit.settings import FitSettings
from offsite.training.frozen_images import FrozenImages
from offsite.training.heads.joining import RefitHead
from offsite.training.held_files import HeldFile
from offsite.training.prediction.contract import FileChoice, ModelPackage, Predictor
from offsite.training.steps import Step
from offsite.training.trials import Trial

CONTRACT = 1
"""Goes up when a `Modality` of another package must be changed to work with this offsite."""

Advance = Callable[..., Any]
"""Told of each image that is done."""


class TrainingSettings(Settings):
    """What every modality's training settings have."""

    method: str
    fit: FitSettings

    @classmethod
    def method_names(cls) -> tuple[str, ...]:
        """Return the methods that there are."""
        raise NotImplementedError

    def check_method(self, method: str, n_classes: int) -> None:
        """Refuse a method that cannot be trained with these settings, before anything is read.

        Raises
        ------
        InputError
            Code ``unknown_method``, or the modality's.
        """
        raise NotImplementedError


class JobPart(Settings):
    """A modality's part of a job's configuration: its image stages and its training."""

    training: TrainingSettings

    def reads_images(self) -> bool:
        """Whether the images themselves are read, so that the cohort has to name them."""
        return True

    def stage_names(self) -> tuple[str, ...] | None:
        """Return the modality's stages that a job with these settings has; None = all."""
        return None


class ImageJob(Protocol):
    """What a modality sees of a job."""

    @property
    def file(self) -> Path:
        """The configuration's file."""

    @property
    def output(self) -> Path:
        """Folder of all results."""

    @property
    def configuration(self) -> Any:
        """The configuration, with the modality's part."""

    @property
    def cohort(self) -> Any:
        """The validated cohort."""


@dataclass(frozen=True, kw_only=True)
class ImageStage(Step):
    """A stage from images towards what a model reads; a row for each image, failed ones too.

    Attributes
    ----------
    run : callable
        ``run(job, workers, part, advance) -> table`` does part ``(number from 1, of)`` of the
        images; what is there and still true is kept. The table has ``slide, image, site, status,
        code, message``, and is written to the job's output as
        `offsite.training.steps.part_table` names it.
    does : mapping of str to callable
        For each of ``extras``: ``does[name](job, table)``.
    """

    run: Callable[[ImageJob, int, tuple[int, int], Advance], pd.DataFrame]
    does: Mapping[str, Callable[[ImageJob, pd.DataFrame], object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Overlay:
    """What is drawn over an image that was predicted.

    Attributes
    ----------
    what : str
        What it shows, in the middle of a sentence.
    shown : bool
        Whether it is shown at first: over a photograph it would hide what a person should see.
    caution : str
        The sentences under it.
    """

    what: str
    shown: bool
    caution: str


@dataclass(frozen=True)
class Modality:
    """A kind of image, from its files to answers. All that is heavy is imported by its functions.

    Attributes
    ----------
    contract : int
        The `CONTRACT` that it was written for, as a number.
    name : str
        What a job's ``task`` is called.
    reads : str
        What its models read, in the plural, as packages and pages say: ``"slides"``.
    job_part : type of JobPart
        Its part of a job's configuration.
    stages : tuple of ImageStage
        From images to what a model reads, in order.
    check_inputs : callable
        ``check_inputs(job)`` refuses to train on what was made with other settings.
    train : callable
        ``train(job, cohort, settings, run_folder)``: one run of a divided cohort, by
        `offsite.training.train_run.train_run`.
    image_tables : callable
        ``image_tables(job)``: what the report shows of the images, by name; nothing where nothing
        was measured. ``quality`` has ``site, measure, rate, n``.
    package_facts : callable
        ``package_facts(configuration, architecture)``: ``architecture`` (its name),
        ``preprocessing`` (settings as JSON, all that prediction needs) and, if any, ``mpp``.
    predictor : callable
        ``predictor(package, device, batch_size)``: what answers new images with a package's model;
        a batch size of None is its own choice.
    formats : tuple of FileFormat
        What can be read.
    checks : mapping
        What is asked of a job before anything is computed, by name: each yields what is wrong.
    bytes_to_do : callable
        ``bytes_to_do(job)``: the least that what is still to do of the images takes on disk.
    overlay : Overlay
    joins_series : bool
        Whether the files of a folder that are of one DICOM series are one image.
    by_eye : bool
        Whether a patient has two of what is imaged, and an image without an answer is to be taken
        again rather than seen by a person.
    encoders : callable, optional
        What `offsite encoder` asks of it, where its images pass an encoder before training.
    trials : tuple of Trial
        What `offsite doctor` tries for it, beside the packages of its formats.
    refit_head : callable, optional
        `offsite.training.heads.joining.RefitHead` of its method `linear`, where it has one.
    held_files : callable, optional
        ``held_files(job, slides)``: the files beside the stages' tables that were made of these
        images, and those that hold anything of them.
    frozen_images : callable, optional
        ``frozen_images(job)``: its labelled images as a frozen network sees them.
    files_read : callable, optional
        ``files_read(job)``: of a job that reads no images, what is read for each row of its cohort.
    file_choice : callable, optional
        ``file_choice(package)``: which files a model reads, where these are not images; else None.
    refusals : callable, optional
        ``refusals(configuration, facts)``: why nothing could be predicted with the model of a run with
        these facts; it is then not registered.
    """

    contract: int
    name: str
    reads: str
    job_part: type[JobPart]
    stages: tuple[ImageStage, ...]
    check_inputs: Callable[[ImageJob], None]
    train: Callable[[ImageJob, Any, Any, Path], pd.DataFrame]
    image_tables: Callable[[ImageJob], Mapping[str, pd.DataFrame]]
    package_facts: Callable[[Any, Mapping[str, Any]], dict[str, Any]]
    predictor: Callable[[ModelPackage, str, int | None], Predictor]
    formats: tuple[FileFormat, ...]
    checks: Mapping[str, Callable[[ImageJob], Iterator[InputError]]]
    bytes_to_do: Callable[[ImageJob], int]
    overlay: Overlay
    joins_series: bool = False
    by_eye: bool = False
    encoders: Callable[[], EncoderBench] | None = None
    trials: tuple[Trial, ...] = ()
    refit_head: RefitHead | None = None
    held_files: Callable[[ImageJob, Sequence[str]], list[HeldFile]] | None = None
    frozen_images: Callable[[ImageJob], FrozenImages] | None = None
    files_read: Callable[[ImageJob], list[Path]] | None = None
    file_choice: Callable[[ModelPackage], FileChoice | None] | None = None
    refusals: Callable[[Any, Mapping[str, Any]], Iterator[InputError]] | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        """Settings of the job, beside ``training.fit.device``, that name a device."""
        return tuple(stage.device for stage in self.stages if stage.device)

    def stage(self, name: str) -> ImageStage | None:
        """Return the stage of that name, or None."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def stages_of(self, configuration: JobPart) -> tuple[ImageStage, ...]:
        """Return the stages that a job with this configuration has, in order."""
        named = configuration.stage_names()
        return tuple(stage for stage in self.stages if named is None or stage.name in named)
