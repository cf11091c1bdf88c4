"""What the workflow's rules ask of a job; plain functions, so that they are tested as such."""

import os
from collections.abc import Callable
from dataclasses import replace

from offsite.files import digest_of
from offsite.training.cells import Cell
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages.evaluation import MEASURED_BY


def stages_of(job: Job) -> tuple[str, ...]:
    """Return the stages from images to what a model reads, in order."""
    return tuple(stage.name for stage in job.stages)


def before(job: Job, stage: str, part: int) -> list[str]:
    """Return what a shard of a stage waits for: the same shard before it, or its images.

    Images that do not exist are left out: the stage gives each of them a row with the reason. So
    are names with a brace, which Snakemake takes for wildcards whatever is done: see `braced`.
    """
    stages = stages_of(job)
    position = stages.index(stage)
    if position:
        return [f"workflow/{stages[position - 1]}-{part}.done"]
    return [name for name in _images(job, part) if "{" not in name]


def braced(job: Job, part: int) -> str:
    """Return a digest of the files of a shard whose names hold a brace, "" where there are none.

    It stands among the parameters of the rule, so that a change to them redoes the shard as a
    change to any other image does.
    """
    names = [name for name in _images(job, part) if "{" in name]
    stats = [os.stat(name) for name in names]  # noqa: PTH116 -- text, as below
    marks = [[stat.st_size, stat.st_mtime_ns] for stat in stats]
    return digest_of([names, marks])[:16] if names else ""


def _images(job: Job, part: int) -> list[str]:
    """The table and those images of a shard that exist."""
    # Text, and this shard's rows alone: at ten thousand slides a path object for each image and
    # shard is what planning the workflow would cost.
    folder = job.cohort.path.parent.absolute()
    shards = job.configuration.cells.shards
    if not job.configuration.reads_images():
        paths = [str(path) for path in job.files_read[part - 1 :: shards]]
    else:
        images = job.cohort.table["image"].iloc[part - 1 :: shards]
        paths = [os.path.join(folder, image) for image in images]  # noqa: PTH118
    return [str(job.cohort.path), *filter(os.path.exists, paths)]


def trained_before(job: Job, cell: Cell) -> list[str]:
    """Return the markers that a run waits for: of all images, and of a refit those of its folds."""
    folds = [
        one.name
        for one in job.cells()
        if cell.joins and not one.ships and one == replace(cell, fold=one.fold)
    ]
    images = [f"workflow/{stage}.done" for stage in stages_of(job)]
    return [*images, *(f"workflow/trained/{name}.done" for name in folds)]


def everything(job: Job) -> list[str]:
    """Return the marker or result of every job of the workflow.

    All of them are asked for, not the last alone: where a job failed, Snakemake would else see
    what once followed from it, older and of other settings, and have nothing to do.
    """
    stages, shards = stages_of(job), range(1, job.configuration.cells.shards + 1)
    cells = [cell.name for cell in job.cells()]
    return [
        *(f"workflow/{stage}-{part}.done" for stage in stages for part in shards),
        *(f"workflow/{stage}.done" for stage in stages),
        *(f"workflow/trained/{cell}.done" for cell in cells),
        *(f"runs/{cell.name}/evaluation/report.html" for cell in job.reported()),
        *(f"workflow/{name}" for name in ("tracked.done", "compared.done", "registered.txt")),
    ]


def more_memory(first_mb: int) -> Callable[..., int]:
    """Return a resource that doubles with each attempt."""

    def memory(wildcards: object, attempt: int) -> int:
        return int(first_mb * 2 ** (attempt - 1))

    return memory


def settings_of(job: Job, stage: str) -> str:
    """Return a digest of the settings that a stage's result depends on.

    It stands among the parameters of the rule, so that a changed setting redoes the stages that it
    concerns and no others.
    """
    of_images = {one.name: one.settings for one in job.stages}
    concerned = {
        **of_images,
        "train": ("classes", "splits", "training"),
        "evaluate": MEASURED_BY,
    }[stage]
    settings = job.configuration.model_dump(mode="json")
    kept = settings["evaluation"]["by"] if stage == "train" else ()  # columns in the predictions
    folds = []
    if stage == "train" and settings["cells"]["protocol"] == "folds":
        folds = [settings["cells"][name] for name in ("folds", "repeats", "divide_by_seed")]
    return digest_of([{name: settings[name] for name in concerned}, *kept, *folds])[:16]
