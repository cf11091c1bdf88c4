"""The tissue words of a run, written into its job's output."""

from pathlib import Path

from offsite.errors import InputError
from offsite.evaluation.tables.reading import table_text
from offsite.files import read_json
from offsite.locks import writing
from offsite.preprocessing.views import png
from offsite.training.encoders import LOOKED_AT, VOCABULARY, VOCABULARY_FILES, TissueWords
from offsite.workflows.console.messages import stage
from offsite.workflows.jobs.modalities import bench_of
from offsite.workflows.stages.evaluation import finished_run, job_of_run
from offsite.workflows.stages.training import CELL, split_of
from offsite.written import check_own, write_own, write_own_json

LEAST = 0.5
"""Share of the log-odds that words must keep to be shown."""


def write_vocabulary(
    run: Path, words: int, *, workers: int = 1, least: float = LEAST
) -> tuple[Path, TissueWords]:
    """Find the words of a finished run; return the path of ``words.csv``, and what was found.

    The files of ``vocabulary/<run>/`` in the job's output are written when all is found.

    Parameters
    ----------
    words : int
        At most.
    least : float
        Share of the log-odds that they must keep.

    Raises
    ------
    InputError
        There is no finished run, its images pass no encoder, or as the modality says.
    """
    from safetensors.numpy import save

    from offsite.children.pool import Children
    from offsite.training.cells import Cell

    record, job = finished_run(run), job_of_run(run)
    bench = bench_of(job.modality, job.file)
    if bench.words is None:
        raise InputError(
            f"no words are told of {job.modality.reads}",
            file=run,
            remedy="Name a run of a modality whose encoders have words",
            code="no_words",
        )
    cell = read_json(run / CELL)
    divided = split_of(job, Cell(cell["method"], tuple(cell["held_out"]), cell["seed"]))
    folder = job.output / VOCABULARY / cell["name"]
    for name in VOCABULARY_FILES:
        check_own(folder / name)
    with writing(run), writing(folder):  # nobody may be taken out of the run meanwhile
        training = int((divided.table["split"] == "train").sum())
        total = min(LOOKED_AT, training)
        with (
            stage("look", total) as advance,
            Children(workers, job.configuration.reading) as children,
        ):
            found = bench.words(job, divided, run, words, least, children, advance)
        for name, table in found.tables.items():
            write_own(folder / f"{name}.csv", table_text(table))
        write_own(folder / "words.png", png(found.sheet))
        write_own(folder / "words.safetensors", save(found.arrays))
        facts = {"run": record["key"], "kept": found.kept, "judged": found.judged}
        write_own_json(folder / "vocabulary.json", facts)
    return folder / "words.csv", found
