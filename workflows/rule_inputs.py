"""What the workflow's rules ask of a job; plain functions, so that they are tested as such."""

from workflows.job import Job

STAGES = {"pathology": ("tile", "embed"), "retina": ("prepare",)}


def stages_of(job: Job) -> tuple[str, ...]:
    """Return the stages from images to what a model reads, in order."""
    return STAGES[job.configuration.task]


def images_of_part(job: Job, part: int, parts: int) -> list[str]:
    """Return the images of one shard and the cohort's table, as absolute paths.

    Images that do not exist are left out: the stage gives each of them a row with the reason.
    """
    paths = job.cohort.image_paths()[part - 1 :: parts]
    return [str(job.cohort.path), *(str(path.absolute()) for path in paths if path.exists())]


def cell_markers(job: Job) -> list[str]:
    """Return the marker of each trained run."""
    return [f"workflow/trained/{cell.name}.done" for cell in job.cells()]
