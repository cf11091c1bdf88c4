"""From a run to the champion: what is compared and judged is what was registered."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.gate.verdict import GateVerdict
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.tracking.champion import champion_of
from offsite.evaluation.tracking.kept_predictions import PREDICTIONS, kept_predictions
from offsite.evaluation.tracking.registry import find_version
from offsite.evaluation.tracking.store import client_of
from offsite.evaluation.wording import number
from offsite.workflows.package.folder import load_record
from offsite.workflows.stages.gate import pass_gate
from offsite.workflows.stages.registration import Registered, register
from tests.workflows.run_files import predictions, write_cell, write_run

NOT_WORSE = "rules:\n  - {rule: non_inferiority, metric: accuracy, margin: 0.02}\n"


@pytest.fixture
def gated(tmp_path: Path, store: str) -> Callable[[Path], tuple[Registered, GateVerdict]]:
    """Register a run and judge it against the champion."""
    rules = tmp_path / "gate.yaml"
    rules.write_text(NOT_WORSE)

    def done(run: Path) -> tuple[Registered, GateVerdict]:
        registered = register(run, "graded", store, "test")
        return registered, pass_gate(run, "graded", registered.version, store, rules)

    return done


def test_a_worse_run_in_the_champions_folder_is_refused(
    tmp_path: Path, store: str, gated: Callable[[Path], tuple[Registered, GateVerdict]]
) -> None:
    run = write_run(tmp_path / "run", 2.0)
    _, first = gated(run)
    assert first.passed
    _, again = gated(run)
    assert "is the champion itself" in again.rules[0].sentence
    write_run(run, 0.5)  # trained anew with other settings: the folder is the same
    worse, verdict = gated(run)
    assert worse.version == "2"
    assert not verdict.passed
    assert verdict.rules[0].sites == ("north", "south")
    assert champion_of(store, "graded") == "1"


def test_a_champion_whose_predictions_are_gone_is_no_reason_to_pass(
    tmp_path: Path, store: str, gated: Callable[[Path], tuple[Registered, GateVerdict]]
) -> None:
    run = write_run(tmp_path / "run", 2.0)
    gated(run)
    client_of(store).delete_model_version_tag("graded", "1", PREDICTIONS)
    write_run(run, 4.0)
    _, verdict = gated(run)
    assert not verdict.passed
    assert "register its run again where it still stands" in verdict.rules[0].sentence


def test_the_store_keeps_test_rows_without_names_and_notices_a_change(
    tmp_path: Path, store: str
) -> None:
    from offsite.evaluation.predictions.table import load_predictions

    run = write_run(tmp_path / "run", 2.0)
    register(run, "graded", store, "test")
    wanted = load_predictions(run)
    found = kept_predictions(store, "graded", "1", like=wanted)
    assert found is not None
    rows = predictions(2.0).query("split == 'test'")
    assert list(found.table["image"]) == list(rows["image"])
    assert list(found.table["patient"]) == list(rows["patient"])
    tag = find_version(client_of(store), "models:/graded/1").tags[PREDICTIONS]
    (file,) = (tmp_path / "mlartifacts").rglob(f"predictions-{tag[:12]}/*.parquet")
    assert b"north-test-1" not in file.read_bytes()
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(InputError, match="not those that were kept"):
        kept_predictions(store, "graded", "1", like=wanted)


def test_tables_of_other_decision_rules_or_half_made_ones_are_not_registered(
    tmp_path: Path, store: str
) -> None:
    run = write_run(tmp_path / "run", 2.0)
    register(run, "graded", store, "test")
    record = run / "evaluation" / "evaluation.json"
    before = json.loads(record.read_text())["key"]
    write_cell(run, decision={"positive_classes": ["high"]})  # as a training that has nothing to do
    made = register(run, "graded", store, "test")
    assert json.loads(record.read_text())["key"] != before
    positive = {
        one.n_positive for one in load_record(made.package)[0].results
        if one.site == "south" and one.metric == "positive/auroc"
    }  # fmt: skip
    assert positive == {30}
    content = json.loads(record.read_text())
    table = (run / "evaluation" / "per_site.csv").read_bytes()
    record.write_text(json.dumps({"status": "running", "key": content["key"]}))
    (run / "evaluation" / "per_site.csv").write_text("")  # killed while it was made
    register(run, "graded", store, "test")
    assert json.loads(record.read_text())["status"] == "done"
    assert (run / "evaluation" / "per_site.csv").read_bytes() == table


def test_the_gate_judges_the_threshold_that_the_package_carries(tmp_path: Path, store: str) -> None:
    settings = {"parts": ["operating_points"], "metrics": {"resamples": 100}}
    decision = {"positive_classes": ["high"]}
    run = write_run(tmp_path / "run", 2.0, evaluation=settings, decision=decision)
    made = register(run, "graded", store, "test")
    point = load_record(made.package)[0].profiles["_pooled"].referral
    table = pd.read_csv(run / "evaluation" / "operating_points.csv")
    found = table[(table["metric"] == "sensitivity") & (table["site"] == "_chosen")]
    measured = found.set_index("rule")["value"]
    assert point is not None
    assert point.sensitivity is not None
    assert measured[PACKAGED] == pytest.approx(point.sensitivity.value)
    assert measured["confident"] > measured[PACKAGED]
    rules = tmp_path / "gate.yaml"
    rules.write_text(
        "rules:\n  - {rule: threshold_transfer, task: positive, sites: held_out, gap_at_most: 0}\n"
    )
    verdict = pass_gate(run, "graded", made.version, store, rules)
    here = table[(table["metric"] == "transfer_gap") & (table["site"] == "south")]
    gaps = here.set_index("rule")["value"]
    assert number(gaps["confident"]) != number(gaps[PACKAGED])
    assert f"south misses {number(gaps[PACKAGED])} more than promised" in verdict.rules[0].sentence
