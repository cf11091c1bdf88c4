import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from offsite.errors import InputError
from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.retina.by_steps import batch_source, build_algorithm
from offsite.retina.inference import grade, load_fundus_model
from offsite.retina.methods import LADDER, METHODS
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.photographs.source import PhotographLoader
from offsite.retina.settings import RetinaSettings
from offsite.retina.training import train_retina
from offsite.training.generalisation.names import ALGORITHMS
from tests.retina.cut_off import same_bits_after_a_cut


def settings(method="deco", **fit):
    return RetinaSettings.model_validate(
        {
            "method": method,
            "backbone": {"width": 4},
            "batch_size": 12,
            "deco": {"warmup": 0.4},
            "fit": {
                "epochs": 2, "learning_rate": 2e-3, "select_by": "auc", "mode": "max",
                "device": "cpu", "prefetch": 0, **fit,
            },
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "deco"
    table = train_retina(prepared.split("corran"), prepared.folder, settings(), folder)
    return folder, table


def test_a_run_writes_what_the_contract_names(run, prepared):
    folder, table = run
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "settings.json", "splits.parquet", "curves.jsonl", "weights.safetensors", "run.json",
        "predictions.parquet", "embeddings.npy", "logits.npy", "excluded.csv",
    }  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "done"
    by_stage = record["facts"]["geometry"]["val"]["nc1_by_stage"]
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    selected = lines[record["facts"]["selected_epoch"]]["scores"]
    assert by_stage == [selected[f"nc1_stage_{stage}"] for stage in range(5)]
    # The last stage's mean over the map is the embedding.
    assert by_stage[-1] == pytest.approx(selected["nc1"], rel=1e-3)
    assert table["image"].tolist() == prepared.cohort.table["image"].tolist()
    probabilities = table[[f"prob_{name}" for name in GRADES]].to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1)
    logits = np.load(folder / "logits.npy")
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.allclose(shares / shares.sum(axis=1, keepdims=True), probabilities, atol=1e-6)
    assert np.load(folder / "embeddings.npy").shape == (len(table), 32)
    held_out = table[table["site"] == "corran"]
    assert set(held_out["split"]) == {"test"}
    assert set(held_out["site_role"]) == {"held_out"}


