import numpy as np
import pytest
import torch

from offsite.errors import InputError
from offsite.pathology.bags import Bags
from offsite.pathology.method_plan import (
    SECOND_STAGE_FROM,
    TrainingItems,
    batch_plan,
    with_method,
)
from offsite.pathology.methods import METHODS
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import STEADY, ContrastSettings, ScMilSettings
from offsite.training.algorithm import Algorithm, Batch
from offsite.training.fit.settings import FitSettings
from offsite.training.losses.classification import cross_entropy
from offsite.training.losses.contrastive import supervised_contrastive
from offsite.training.samplers.plans import TwoPlans

COUNTS = np.array([20, 5, 2])


def batch(seed=0):
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(size, 6)) for size in (3, 9, 1, 5, 4, 7, 2, 6)]
    return Bags.pack(bags, [0, 0, 1, 1, 2, 2, 0, 0], [0, 0, 1, 1, 2, 2, 3, 3])


def model(method="sc_mil", counts=COUNTS, **changes):
    torch.manual_seed(0)
    plain = {"aggregator": {"width": 16, "dropout": 0.0}, "site_jitter": 0.0}
    settings = ScMilSettings.model_validate(plain | changes)
    return ScMil(6, 3, with_method(METHODS[method], settings), counts)


def test_the_contract_of_an_algorithm_holds():
    assert isinstance(batch(), Batch)
    sc_mil = model()
    assert isinstance(sc_mil, Algorithm)
    output = sc_mil(batch())
    assert (output.logits.shape, output.embedding.shape) == ((8, 3), (8, 16))


FALLING = {"contrast": {"schedule": "linear"}}
HANDED_OVER = {"contrast": {"schedule": "linear", "classifier": "handed_over"}}


def parts(sc_mil, bags):
    """Contrast and cross-entropy of a batch, written out."""
    output = sc_mil(bags)
    contrast = supervised_contrastive(sc_mil.projection(output.embedding), bags.labels, 1.0).loss
    return contrast, cross_entropy(output.logits, bags.labels)


def gradients(loss, sc_mil):
    sc_mil.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in sc_mil.named_parameters() if p.grad is not None}


def test_handed_over_the_loss_goes_from_pure_contrast_to_pure_cross_entropy():
    sc_mil, bags = model("sc_mil_balanced", **HANDED_OVER), batch()
    contrast, plain = (part.item() for part in parts(sc_mil, bags))
    assert sc_mil.step(bags, 0.0)["loss"].item() == pytest.approx(contrast, abs=1e-6)
    assert sc_mil.step(bags, 1.0)["loss"].item() == pytest.approx(plain, abs=1e-6)
    middle = sc_mil.step(bags, 0.25)
    assert middle["loss"].item() == pytest.approx(0.75 * contrast + 0.25 * plain)
    assert middle["beta"].item() == pytest.approx(0.75)
    assert gradients(sc_mil.step(bags, 0.0)["loss"], sc_mil)["classifier.weight"].abs().max() == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "ldam_drw", "balanced_softmax"])
@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_an_always_trained_classifier_learns_in_full_and_reaches_the_trunk_by_one_minus_beta(
    loss, progress
):
    sc_mil, bags = model("sc_mil_random_batches", loss={"kind": loss}, **FALLING), batch()
    found = gradients(sc_mil.step(bags, progress)["loss"], sc_mil)
    output = sc_mil(bags)
    plain = gradients(sc_mil.classification(output.logits, bags.labels, progress), sc_mil)
    pulled = gradients(parts(sc_mil, bags)[0], sc_mil)
    beta = 1 - progress
    for name, gradient in found.items():
        if name.startswith("classifier."):
            expected = plain[name]
        else:
            expected = beta * pulled[name] + (1 - beta) * plain.get(name, 0)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_at_first_the_trunk_gets_no_gradient_from_the_head():
    sc_mil, bags = model(**FALLING), batch()
    found = gradients(sc_mil.step(bags, 0.0)["loss"], sc_mil)
    with torch.no_grad():
        sc_mil.classifier.weight.mul_(-3)
    again = gradients(sc_mil.step(bags, 0.0)["loss"], sc_mil)
    trunk = [name for name in found if name.startswith("aggregator.")]
    assert all(torch.equal(found[name], again[name]) for name in trunk)
    assert found["aggregator.score.weight"].abs().max() > 0
    assert not torch.equal(found["classifier.weight"], again["classifier.weight"])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_keeps_for_inference_what_prediction_needs(method):
    trained = model(method)
    optimiser = torch.optim.Adam(trained.parameters(), lr=0.01)
    first = trained.step(batch(), 0.5)["classification"].item()
    for step in range(30):
        loss = trained.step(batch(), 0.5 + step / 60)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert trained.step(batch(), 0.5)["classification"].item() < first
    fresh = ScMil(6, 3, trained.settings)
    fresh.load_state_dict(trained.inference_state(), strict=True)
    torch.testing.assert_close(fresh.eval()(batch()).logits, trained.eval()(batch()).logits)


