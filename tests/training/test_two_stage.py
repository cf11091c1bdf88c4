import numpy as np
import pytest
import torch
from problem import general, points, settings, source
from safetensors.torch import load_file
from torch import nn

from offsite.errors import InputError
from offsite.training.fit.loop import fit
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.imbalance import CosineClassifier
from offsite.training.losses.settings import LossSettings
from offsite.training.two_stage import (
    ClassifierRetraining,
    last_layer_on_balanced,
    select_tau,
    tau_normalised,
)

PLAIN = LossSettings()


def test_retraining_changes_the_classifier_alone_and_saves_the_whole(tmp_path):
    data = points()
    first = general("erm", norm=True)()
    result = fit(first, source(data), settings(epochs=2), tmp_path / "one")
    trunk = load_file(result.weights)
    stage = ClassifierRetraining(first, "classifier", ClassificationLoss(PLAIN, np.ones(3)))
    start = first.classifier.weight.detach().clone()
    second = load_file(fit(stage, source(data), settings(epochs=2), tmp_path / "two").weights)
    assert second.keys() == trunk.keys()
    for name, tensor in second.items():
        if "classifier" in name:
            assert not torch.equal(tensor, trunk[name])
        else:  # batch-norm statistics too
            assert torch.equal(tensor, trunk[name]), name
    assert not torch.equal(second["classifier.weight"], start)


def test_retraining_may_go_on_from_the_first_stage():
    algorithm = general("erm")()
    before = algorithm.classifier.weight.detach().clone()
    loss = ClassificationLoss(PLAIN, np.ones(3))
    stage = ClassifierRetraining(algorithm, "classifier", loss, fresh=False)
    assert torch.equal(algorithm.classifier.weight, before)
    assert [n for n, p in stage.named_parameters() if p.requires_grad] == [
        "algorithm.classifier.weight",
        "algorithm.classifier.bias",
    ]
    with pytest.raises(InputError, match="Name one of: backbone, classifier"):
        ClassifierRetraining(algorithm, "head", loss)


def test_tau_normalisation_evens_out_the_lengths_of_rows():
    weight = torch.tensor([[3.0, 4.0], [0.6, 0.8]])
    torch.testing.assert_close(tau_normalised(weight, 0.0), weight)
    torch.testing.assert_close(tau_normalised(weight, 1.0).norm(dim=1), torch.ones(2))
    half = tau_normalised(weight, 0.5).norm(dim=1)
    torch.testing.assert_close(half, torch.tensor([5.0, 1.0]) ** 0.5)


def test_tau_is_chosen_by_balanced_accuracy():
    # Both classes point their own way, but the long row of class 0 wins between them.
    embedding = torch.tensor([[1.0, 0.1]] * 9 + [[0.4, 1.0]])
    labels = torch.tensor([0] * 9 + [1])
    weight = torch.tensor([[5.0, 0.0], [0.0, 1.0]])
    tau = select_tau(embedding, labels, weight)
    assert tau == pytest.approx(0.5 if 0.4 * 5**0.5 < 5**0.0 else 0.6, abs=0.11)
    predicted = (embedding @ tau_normalised(weight, tau).T).argmax(1)
    assert torch.equal(predicted, labels)
    assert select_tau(embedding, labels, torch.eye(2)) == 0.0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_last_layer_on_balanced_data_frees_itself_from_a_shortcut(n_classes):
    rng = np.random.default_rng(0)
    n = 1200
    labels = rng.integers(0, n_classes, n)
    site = np.where(rng.random(n) < 0.9, labels % 2, 1 - labels % 2)  # site tells the class
    core = np.eye(n_classes)[labels] * 1.5 + rng.normal(0, 1, (n, n_classes))
    embedding = np.column_stack([core, 3.0 * site + rng.normal(0, 0.3, n), np.ones(n)])
    shares = []
    for groups in (site * n_classes + labels, np.zeros(n)):
        weight, bias = last_layer_on_balanced(embedding, labels, groups, n_fits=3)
        assert weight.shape == (n_classes, n_classes + 2)
        assert np.isfinite(weight).all()
        logits = embedding @ weight.T + bias
        minority = site != labels % 2
        shares.append((logits.argmax(1) == labels)[minority].mean())
    assert shares[0] > shares[1] + 0.2
    again, _ = last_layer_on_balanced(embedding, labels, np.zeros(n), n_fits=3)
    assert np.array_equal(again, weight)


def test_one_class_is_refused():
    with pytest.raises(InputError) as caught:
        last_layer_on_balanced(np.ones((3, 2)), np.zeros(3), np.zeros(3))
    assert caught.value.code == "one_class"


@pytest.mark.parametrize("kind", [nn.Linear, CosineClassifier])
def test_every_layer_of_the_classifier_starts_anew(kind):
    torch.manual_seed(0)
    algorithm = general("erm")()
    algorithm.classifier = nn.Sequential(nn.Dropout(0.5), kind(16, 3))
    before = algorithm.classifier[1].weight.detach().clone()
    ClassifierRetraining(algorithm, "classifier", ClassificationLoss(PLAIN, np.ones(3)))
    assert not torch.equal(algorithm.classifier[1].weight, before)