def test_a_validation_set_that_lacks_a_grade_is_said_to(prepared, tmp_path, caplog):
    cohort = prepared.split("corran")
    table = cohort.table.copy()
    table.loc[(table["split"] == "val") & (table["label"] == GRADES[0]), "label"] = ""
    lacking = cohort.with_table(table)
    train_retina(lacking, prepared.folder, settings("erm", epochs=1), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
    assert GRADES[0] in facts["classes_not_validated"]
    assert f"no validation item is of class {GRADES[0]}" in caplog.text


def test_the_saved_weights_give_the_saved_predictions(run, prepared):
    folder, _ = run
    facts = json.loads((folder / "run.json").read_text())["facts"]
    network = load_fundus_model(folder / "weights.safetensors", facts["architecture"])
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    graded = grade(network, photographs.store.pixels, 7, batch=3)
    saved = np.load(folder / "logits.npy")
    assert np.allclose(graded.logits, saved[:7], atol=1e-5)


def test_held_out_labels_and_pixels_change_nothing_that_is_trained(run, prepared, tmp_path):
    folder, _ = run
    cohort = prepared.split("corran")
    table = cohort.table.copy()
    table.loc[table["site"] == "corran", "label"] = "none"
    train_retina(cohort.with_table(table), prepared.folder, settings(), tmp_path / "run")
    weights = [(path / "weights.safetensors").read_bytes() for path in (folder, tmp_path / "run")]
    assert weights[0] == weights[1]


def test_a_finished_run_is_read_back_and_another_seed_trains_anew(run, prepared):
    folder, table = run
    stamp = (folder / "weights.safetensors").stat().st_mtime_ns
    again = train_retina(prepared.split("corran"), prepared.folder, settings(), folder)
    pd.testing.assert_frame_equal(again, table)
    assert (folder / "weights.safetensors").stat().st_mtime_ns == stamp


def test_a_run_is_the_same_however_it_is_carried_out(prepared, tmp_path):
    first = build_algorithm(
        METHODS["erm"],
        select_photographs(prepared.split("corran"), prepared.folder, 1.0),
        settings("erm"),
        5,
    )
    files = [tmp_path / "here.safetensors", tmp_path / "there.safetensors"]
    for file in files:
        save_file(first.backbone.state_dict(), file)

    def chosen(weights, **changes):
        given = settings("erm", epochs=1, **changes.pop("fit", {})).model_dump()
        given["backbone"]["weights"] = weights
        return RetinaSettings.model_validate(given | changes)

    run = tmp_path / "run"
    train_retina(prepared.split("corran"), prepared.folder, chosen(files[0]), run)
    stamp = (run / "weights.safetensors").stat().st_mtime_ns
    other = chosen(files[1], resident_gib=0.0, fit={"prefetch": 2, "checkpoint_every_steps": 1})
    train_retina(prepared.split("corran"), prepared.folder, other, run)
    assert (run / "weights.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("name", ["group_dro", pytest.param("deco", marks=pytest.mark.slow)])
def test_a_run_cut_off_in_mid_epoch_ends_with_the_same_bits(prepared, tmp_path, monkeypatch, name):
    given = settings(name, checkpoint_every_steps=1)
    assert same_bits_after_a_cut(prepared, tmp_path, monkeypatch, given, PhotographLoader)


def test_every_method_starts_from_the_same_weights(prepared):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    first = {
        name: build_algorithm(METHODS[name], photographs, settings(name), 5).inference_state()
        for name in METHODS
    }
    reference = first["erm"]
    for state in first.values():
        for name in reference:
            assert torch.equal(state[name], reference[name])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_takes_a_step_on_its_own_batches(prepared, name):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    chosen = settings(name)
    algorithm = build_algorithm(METHODS[name], photographs, chosen, 5).train()
    source = batch_source(METHODS[name], photographs, chosen)
    for epoch in (0, 1):
        losses = algorithm.step(next(iter(source.batches(epoch))), epoch / 2)
        assert torch.isfinite(losses["loss"])
    losses["loss"].backward()


def test_methods_see_equally_many_anchors_an_epoch(prepared):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    anchors = {
        name: sum(
            len(batch.anchors)
            for batch in batch_source(METHODS[name], photographs, settings(name)).batches(1)
        )
        for name in ("erm", "control", "deco", "gdrnet")
    }
    assert set(anchors.values()) == {len(photographs.rows("train"))}


def test_the_control_draws_the_anchors_that_deco_draws(prepared):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    control, deco = (
        next(iter(batch_source(METHODS[name], photographs, settings(name)).batches(1)))
        for name in ("control", "deco")
    )
    assert deco.paired
    assert not control.paired
    assert torch.equal(control.pixels, deco.anchors.pixels)
    assert (deco.anchors.sites != deco.partners.sites).all()


def test_warm_up_epochs_hold_no_pairs(prepared):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    source = batch_source(METHODS["deco"], photographs, settings())
    assert [next(iter(source.batches(epoch))).paired for epoch in (0, 1)] == [False, True]


def test_batches_are_a_pure_function_of_the_epoch_and_start(prepared):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    source = batch_source(METHODS["deco"], photographs, settings())
    whole = list(source.batches(1))
    for late, again in zip(whole[1:], source.batches(1, start=1), strict=True):
        assert torch.equal(late.pixels, again.pixels)
    epochs = [next(iter(source.batches(epoch))).pixels for epoch in (1, 2)]
    assert not torch.equal(*epochs)


def test_one_training_site_trains(prepared, tmp_path):
    cohort = prepared.split("corran", "brightwater")
    table = train_retina(cohort, prepared.folder, settings(epochs=1), tmp_path / "run")
    assert len(table) == len(cohort.table)


def test_the_ladder_climbs_from_plain_training_to_deco():
    assert LADDER[0] == "erm"
    assert LADDER[-1] == "deco"
    assert set(LADDER) <= set(METHODS)
    assert tuple(METHODS)[: len(ALGORITHMS)] == tuple(ALGORITHMS)


def test_an_unknown_method_is_refused_with_the_names(prepared, tmp_path):
    with pytest.raises(InputError, match="control") as error:
        train_retina(prepared.split("corran"), prepared.folder, settings("dceo"), tmp_path)
    assert error.value.code == "unknown_method"


def test_pixels_are_read_alike_with_and_without_room_in_memory(prepared):
    cohort = prepared.split("corran")
    kept, read = (select_photographs(cohort, prepared.folder, gib) for gib in (1.0, 0.0))
    rows = np.array([3, 0, 3])
    assert np.array_equal(kept.store.pixels(rows), read.store.pixels(rows))
    assert read.store._kept.nbytes == 0


@pytest.mark.parametrize("head", ["corn", "grade"])
def test_ordinal_heads_train_and_keep_their_cut_points(prepared, tmp_path, head):
    chosen = settings("erm", epochs=1).model_copy(update={"head": head})
    table = train_retina(prepared.split("corran"), prepared.folder, chosen, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
    network = load_fundus_model(tmp_path / "run" / "weights.safetensors", facts["architecture"])
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    graded = grade(network, photographs.store.pixels, 4)
    names = [f"prob_{name}" for name in GRADES]
    assert np.allclose(graded.probabilities, table[names].to_numpy()[:4], atol=1e-5)
    if head == "grade":
        assert network.classifier.cuts.tolist() != [0.5, 1.5, 2.5, 3.5]


def test_the_table_of_methods_is_read_without_torch():
    code = (
        "import sys; from offsite.retina.methods import METHODS;"
        "from offsite.pathology.methods import METHODS as others;"
        "assert METHODS and others and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