def test_methods_start_from_the_same_weights():
    states = [model(method).inference_state() for method in ("sc_mil", "cross_entropy", "focal")]
    for state in states[1:]:
        assert all(torch.equal(value, states[0][name]) for name, value in state.items())


def test_from_the_second_stage_on_the_classifier_alone_has_gradients():
    two_stage = model("two_stage")
    two_stage.step(batch(), 0.9)["loss"].backward()
    moved = {name for name, p in two_stage.named_parameters() if p.grad is not None}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_the_second_stage_reads_the_embeddings_that_will_be_predicted_with():
    dropped = model("two_stage", aggregator={"width": 16, "dropout": 0.5}).train()
    losses = [dropped.step(batch(), 0.9)["loss"].item() for _ in range(2)]
    expected = cross_entropy(dropped.eval()(batch()).logits, batch().labels).item()
    assert losses == pytest.approx([expected] * 2, abs=1e-6)
    assert dropped.train().aggregator.training


@pytest.mark.parametrize("epochs", [2, 3, 4, 6, 8, 10, 25, 37, 40, 60, 100])
def test_freezing_balanced_batches_and_selection_begin_with_one_epoch(epochs):
    two_stage, labels = METHODS["two_stage"], np.repeat([0, 1], [90, 6])
    settings = with_method(two_stage, ScMilSettings(), epochs)
    plan = batch_plan(two_stage, TrainingItems.alone(labels), 16, epochs, seed=0)
    begins = plan.from_epoch
    assert 0 < begins < epochs
    steps = plan.steps(0)
    progress = [step / (steps * epochs - 1) for step in (steps * begins - 1, steps * begins)]
    assert progress[0] < settings.freeze_from <= progress[1]
    fit = FitSettings(epochs=epochs, select_after=settings.selects_from())
    assert next(epoch for epoch in range(epochs) if fit.selectable(epoch)) == begins


def test_one_epoch_is_too_few_for_two_stages():
    with pytest.raises(InputError, match="two epochs"):
        batch_plan(METHODS["two_stage"], TrainingItems.alone(np.array([0, 1])), 2, epochs=1, seed=0)


def test_when_the_trunk_is_frozen_is_the_method_s_to_decide():
    with pytest.raises(ValueError, match="freeze_from"):
        ScMilSettings.model_validate({"freeze_from": 0.5})
    # As the configuration of an earlier run has it.
    assert ScMilSettings.model_validate({"freeze_from": None}) == ScMilSettings()


def test_batches_of_the_two_stages_change_at_their_epoch():
    labels = np.repeat([0, 1], [90, 6])
    plan = batch_plan(METHODS["two_stage"], TrainingItems.alone(labels), 16, epochs=10, seed=0)
    assert isinstance(plan, TwoPlans)
    rare = [labels[np.concatenate(plan.batches(epoch))].mean() for epoch in (0, 5, 6, 9)]
    assert rare[:2] == [6 / 96] * 2
    assert all(0.4 < share < 0.6 for share in rare[2:])


def test_class_aware_batches_give_every_anchor_a_partner():
    labels = np.repeat([0, 1, 2], [100, 6, 3])
    plan = batch_plan(
        METHODS["sc_mil_class_aware"], TrainingItems.alone(labels), 16, epochs=1, seed=0
    )
    for indices in plan.batches(0):
        assert np.bincount(labels[indices], minlength=3).min() >= 2


def test_the_classifier_leads_once_beta_is_down_to_a_half():
    def handed_over(**given):
        return ContrastSettings(classifier="handed_over", **given).classifier_leads_from()

    assert handed_over(schedule="linear") == 0.5
    assert handed_over(schedule="parabolic") == 0.71
    assert handed_over(schedule="constant", floor=0.4) == 0.0
    assert ContrastSettings(schedule="linear").classifier_leads_from() == 0.0


