"""The evaluation of a run: also of one that an earlier version trained."""

from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.files import read_json, write_json
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
