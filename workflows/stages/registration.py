"""From an evaluated run to a version in the registry."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.tracking.kept_predictions import keep_predictions
from offsite.evaluation.tracking.keys import check_model_name
from offsite.evaluation.tracking.registry import register_package
from offsite.files import read_json
from offsite.locks import writing
from offsite.workflows.console.messages import say
from offsite.workflows.jobs.configuration import Configuration
from offsite.workflows.jobs.job import Job
from offsite.workflows.jobs.modalities import modality_named
from offsite.workflows.jobs.names_key import names_key
from offsite.workflows.package.making import ModelFacts, package_run
from offsite.workflows.package.schema import Name
from offsite.workflows.serving import served_types
from offsite.workflows.stages.evaluation import (
    configuration_of,
    evaluate_run,
    finished_run,
    judged_folder,
)
from offsite.workflows.stages.tracking import track_run
from offsite.workflows.stages.training import CELL
from offsite.workflows.stages.words_of_run import words_of_run

PACKAGE = "package"
RUN_FOLDER = "offsite.run_folder"


@dataclass(frozen=True)
class Registered:
    """A registered model version.

    Attributes
    ----------
    name, version : str
        Of the registered model.
    package : Path
        The model package that was registered.
    tracking_run : str
        MLflow run that shows how it was trained and measured.
    """

    name: str
    version: str
    package: Path
    tracking_run: str

    @property
    def address(self) -> str:
        """What `offsite predict --model` takes."""
        return f"models:/{self.name}/{self.version}"


def package(folder: str | Path) -> Path:
    """Make the model package of a run, in the run's folder.

    Its evaluation is brought up to date first; one that is leaves nothing to do. The package thus
    never carries numbers of other predictions or decision rules, nor of a half-made evaluation.

    Raises
    ------
    InputError
        The run is not finished, or its model could never be predicted with: what it reads cannot
        be made of new images.
    """
    path = Path(folder)
    finished_run(path)
    with writing(path):
        record, configuration = finished_run(path), configuration_of(path)
        _check_predictable(path, configuration, record["facts"])
        evaluation = evaluate_run(path)
        facts = model_facts(configuration, record["facts"]["architecture"])
        facts = replace(facts, words=words_of_run(path))
        return package_run(path, evaluation.folder, path / PACKAGE, facts)


def _check_predictable(path: Path, configuration: Configuration, facts: dict[str, Any]) -> None:
    """Refuse a run with whose model nothing could ever be predicted."""
    refusals = modality_named(configuration.task).refusals
    for fault in refusals(configuration, facts) if refusals else ():
        fault.file = fault.file or str(path)
        raise fault


def register(folder: str | Path, name: Name, uri: str, experiment: str) -> Registered:
    """Package a run, log it, and register it as a candidate; the same run is registered once.

    Its test predictions are kept with the version, for the comparison with later candidates.

    Raises
    ------
    InputError
        The name cannot be kept (said before anything is done), or the run is not finished.
    """
    check_model_name(name)
    path = Path(folder)
    say(f"[bold]register[/bold]  {read_json(path / CELL)['name']} as {name}")
    made = package(path)
    run_id = track_run(path, uri, experiment)
    record = finished_run(path)
    version = register_package(
        uri,
        name,
        made,
        run_id,
        outputs=served_types(configuration_of(path).classes),
        tags={
            "offsite.run": record["key"],
            "method": read_json(path / CELL)["method"],
            RUN_FOLDER: str(path.absolute()),
        },
    )
    key = names_key(job_of(path).names_key_path, make=True)
    assert key is not None
    keep_predictions(uri, name, version, load_predictions(judged_folder(path)), key)
    return Registered(name, version, made, run_id)


def best_run(job: Job) -> Path:
    """Return the finished run of the job's first method that did best on validation images.

    Raises
    ------
    InputError
        No run of the first method is finished.
    """
    first, *_ = reported = job.reported()
    cells = [c for c in reported if (c.method, c.held_out) == (first.method, first.held_out)]
    scores = {}
    for cell in cells:
        record = finished_run(job.run_folder(cell))
        scores[cell] = record["facts"].get("selection_score")
    sign = -1 if job.configuration.training.fit.mode == "min" else 1
    return job.run_folder(
        max(cells, key=lambda cell: float("-inf") if scores[cell] is None else sign * scores[cell])
    )


def job_of(folder: str | Path) -> Job:
    """Return the job that a run belongs to, with the configuration it was trained with."""
    path = Path(folder)
    finished_run(path)
    return Job(configuration_of(path), Path(read_json(path / CELL)["configuration"]))


def model_facts(configuration: Configuration, architecture: dict[str, Any]) -> ModelFacts:
    """Say what a package cannot read from the run's tables."""
    decision, modality = configuration.decision, modality_named(configuration.task)
    return ModelFacts(
        name=configuration.title,
        target=configuration.title,
        architecture_settings=architecture,
        ordinal=decision.ordinal,
        positive=configuration.positive_classes,
        urgent=decision.urgent_classes,
        sensitivity=decision.sensitivity,
        task=modality.reads,
        **modality.package_facts(configuration, architecture),
    )
