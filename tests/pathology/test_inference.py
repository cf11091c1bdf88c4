import numpy as np
import pytest
import torch

from offsite.errors import InputError
from offsite.pathology.bags import Bags
from offsite.pathology.inference import predict_bag, predict_bags, tile_contributions
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings


def _model(name="gated_attention"):
    torch.manual_seed(3)
    settings = {"aggregator": {"name": name, "width": 16, "attention_width": 8}}
    return ScMil(5, 3, ScMilSettings.model_validate(settings))


def _bag(size, seed=0):
    return np.random.default_rng(seed).normal(size=(size, 5)).astype(np.float32)


def test_contributions_and_bias_sum_to_the_logits():
    model, bag = _model("additive_attention"), _bag(30)
    found = tile_contributions(model, bag)
    assert found.shape == (30, 3)
    total = found.sum(axis=0) + model.classifier.bias.detach().numpy()
    np.testing.assert_allclose(total, predict_bag(model, bag).logits, atol=1e-5)


def test_contributions_are_refused_where_they_would_not_be_exact():
    with pytest.raises(InputError) as caught:
        tile_contributions(_model(), _bag(4))
    assert caught.value.code == "not_additive"


@pytest.mark.parametrize("name", ["gated_attention", "dual_stream", "max"])
def test_a_bag_is_answered_alike_alone_in_company_and_in_chunks(name):
    model = _model(name)
    bags = [_bag(size, size) for size in (1, 50, 7)]
    together = predict_bags(model, Bags.pack(bags))
    for bag, found in zip(bags, together, strict=True):
        for other in (predict_bag(model, bag), predict_bag(model, bag, max_rows=6)):
            np.testing.assert_allclose(other.logits, found.logits, atol=1e-5)
            np.testing.assert_allclose(other.attention, found.attention, atol=1e-5)


def test_prediction_leaves_dropout_off_and_the_mode_as_it_was():
    model, bag = _model().train(), _bag(20)
    first, second = predict_bag(model, bag), predict_bag(model, bag)
    np.testing.assert_array_equal(first.logits, second.logits)
    assert model.training
    assert first.probabilities.sum() == pytest.approx(1, abs=1e-12)
