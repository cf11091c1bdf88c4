"""From a run to the champion: what is compared and judged is what was registered."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.gate.verdict import GateVerdict
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.tracking.champion import champion_of
from offsite.evaluation.tracking.kept_predictions import KEY, PREDICTIONS, kept_predictions
from offsite.evaluation.tracking.registry import find_version
from offsite.evaluation.tracking.store import client_of
from offsite.evaluation.wording import number
from offsite.workflows.jobs.names_key import names_key
from offsite.workflows.package.folder import load_record
from offsite.workflows.stages.gate import pass_gate
from offsite.workflows.stages.registration import Registered, job_of, register
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
    key = names_key(job_of(run).names_key_path, make=False)
    found = kept_predictions(store, "graded", "1", wanted, key)
    assert found is not None
    rows = predictions(2.0).query("split == 'test'")
    assert list(found.table["image"]) == list(rows["image"])
    assert list(found.table["patient"]) == list(rows["patient"])
    file = kept_file(tmp_path, store)
    assert b"north-test-1" not in file.read_bytes()
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(InputError, match="not those that were kept"):
        kept_predictions(store, "graded", "1", wanted, key)


def kept_file(folder: Path, store: str) -> Path:
    """The predictions that the store keeps of the first version."""
    tag = find_version(client_of(store), "models:/graded/1").tags[PREDICTIONS]
    (file,) = (folder / "mlartifacts").rglob(f"predictions-{tag[:12]}/*.parquet")
    return file


def test_names_in_the_store_are_not_found_by_trying_them_all(tmp_path: Path, store: str) -> None:
    run = write_run(tmp_path / "run", 2.0)
    register(run, "graded", store, "test")
    kept = pd.read_parquet(kept_file(tmp_path, store))
    tried = {
        hashlib.new(kind, name.encode()).hexdigest()[:32]
        for name in {*predictions(2.0)["patient"], *predictions(2.0)["image"]}
        for kind in ("sha256", "sha1", "md5", "blake2b")
    }
    assert tried.isdisjoint({*kept["patient"], *kept["image"]})
    key = job_of(run).names_key_path
    assert key.stat().st_mode & 0o777 == 0o600
    secret = key.read_text().strip()
    everything = [path for path in tmp_path.rglob("*") if path.is_file() and path != key]
    assert len(everything) > 10
    assert [path for path in everything if secret.encode() in path.read_bytes()] == []


def test_a_gate_without_the_key_refuses_and_says_where_it_lies(
    tmp_path: Path, store: str, gated: Callable[[Path], tuple[Registered, GateVerdict]]
) -> None:
    run = write_run(tmp_path / "run", 2.0)
    gated(run)
    key = job_of(run).names_key_path
    secret = key.read_text()
    write_run(run, 4.0)
    for other in (None, "ab" * 32):
        register(run, "graded", store, "test")
        key.unlink()
        if other:
            key.write_text(other)
        with pytest.raises(InputError, match="kept under a key") as caught:
            pass_gate(run, "graded", "2", store, tmp_path / "gate.yaml")
        assert "tracking.names_key" in str(caught.value)
        key.write_text(secret)
    assert gated(run)[1].passed
    key.write_text("not a key")
    with pytest.raises(InputError, match="64 hexadecimal"):
        gated(run)


def test_what_earlier_versions_kept_is_still_compared(tmp_path: Path, store: str) -> None:
    from offsite.evaluation.predictions.table import load_predictions

    run = write_run(tmp_path / "run", 2.0)
    register(run, "graded", store, "test")
    table = pd.read_parquet(kept_file(tmp_path, store))
    rows = predictions(2.0).query("split == 'test'")
    for column in ("image", "patient"):
        table[column] = [hashlib.sha256(n.encode()).hexdigest()[:32] for n in rows[column]]
    earlier = tmp_path / "predictions.parquet"
    table.to_parquet(earlier, index=False)
    digest = hashlib.sha256(earlier.read_bytes()).hexdigest()
    client = client_of(store)
    run_id = str(client.get_model_version("graded", "1").run_id)
    client.log_artifact(run_id, str(earlier), f"predictions-{digest[:12]}")
    client.set_model_version_tag("graded", "1", PREDICTIONS, digest)
    client.delete_model_version_tag("graded", "1", KEY)
    found = kept_predictions(store, "graded", "1", load_predictions(run), None)
    assert found is not None
    assert list(found.table["patient"]) == list(rows["patient"])


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
    running = {name: content[name] for name in ("key", "written")} | {"status": "running"}
    record.write_text(json.dumps(running))
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
