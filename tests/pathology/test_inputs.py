import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from offsite.errors import InputError
from offsite.pathology.bags import Bags, BagTable
from offsite.pathology.features.store import FeatureStore
from offsite.pathology.inference import describe, load_slide_model, predict_bag, predict_bags
from offsite.pathology.inputs import fit_inputs
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings
from offsite.pathology.training import network

WIDTH = 10


def slides(seed=0, count=24):
    """Slides whose rare class shows in a faint direction."""
    rng = np.random.default_rng(seed)
    lengths = np.geomspace(20, 0.2, WIDTH)
    turned = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    labels = np.repeat([0, 1], [count * 2 // 3, count // 3])
    rows = []
    for label in labels:
        drawn = rng.normal(size=(int(rng.integers(30, 60)), WIDTH)) * lengths
        drawn[:8, 7] += 10 * lengths[7] * label
        rows.append((drawn @ turned).astype(np.float16))
    return rows, labels


def stored(rows):
    count = len(rows)
    store = FeatureStore(
        slides=tuple(map(str, range(count))), features=np.concatenate(rows),
        coords=np.zeros((sum(map(len, rows)), 2), np.int64),
        offsets=np.concatenate([[0], np.cumsum([len(part) for part in rows])]),
        digest="", encoder="", encoder_digest="",
    )  # fmt: skip
    return store, tuple((number,) for number in range(count))


def fitted(settings, seed=0, patients=None):
    rows, labels = slides(seed)
    store, members = stored(rows)
    table = BagTable(store.slides, members, labels)
    given = ScMilSettings.model_validate(settings)
    return fit_inputs(store, table, patients or store.slides, given)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_what_the_network_reads_is_what_was_fitted(power):
    inputs = fitted({"inputs": "whitened", "directions": 6, "whitening_power": power})
    rows, labels = slides()
    model = network(WIDTH, labels, ScMilSettings(), 2, inputs)
    read = model.instances(torch.from_numpy(np.concatenate(rows)).float()).numpy()
    np.testing.assert_allclose(read, inputs.read(np.concatenate(rows)), rtol=1e-3, atol=1e-3)
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in rows])
    covariance = np.cov(read.T, aweights=weights, ddof=0)
    if power == 1.0:
        np.testing.assert_allclose(covariance, np.eye(6), atol=2e-3)
    np.testing.assert_allclose(np.diag(covariance).mean(), 1, atol=2e-3)
    assert inputs.facts["directions"] == 6
    assert 0.9 < inputs.facts["explained"] < 1


def test_auto_takes_what_tells_left_out_patients_better_and_says_both_losses():
    asked = {"inputs": "auto", "directions": 8}
    inputs = fitted(asked)
    assert inputs.facts["inputs"] == "whitened"
    assert len(inputs.directions) == 8
    assert inputs.facts["losses"]["whitened"] < inputs.facts["losses"]["none"]
    assert "left out" in inputs.facts["because"]
    assert fitted(asked).facts == inputs.facts
    told = fitted(asked, patients=["a"] * 16 + ["b"] * 8).facts
    assert told["inputs"] == "none"
    assert "one training patient" in told["because"]
    assert fitted({"inputs": "none"}).directions is None


def test_auto_leaves_instances_of_few_numbers_as_they_are_and_says_so():
    inputs = fitted({"inputs": "auto", "directions": WIDTH})
    assert inputs.directions is None
    assert inputs.facts["because"] == "10 numbers are no more than 10 directions"


def test_a_slide_whose_features_are_no_numbers_is_named_whatever_the_inputs():
    rows, labels = slides()
    rows[5][3, 2] = np.nan
    store, members = stored(rows)
    table = BagTable(store.slides, members, labels)
    for kind in ("none", "whitened", "auto"):
        with pytest.raises(InputError, match="training slide 5 has") as caught:
            fit_inputs(store, table, store.slides, ScMilSettings(inputs=kind))
        assert caught.value.code == "not_finite"
        assert caught.value.remedy


def test_one_bag_of_a_class_and_few_tiles_are_fitted_to_and_said():
    rows, _ = slides(count=4)
    store, members = stored([part[:5] for part in rows[:3]])
    table = BagTable(store.slides, members, np.array([0, 1, 2]))
    asked = ScMilSettings(inputs="auto", directions=9)
    facts = fit_inputs(store, table, store.slides, asked).facts
    assert facts["inputs"] == "none"
    assert "one training patient" in facts["because"]
    whitened = fit_inputs(
        store, table, store.slides, asked.model_copy(update={"inputs": "whitened"})
    )
    assert whitened.facts["note"] == "9 directions were asked for; 15 tiles carry 3"
    assert whitened.directions.shape == (3, WIDTH)


def test_a_constant_feature_is_read_as_nought_and_changes_nothing_else():
    rows, labels = slides()
    constant = [np.concatenate([part, np.full((len(part), 1), 3)], axis=1) for part in rows]
    asked = ScMilSettings(inputs="whitened", directions=6)
    read = []
    for given in (rows, constant):
        store, members = stored(given)
        inputs = fit_inputs(store, BagTable(store.slides, members, labels), store.slides, asked)
        read.append(inputs.read(np.concatenate(given)))
    np.testing.assert_allclose(np.abs(read[1]), np.abs(read[0]), atol=1e-4)
    plain = fit_inputs(
        store, BagTable(store.slides, members, labels), store.slides, ScMilSettings(inputs="none")
    )
    assert not plain.read(np.concatenate(constant))[:, -1].any()


def test_a_whitened_model_is_loaded_with_its_directions_and_answers_alike(tmp_path):
    inputs = fitted({"inputs": "whitened", "directions": 6})
    rows, labels = slides()
    torch.manual_seed(0)
    model = network(WIDTH, labels, ScMilSettings(), 2, inputs).eval()
    save_file(model.inference_state(), tmp_path / "weights.safetensors")
    again = load_slide_model(tmp_path / "weights.safetensors", describe(model))
    packed = predict_bags(again, Bags.pack(rows))
    for bag, found in zip(rows, packed, strict=True):
        for other in (predict_bag(model, bag), predict_bag(again, bag, max_rows=7)):
            np.testing.assert_allclose(other.logits, found.logits, atol=1e-5)
            np.testing.assert_allclose(other.attention, found.attention, atol=1e-5)


def test_a_model_of_before_there_were_directions_predicts_the_same_numbers(tmp_path):
    torch.manual_seed(0)
    model = ScMil(WIDTH, 2, ScMilSettings()).eval()
    save_file(model.inference_state(), tmp_path / "weights.safetensors")
    described = describe(model)
    assert described.pop("directions") is None
    described["settings"] = {
        name: described["settings"][name] for name in ("aggregator", "loss", "site_jitter")
    }
    assert set(model.inference_state()) == {
        "centre", "scale", *(n for n, _ in model.named_parameters())
    }  # fmt: skip
    again = load_slide_model(tmp_path / "weights.safetensors", described)
    bag = slides()[0][0]
    np.testing.assert_array_equal(predict_bag(again, bag).logits, predict_bag(model, bag).logits)
