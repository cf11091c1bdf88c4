"""Frozen first stages see each copy of a photograph once; the rest of the trunk is trained."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.retina.by_steps import batch_source
from offsite.retina.inference import grade, load_fundus_model
from offsite.retina.methods import METHODS
from offsite.retina.networks.backbones import build_backbone
from offsite.retina.partly_frozen_run import PartlyFrozenRun
from offsite.retina.photographs.batches import normalised
from offsite.retina.photographs.kept_maps import KeptMaps
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.photographs.source import KeptMapLoader
from offsite.retina.settings import BackboneSettings, RetinaSettings
from offsite.retina.training import train_retina
from offsite.training.trunk.weights import trunk_state
from tests.retina.cut_off import same_bits_after_a_cut

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


def settings(method="erm", frozen=3, norms=True, **more):
    return RetinaSettings.model_validate(
        {
            "method": method, "batch_size": 16, "deco": {"alignment": 0.0, "warmup": 0.3},
            "backbone": {"name": "efficientnet-lite0", "frozen_stages": frozen,
                         "frozen_copies": 2, "frozen_norms": norms},
            "fit": {"epochs": 3, "learning_rate": 1e-3, "device": "cpu", "prefetch": 0,
                    **more.pop("fit", {})}, **more,
        }
    )  # fmt: skip


def backbone(frozen, norms=False, split_after=3):
    return build_backbone(
        BackboneSettings(
            name="efficientnet-lite0", frozen_stages=frozen, frozen_norms=norms,
            split_after=split_after,
        )
    )  # fmt: skip


def begun(prepared, tmp_path, method="erm", **more):
    """A run that has read its maps, and its algorithm."""
    cohort = prepared.split("corran")
    photographs = select_photographs(cohort, prepared.folder, 1.0)
    run = PartlyFrozenRun(cohort, photographs, settings(method, **more), prepared.folder)
    return run, run.begun(METHODS[method])


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "partly"
    chosen = settings(fit={"epochs": 10})
    return folder, train_retina(prepared.split("corran"), prepared.folder, chosen, folder)


@pytest.mark.parametrize("frozen", [1, 2, 3, 4])
def test_maps_and_photographs_go_the_same_way(frozen):
    found = backbone(frozen).eval()
    pixels = normalised(PICTURES)
    maps = found.front(pixels)
    for part in (found.early, found):
        assert torch.equal(part(maps), part(pixels))
    whole = backbone(0).eval()
    torch.testing.assert_close(found(pixels), whole(pixels), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.reader()(pixels), maps, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("frozen", "norms"), [(3, False), (2, True), (0, True)])
def test_a_step_moves_what_is_trained_and_nothing_else(frozen, norms):
    found = backbone(frozen, norms).train()
    before = {name: tensor.clone() for name, tensor in found.state_dict().items()}
    wanted = {name for name, p in found.named_parameters() if p.requires_grad}
    optimiser = torch.optim.SGD((p for p in found.parameters() if p.requires_grad), lr=0.1)
    found(normalised(PICTURES)).square().mean().backward()
    optimiser.step()
    changed = {name for name, t in found.state_dict().items() if not torch.equal(t, before[name])}
    parameters = dict(found.named_parameters())
    moved = {name for name in changed if name in parameters}
    assert moved <= wanted
    assert {"net.top.0.weight", "net.stages.3.0.path.0.0.weight"} <= moved
    statistics = {name.split(".")[2] for name in changed if name.endswith("running_mean")}
    assert statistics == (set() if norms else {"3", "4", "5", "6", "1"})  # "1": of the top layer
    of_front = ("net.stem", "net.stages.0.", "net.stages.1.", "net.stages.2.")
    assert not [name for name in changed if frozen == 3 and name.startswith(of_front)]


def test_a_run_trains_the_rest_and_answers_as_its_weights_do(trained, prepared):
    folder, table = trained
    losses = [json.loads(line)["losses"]["loss"] for line in (folder / "curves.jsonl").open()]
    assert losses[-1] < 0.9 * losses[0]
    architecture = json.loads((folder / "run.json").read_text())["facts"]["architecture"]
    network = load_fundus_model(folder / "weights.safetensors", architecture)
    state = network.backbone.net.state_dict()
    for name, tensor in trunk_state().items():
        front = name.startswith(("stem.", "stages.0.", "stages.1.", "stages.2."))
        if front or name.endswith(("running_mean", "running_var")):
            np.testing.assert_array_equal(state[name], tensor, err_msg=name)
    assert not torch.equal(state["top.0.weight"], trunk_state()["top.0.weight"])
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    graded = grade(network, photographs.store.pixels, len(table), batch=7)
    probabilities = table[[f"prob_{name}" for name in GRADES]].to_numpy()
    np.testing.assert_allclose(graded.probabilities, probabilities, atol=1e-5)


def test_validation_sees_what_the_network_sees_of_the_photographs(prepared, tmp_path):
    run, algorithm = begun(prepared, tmp_path)
    algorithm.eval()
    rows = run.photographs.rows("val")
    with torch.no_grad():
        seen = algorithm.backbone(run._kept.maps(rows, "none", [0] * len(rows)))
        plain = algorithm.backbone(normalised(run.photographs.store.pixels(rows)))
    torch.testing.assert_close(seen, plain, rtol=0, atol=2e-2)  # kept in half precision
    assert set(run._validator()(algorithm, 0)) >= {"auc", "kappa", "loss"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_on_kept_maps(prepared, tmp_path, method):
    run, algorithm = begun(prepared, tmp_path, method)
    source = batch_source(
        METHODS[method], run.photographs, run.settings, run.loader(METHODS[method])
    )
    batch = next(source.batches(2))
    assert batch.pixels.shape[1:] == (40, 4, 4)
    losses = algorithm.train().step(batch, 0.5)
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    moved = [name for name, p in algorithm.named_parameters() if p.grad is not None]
    assert any(name.startswith("backbone.net.stages.3") for name in moved)
    assert not any(name.startswith("backbone.net.stages.2") for name in moved)


@pytest.mark.parametrize("frozen", [1, 2, 3, 4])
def test_mixstyle_mixes_behind_frozen_stages(prepared, tmp_path, frozen):
    run, algorithm = begun(prepared, tmp_path, "mixstyle", frozen=frozen,
                           backbone={"name": "efficientnet-lite0", "frozen_stages": frozen,
                                     "frozen_copies": 1, "split_after": 3, "frozen_norms": True},
                           general={"kind": "mixstyle", "probability": 1.0})  # fmt: skip
    loader = run.loader(METHODS["mixstyle"])
    batch = loader.training_batch(np.arange(12), 0, np.zeros(12, int))
    algorithm.train()
    plain = algorithm.backbone(batch.pixels)
    for mixer in algorithm.mixers:
        mixer.eval()
    assert not torch.allclose(plain, algorithm.backbone(batch.pixels), atol=1e-3)


def test_each_copy_is_read_once_for_all_runs(prepared, tmp_path, monkeypatch, trained):
    monkeypatch.setattr(KeptMaps, "_maps", lambda *_: pytest.fail("read again"))
    for method, seed in (("swap", 0), ("coral", 3)):
        chosen = settings(method, fit={"epochs": 1, "seed": seed})
        train_retina(prepared.split("corran"), prepared.folder, chosen, tmp_path / method)


def test_copies_differ_and_are_drawn_by_epoch(prepared, tmp_path):
    run, _ = begun(prepared, tmp_path)
    rows = run.photographs.rows("train")[:5]
    first, other = (run._kept.maps(rows, "standard", [copy] * 5) for copy in (0, 1))
    assert not torch.equal(first, other)
    loader = run.loader(METHODS["erm"])
    drawn = [loader.training_batch(np.arange(5), e, np.zeros(5, int)).pixels for e in range(6)]
    for maps in drawn:
        for item, (a, b) in zip(maps, zip(first, other, strict=True), strict=True):
            assert torch.equal(item, a) or torch.equal(item, b)
    assert any(not torch.equal(drawn[0], maps) for maps in drawn)


def test_a_killed_reading_and_a_damaged_block_end_with_the_same_maps(
    prepared, tmp_path, monkeypatch
):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    front = backbone(3).reader()
    monkeypatch.setattr("offsite.retina.photographs.kept_maps._BLOCK", 7)
    rows = photographs.rows("train")

    def kept(folder):
        return KeptMaps(photographs, tmp_path / folder, front, "front")

    whole = kept("whole")
    whole.read(rows, "standard", 2)
    write, written = KeptMaps._write, []

    def dies(self, keys, maps):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(keys)
        write(self, keys, maps)

    monkeypatch.setattr(KeptMaps, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        kept("cut").read(rows, "standard", 2)
    monkeypatch.setattr(KeptMaps, "_write", write)
    block = next(kept("cut").folder.glob("*.h5"))
    block.write_bytes(block.read_bytes()[:200])
    again = kept("cut")
    again.read(rows, "standard", 2)
    for copy in (0, 1):
        copies = [copy] * len(rows)
        assert torch.equal(
            again.maps(rows, "standard", copies), whole.maps(rows, "standard", copies)
        )


def test_a_strangers_file_in_the_place_of_a_block_stays(prepared, tmp_path):
    import h5py

    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    kept = KeptMaps(photographs, tmp_path, backbone(3).reader(), "front")
    rows = photographs.rows("val")
    kept.read(rows, "none", 1)
    (block,) = kept.folder.glob("*.h5")
    block.unlink()
    with h5py.File(block, "w") as file:
        file["mine"] = [1, 2]
    with pytest.raises(InputError, match="did not write"):
        KeptMaps(photographs, tmp_path, backbone(3).reader(), "front").read(rows, "none", 1)
    with h5py.File(block) as file:
        assert list(file["mine"]) == [1, 2]


@pytest.mark.parametrize("name", ["erm", "deco"])
def test_a_run_cut_off_in_mid_epoch_ends_with_the_same_bits(prepared, tmp_path, monkeypatch, name):
    given = settings(name, fit={"checkpoint_every_steps": 1})
    assert same_bits_after_a_cut(prepared, tmp_path, monkeypatch, given, KeptMapLoader)


def test_half_precision_trains_on_kept_maps(prepared, tmp_path):
    chosen = settings("deco", fit={"epochs": 2, "precision": "bfloat16"})
    table = train_retina(prepared.split("corran"), prepared.folder, chosen, tmp_path / "run")
    assert np.isfinite(table[[f"prob_{name}" for name in GRADES]].to_numpy()).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"frozen_stages": 2},
        {"frozen_norms": True},
        {"name": "efficientnet-lite0", "frozen_stages": 2, "frozen": True},
        {"name": "efficientnet-lite0", "frozen_stages": 4, "split_after": 2},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError, match="frozen"):
        BackboneSettings.model_validate(wrong)
