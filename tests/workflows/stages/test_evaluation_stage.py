"""The evaluation of a run: also of one that an earlier version trained."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.files import read_json, write_json
from offsite.workflows.cli import app
from offsite.workflows.jobs.configuration import validate_configuration
from offsite.workflows.stages.evaluation import RETIRED, configuration_of, evaluate_run
from offsite.workflows.stages.training import CONFIGURATION
from tests.workflows.run_files import write_run


def test_a_run_whose_method_could_not_be_trained_so_today_is_evaluated(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1.0)
    values = read_json(run / CONFIGURATION)
    values["training"] |= {"method": "sc_mil"}
    values["training"]["model"]["loss"] |= {"kind": "balanced_softmax"}
    with pytest.raises(InputError, match="by its loss"):
        validate_configuration(values, run / CONFIGURATION)
    write_json(run / CONFIGURATION, values)
    assert configuration_of(run).training.model.loss.kind == "balanced_softmax"


def test_settings_that_nothing_reads_any_more_do_not_stop_an_earlier_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1.0)
    now = configuration_of(run)
    values = read_json(run / CONFIGURATION)
    for *groups, name in RETIRED:
        group = values
        for key in groups:
            group = group[key]
        assert name not in group
        group[name] = 7
    write_json(run / CONFIGURATION, values)
    assert configuration_of(run) == now
    assert evaluate_run(run).report.is_file()


def test_a_run_is_measured_by_its_settings_or_by_the_job_s_of_today(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1.0)
    (tmp_path / "cohort.csv").write_text("image,patient,site,label\n")
    recorded = read_json(run / CONFIGURATION)
    values = {name: recorded[name] for name in ("task", "cohort", "classes", "evaluation")}
    values["evaluation"]["metrics"]["resamples"] = 120
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(values))
    before = read_json(evaluate_run(run).folder / "evaluation.json")["settings"]
    assert before["metrics"]["resamples"] == 100
    command = ["evaluate", str(run), "--job", str(tmp_path / "job.yaml"), "--set", "title=today"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    record = read_json(run / "evaluation" / "evaluation.json")
    assert (record["settings"]["metrics"]["resamples"], record["title"]) == (120, "today")
    assert read_json(run / CONFIGURATION)["evaluation"]["metrics"]["resamples"] == 120
    refused = CliRunner().invoke(app, ["evaluate", str(run), "--set", "title=today"])
    assert "is for tables" in refused.output
