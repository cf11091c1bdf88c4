"""A job: a configuration, the folder it lives in, and where each of its results goes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from offsite.errors import InputError
from offsite.evaluation.tracking.address import login_apart
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.training.cells import (
    Cell,
    Fold,
    divisions_of,
    experiment_cells,
    fold_named,
    folds_of,
)
from offsite.training.modality import ImageStage, Modality
from offsite.workflows.jobs.configuration import Configuration, load_configuration
from offsite.workflows.jobs.modalities import modality_named


@dataclass(frozen=True)
class Job:
    """A configuration and its place on disk.

    Attributes
    ----------
    configuration : Configuration
        The validated settings.
    file : Path
        The YAML file; relative paths in it start from its folder.
    """

    configuration: Configuration
    file: Path

    @classmethod
    def load(cls, file: str | Path, overrides: Sequence[str] = ()) -> "Job":
        """Read a job from its YAML file; see :func:`offsite.workflows.jobs.yaml_settings.load_settings`."""
        return cls(load_configuration(file, overrides), Path(file).absolute())

    @property
    def output(self) -> Path:
        """Folder of all results."""
        return self.file.parent / self.configuration.output

    @property
    def modality(self) -> Modality:
        """The kind of image that the job is of."""
        return modality_named(self.configuration.task)

    @property
    def stages(self) -> tuple[ImageStage, ...]:
        """The modality's stages that the job has, in order."""
        return self.modality.stages_of(self.configuration)

    @cached_property
    def files_read(self) -> list[Path]:
        """The file that is read for each row of the cohort: its image, or what stands in its place."""
        if self.configuration.reads_images() or self.modality.files_read is None:
            return self.cohort.image_paths()
        return self.modality.files_read(self)

    @property
    def tracking_uri(self) -> str:
        """The MLflow store, absolute and without a login."""
        uri = self.configuration.tracking.uri
        return login_apart(uri) if uri else f"sqlite:///{self.output / 'mlflow.db'}"

    @property
    def names_key_path(self) -> Path:
        """The key for names of images and patients in the registry."""
        return self.file.parent / self.configuration.tracking.names_key

    @property
    def cohort_path(self) -> Path:
        """The cohort table."""
        return self.file.parent / self.configuration.cohort

    @cached_property
    def cohort(self) -> Cohort:
        """The validated cohort."""
        return load_cohort(
            self.cohort_path,
            self.configuration.classes,
            images_named=self.configuration.reads_images(),
        )

    def with_cohort(self, cohort: Cohort) -> "Job":
        """Return the same job over another cohort than its table's; nothing is written."""
        other = replace(self)
        other.__dict__["cohort"] = cohort
        return other

    def cell(
        self,
        method: str | None = None,
        held_out: Sequence[str] | None = None,
        seed: int | None = None,
        fold: Fold | None = None,
    ) -> Cell:
        """Return one run; what is not named is the configuration's first."""
        first = self.cells()[0]
        return Cell(
            method=method or first.method,
            held_out=first.held_out if held_out is None else tuple(held_out),
            seed=first.seed if seed is None else seed,
            fold=fold or first.fold,
        )

    def chosen(
        self,
        method: str | None = None,
        held_out: Sequence[str] | None = None,
        seed: int | None = None,
        fold: str | None = None,
    ) -> list[Cell]:
        """Return the runs that are asked for: one, or with protocol folds all folds and the refit.

        Raises
        ------
        InputError
            Code ``no_folds`` (the job has none), or ``unknown_fold``.
        """
        wanted = self.configuration.cells
        one = self.cell(method, held_out, seed)
        if wanted.protocol == "folds":
            named = folds_of(wanted.folds, wanted.repeats)
            named = named if fold is None else [fold_named(fold, wanted.folds)]
            return [replace(one, fold=each) for each in named]
        if fold is not None:
            raise InputError(
                "the job has no folds",
                file=self.file,
                code="no_folds",
                remedy="Set cells.protocol to folds",
            )
        return [one]

    def cells(self) -> list[Cell]:
        """Return every run of the job, in the order of :func:`offsite.training.cells.experiment_cells`."""
        wanted = self.configuration.cells
        folds: Sequence[Fold | None] = (None,)
        if wanted.protocol == "folds":
            folds = folds_of(wanted.folds, wanted.repeats)
        if wanted.protocol == "as_given" or wanted.protocol == "folds":
            divisions = [self.configuration.splits.held_out_sites]
        else:
            divisions = divisions_of(wanted.protocol, self.cohort.sites)
        methods = wanted.methods or (self.configuration.training.method,)
        return experiment_cells(methods, divisions, wanted.seeds, folds)

    def reported(self) -> list[Cell]:
        """Return the runs that have a report: of a cross-validation the refit, which joins its folds."""
        return [cell for cell in self.cells() if cell.ships]

    def run_folder(self, cell: Cell) -> Path:
        """Return where a run lives."""
        return self.output / "runs" / cell.name