@pytest.mark.parametrize("step_at", [0.3, 0.305, 0.5, 0.99])
@pytest.mark.parametrize("epochs", [1, 2, 10, 40, 100])
def test_the_first_selectable_epoch_has_trained_the_classifier(step_at, epochs):
    contrast = ContrastSettings(schedule="step", step_at=step_at, classifier="handed_over")
    fit = FitSettings(epochs=epochs, select_after=contrast.classifier_leads_from())
    first = next(epoch for epoch in range(epochs) if fit.selectable(epoch))
    steps = 7  # an epoch
    progress = (steps * (first + 1) - 1) / (steps * epochs - 1)  # of the epoch's last step
    assert contrast.beta(progress) == 0.0


def test_a_constant_contrast_is_a_plain_weight_and_the_classifier_always_comes_to_lead():
    contrast = ContrastSettings(schedule="constant", floor=0.25)
    assert [contrast.beta(t) for t in (0.0, 0.4, 1.0)] == [0.25] * 3
    with pytest.raises(ValueError, match="floor"):
        ContrastSettings(schedule="constant", floor=0)
    assert [ContrastSettings().beta(t) for t in (0.0, 1.0)] == [STEADY] * 2
    for schedule in ("constant", "linear", "step"):
        with pytest.raises(ValueError, match="floor"):
            ContrastSettings(schedule=schedule, floor=0.6)


def test_small_cohorts_come_several_times_an_epoch_and_large_ones_once():
    labels = np.repeat([0, 1], [9, 3])
    for method in METHODS.values():
        plan = batch_plan(method, TrainingItems.alone(labels), 4, epochs=5, seed=0, epoch_steps=7)
        assert plan.steps(0) == len(plan.batches(0)) == 9  # three passes of three
        assert (
            batch_plan(
                method, TrainingItems.alone(labels), 4, epochs=5, seed=0, epoch_steps=3
            ).steps(0)
            == 3
        )
    as_they_come = batch_plan(
        METHODS["cross_entropy"], TrainingItems.alone(labels), 4, 5, 0, epoch_steps=7
    )
    drawn = [np.bincount(np.concatenate(as_they_come.batches(e)), minlength=12) for e in (0, 1)]
    assert all((times == 3).all() for times in drawn)
    assert not np.array_equal(as_they_come.batches(0)[0], as_they_come.batches(0)[3])
    two_stage = batch_plan(
        METHODS["two_stage"], TrainingItems.alone(labels), 4, epochs=10, seed=0, epoch_steps=7
    )
    shares = [labels[np.concatenate(two_stage.batches(epoch))].mean() for epoch in (5, 6)]
    assert shares[0] == 0.25
    assert shares[1] > 0.4


def test_the_weights_of_two_stages_are_those_of_the_second():
    settings = with_method(METHODS["two_stage"], ScMilSettings())
    assert settings.selects_from() > SECOND_STAGE_FROM
    assert with_method(METHODS["cross_entropy"], ScMilSettings()).selects_from() == 0.0
    assert with_method(METHODS["sc_mil"], ScMilSettings()).selects_from() == 0.0
    handed_over = ScMilSettings.model_validate(HANDED_OVER)
    assert with_method(METHODS["sc_mil"], handed_over).selects_from() == 0.5


def test_the_lowest_contrast_is_named_for_the_plain_one_alone():
    named = "contrast_above_lowest"
    assert named in model("sc_mil").step(batch(), 0.2)
    assert named not in model("sc_mil_minority").step(batch(), 0.2)
    assert named not in model("sc_mil_prototypes").step(batch(), 0.2)
    assert named not in model("sc_mil", contrast={"memory": 8}).step(batch(), 0.2)


@pytest.mark.parametrize(
    ("numbers", "directions", "power", "rate"),
    [
        (64, None, 1.0, 4.0),
        (64, None, 0.5, 2.0),
        (64, None, 0.0, 1.0),
        (300, None, 1.0, 1.0),
        (300, 32, 1.0, 1.0),  # whitened: what the rate was settled on
        (6, None, 1.0, 256 / 24),  # as of the fewest that were measured
    ],
)
def test_the_first_layer_makes_up_for_reading_few_numbers(numbers, directions, power, rate):
    settings = ScMilSettings(first_layer_power=power)
    model = ScMil(numbers, 3, settings, np.array([9, 3, 3]), directions)
    rates = {name: model.rate_of(name) for name, _ in model.named_parameters()}
    first = rates.pop("aggregator.instances.0.weight")
    assert first == pytest.approx(rate)
    assert set(rates.values()) == {1.0}
