"""The training of one run of a job, whatever its modality."""

from pathlib import Path
from typing import Any

import pandas as pd

from offsite.files import read_json, write_json
from offsite.locks import writing
from offsite.training.carried_columns import carry_columns
from offsite.training.cells import Cell
from offsite.training.run_folder import EXCLUDED, NOT_TRAINED_ON, RECORD
from offsite.workflows.console.messages import say
from offsite.workflows.jobs.dividing import split_of
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages.folds import join_folds, trained_folds

CONFIGURATION = "configuration.json"
CELL = "cell.json"


def train(job: Job, cell: Cell) -> Path:
    """Train one run and write its predictions; a finished one is left as it is.

    Beside what the modality's room writes (docs/architecture.md, "Run folder") it gets
    ``configuration.json`` and ``cell.json``, and its predictions the columns that the evaluation
    groups by: every later stage needs the run's folder alone.

    The refit of a cross-validation trains on all patients for as many epochs as its folds selected,
    and joins what they say of the patients that each had not seen
    (`offsite.workflows.stages.folds`).

    Raises
    ------
    InputError
        A fold is not trained, or was trained with other settings; the images were made with other settings (code ``other_settings``), or as the modality's
        training says.
    """
    # It loads torch, which the stages that only read a run do without.
    from offsite.training.devices import distributed

    job.modality.check_inputs(job)
    folder = job.run_folder(cell)
    settings = job.configuration.training
    distributed.join(settings.fit.device)
    say(f"[bold]train[/bold]     {cell.name}")
    fit = settings.fit.model_copy(update={"seed": cell.seed})
    of_cell = settings.model_copy(update={"method": cell.method, "fit": fit})
    divided = split_of(job, cell)
    folds = trained_folds(job, cell, of_cell) if cell.joins else None
    if folds is not None:
        fit = fit.model_copy(update={"stop_after": folds.epochs})
        of_cell = of_cell.model_copy(update={"fit": fit})
    with writing(folder):
        job.modality.train(job, divided, of_cell, folder)
        if distributed.rank_and_world()[0] == 0:
            carry_columns(folder, divided.table, job.configuration.evaluation.by)
            if folds is not None:
                join_folds(folder, folds)
            facts = read_json(folder / RECORD)["facts"]
            _tell_features(facts.get("features"), folder)
            _tell_weak_classes(facts)
            if (folder / "draws.json").is_file():  # a head in closed form draws no batches
                _tell_draws(read_json(folder / "draws.json"))
            _write_origin(job, cell, folder)
    return folder


def _write_origin(job: Job, cell: Cell, folder: Path) -> None:
    """Write what later stages need of the job, so that they need the run's folder alone."""
    write_json(folder / CONFIGURATION, job.configuration.model_dump(mode="json"))
    write_json(
        folder / CELL,
        {**cell.record(), "configuration": str(job.file)},
    )


def _tell_draws(report: dict[str, Any]) -> None:
    """Say how the batches drew the classes, and warn where they were corrected for twice."""
    drawn = ", ".join(
        f"{cell['cell']} {cell['natural_share']:.0%} of the items, {cell['drawn_share']:.0%} drawn"
        for cell in report["cells"]
    )
    say(f"draws     {drawn}")
    if report["warning"]:
        say(f"[yellow]warning[/yellow]   {report['warning']}")


def _tell_features(told: dict[str, Any] | None, folder: Path) -> None:
    """Say what the features of another tool were taken for, and which slides have none."""
    from rich.markup import escape

    if not told:
        return
    layouts = ", ".join(f"{name} {count}" for name, count in told["layouts"].items())
    said = (
        f"{told['encoder']['label']}, {told['dimensions']:,} numbers a tile; laid out as {layouts}"
    )
    if told["files_of_no_slide"]:
        said += f"; {told['files_of_no_slide']} files of no slide ({', '.join(told['such_files'])})"
    say(f"features  {escape(said)}")
    listed = pd.read_csv(folder / EXCLUDED, dtype=str, keep_default_na=False)
    left_out = listed[listed["status"] != NOT_TRAINED_ON]
    for code, rows in left_out.groupby("code"):
        first = f"{rows['slide'].iloc[0]}: {rows['message'].iloc[0]}"
        say(f"[yellow]left out[/yellow]  {len(rows)} {code} ({escape(first)})")


def _tell_weak_classes(facts: dict[str, Any]) -> None:
    """Warn of classes that hardly exist for the classifier."""
    from rich.markup import escape

    from offsite.training.geometry import weak_sentence

    items = facts.get("geometry", {}).get("train", {}).get("items", {})
    for name, strength in facts.get("weak_classes", {}).items():
        told = weak_sentence(name, strength, items.get(name, 0), items.values())
        say(f"[yellow]warning[/yellow]   {escape(told)}")
