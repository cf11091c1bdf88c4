"""The tissue words of a run, written into its job's output."""

from pathlib import Path
from typing import Any

from offsite.errors import InputError
from offsite.evaluation.tables.reading import table_text
from offsite.files import read_json
from offsite.locks import writing
from offsite.preprocessing.views import png
from offsite.training.encoders import LEAST_KEPT, LOOKED_AT, VOCABULARY_FILES, TissueWords
from offsite.workflows.console.messages import stage
from offsite.workflows.jobs.dividing import split_of
from offsite.workflows.jobs.modalities import encoder_of
from offsite.workflows.stages.evaluation import finished_run, job_of_run
from offsite.workflows.stages.training import CELL
from offsite.workflows.stages.words_of_run import (
    ARRAYS,
    FACTS,
    facts_of_words,
    folder_of_words,
    read_names,
)
from offsite.written import check_own, write_own, write_own_json


def write_vocabulary(
    run: Path, words: int, *, workers: int = 1, least: float = LEAST_KEPT
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
    bench, _ = encoder_of(job.modality, job.configuration, job.file)
    if bench.words is None:
        raise InputError(
            f"no words are told of {job.modality.reads}",
            file=run,
            remedy="Name a run of a modality whose encoders have words",
            code="no_words",
        )
    cell = read_json(run / CELL)
    divided = split_of(job, Cell.of_record(cell))
    folder = folder_of_words(run)
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
        arrays, before = save(found.arrays), facts_of_words(run)
        same = before is not None and (folder / ARRAYS).read_bytes() == arrays
        write_own(folder / ARRAYS, arrays)
        facts: dict[str, Any] = {"run": record["key"], "kept": found.kept, "judged": found.judged}
        facts["names"] = before["names"] if same and before else [""] * len(found.arrays["places"])
        write_own_json(folder / FACTS, facts)
    return folder / "words.csv", found


def name_words(run: Path, table: Path) -> Path:
    """Keep what people call the words of a run; return the path of ``words.csv``.

    Raises
    ------
    InputError
        Code ``no_words``: none were found of the run as it is; or see `read_names`.
    """
    finished_run(run)
    with writing(run):
        facts, folder = facts_of_words(run), folder_of_words(run)
        if facts is None:
            raise InputError(
                "no words were found of this run yet",
                file=run,
                remedy="Give `offsite encoder vocabulary` without --names first",
                code="no_words",
            )
        from safetensors.numpy import load

        words = len(load((folder / ARRAYS).read_bytes())["places"])
        write_own_json(folder / FACTS, facts | {"names": read_names(table, words)})
    return folder / "words.csv"
