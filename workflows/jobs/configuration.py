"""The configuration of a whole job: one YAML file from the cohort to the registry."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, create_model, field_serializer, model_validator

from offsite.children.limits import Limits
from offsite.errors import InputError
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.settings import TaskSettings
from offsite.evaluation.tracking.address import to_show
from offsite.evaluation.tracking.keys import LONGEST_NAME, MODEL_NAME
from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.settings import Settings
from offsite.training.modality import JobPart
from offsite.workflows.jobs.modalities import modality_named
from offsite.workflows.jobs.yaml_settings import read_values, validate


class TrackingSettings(Settings):
    """Where results are shown."""

    uri: str | None = Field(
        None,
        description="MLflow store: sqlite:///path or http(s)://server; by default mlflow.db in"
        " the output folder",
    )
    experiment: str = Field("offsite", min_length=1, description="Name of the experiment")
    model: str = Field(
        "offsite",
        pattern=MODEL_NAME,
        max_length=LONGEST_NAME,
        description="Name of the model in the registry",
    )
    names_key: str = Field(
        "names.key",
        min_length=1,
        description="Key under which the registry keeps images and patients, relative to the"
        " configuration; made where there is none, and never sent",
    )

    @field_serializer("uri")
    def _to_keep(self, uri: str | None) -> str | None:
        """What is kept of a job beside its runs holds no password."""
        return None if uri is None else to_show(uri)


class CellSettings(Settings):
    """The runs of a job: each method x each held-out site x each seed is one."""

    methods: tuple[str, ...] = Field(
        (), description="Methods; none named = the one of the training settings"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Seeds")
    protocol: Literal["as_given", "leave_one_site_out", "single_source", "folds"] = Field(
        "as_given",
        description="Sites held out: those of splits; each in turn; or all but each in turn. folds:"
        " those of splits, and the other patients are tested in folds, each once",
    )
    folds: int = Field(5, ge=2, le=100, description="Folds of protocol folds")
    repeats: int = Field(
        1, ge=1, le=100, description="Divisions into folds of protocol folds, each a run of all"
    )
    divide_by_seed: bool = Field(
        False, description="Whether, with protocol folds, each seed divides the patients anew"
    )
    gpus: int = Field(0, ge=0, le=64, description="GPUs that a run of the workflow asks for")
    shards: int = Field(
        4, ge=1, le=10_000, description="Jobs of the workflow that the images are divided into"
    )


class DecisionSettings(Settings):
    """What a finding means for the patient."""

    name: str = Field(
        "positive", pattern=r"^[a-z][a-z0-9_]*$", description="What a positive case is called"
    )
    positive_classes: tuple[str, ...] = Field(
        (), description="Classes that call for referral; none named = all but the first"
    )
    urgent_classes: tuple[str, ...] = Field((), description="Classes that call for it urgently")
    sensitivity: float = Field(
        0.9, gt=0, lt=1, description="Sensitivity (0..1) that the threshold is chosen for"
    )
    ordinal: bool = Field(False, description="Whether the classes are grades, mild to severe")


class JobConfiguration(JobPart):
    """What every job has."""

    task: str
    title: str = Field("offsite", max_length=200, description="What the model is called")
    cohort: str = Field(description="Cohort table, relative to the configuration's folder")
    classes: tuple[str, ...] = Field(
        min_length=2, description="Class names in order (grades from mild to severe)"
    )
    output: str = Field(
        "output", description="Folder of results, relative to the configuration's folder"
    )
    reading: Limits = Field(Limits(), description="What reading one image may take")
    splits: SplitSettings = Field(SplitSettings(), description="Division of the patients")
    decision: DecisionSettings = Field(DecisionSettings(), description="What a finding means")
    evaluation: ReportSettings = Field(
        default_factory=ReportSettings, description="Tables, intervals and the report"
    )
    tracking: TrackingSettings = Field(TrackingSettings(), description="MLflow")
    cells: CellSettings = Field(CellSettings(), description="The runs of the job")

    @model_validator(mode="after")
    def _classes_agree(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class is named twice")
        named = {*self.decision.positive_classes, *self.decision.urgent_classes}
        if unknown := sorted(named - set(self.classes)):
            raise ValueError(f"decision names {', '.join(unknown)}, which is not a class")
        return self

    @model_validator(mode="after")
    def _folds_select_an_epoch(self) -> Self:
        if self.cells.protocol == "folds" and self.training.fit.averaging == "swad":
            raise ValueError(
                "averaging 'swad' chooses its steps by validation patients, and the refit of protocol"
                " folds has none: use ema or none"
            )
        return self

    @model_validator(mode="after")
    def _methods_can_be_trained(self, info: ValidationInfo) -> Self:
        if (info.context or {}).get("trained"):
            return self
        for method in self.cells.methods or (self.training.method,):
            self.training.check_method(method, len(self.classes))
        return self

    @property
    def positive_classes(self) -> tuple[str, ...]:
        """Classes that call for referral."""
        return self.decision.positive_classes or self.classes[1:]

    def report_settings(self) -> ReportSettings:
        """Return the evaluation's settings; the decision is a task unless tasks are named."""
        if self.evaluation.metrics.tasks:
            return self.evaluation
        task = TaskSettings(
            positive_classes=self.positive_classes, target_sensitivity=self.decision.sensitivity
        )
        metrics = self.evaluation.metrics.model_copy(update={"tasks": {self.decision.name: task}})
        return self.evaluation.model_copy(update={"metrics": metrics, "title": self.title})


Configuration = JobConfiguration


@cache
def configuration_model(task: str) -> type[JobConfiguration]:
    """Return the model of the configurations of one modality: what every job has, and its part.

    Raises
    ------
    InputError
        See `offsite.workflows.jobs.modalities.modality_named`.
    """
    modality = modality_named(task)
    named: Any = Literal[modality.name]
    composed: Any = create_model
    model: type[JobConfiguration] = composed(
        f"{task.capitalize()}Configuration",
        __base__=(modality.job_part, JobConfiguration),
        __doc__=modality.job_part.__doc__,
        task=(named, Field(description=modality.reads.capitalize())),
    )
    return model


def load_configuration(path: str | Path, overrides: Sequence[str] = ()) -> Configuration:
    """Read and check a configuration; see :func:`offsite.workflows.jobs.yaml_settings.load_settings`."""
    file = Path(path)
    return validate_configuration(read_values(file, overrides), file)


def validate_configuration(
    values: dict[str, Any], file: Path, *, trained: bool = False
) -> Configuration:
    """Check a configuration that was read from ``file``.

    Of a run that is done (``trained``) the methods are not asked whether they can be trained: an earlier
    version had other rules, and its run is evaluated all the same.
    """
    try:
        model = configuration_model(str(values.get("task")))
    except InputError as error:
        raise InputError(
            f"task is {values.get('task')!r}: {error.problem}",
            file=file,
            remedy=error.remedy,
            code=error.code,
        ) from error
    return validate(values, model, file, trained=trained)
