import copy

import pytest
import torch
from problem import Net, points, settings, source, validator
from safetensors.torch import load_file

from offsite.training.fit.averaging import ExponentialAverage, holding
from offsite.training.fit.loop import fit
from offsite.training.fit.swad import ValleyAverage, valley


def states(n, seed=0):
    torch.manual_seed(seed)
    for _ in range(n):
        net = Net(norm=True)
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor))
            else:
                tensor.add_(torch.randint(5, ()))
        yield net


def test_moving_average_follows_its_recursion_and_copies_counters():
    nets = list(states(4))
    average = ExponentialAverage(0.25)
    for net in nets:
        average.update(net)
    expected = nets[0].head.weight.detach()
    for decay, net in zip((0.1, 2 / 11, 0.25, 0.25), nets, strict=True):
        expected = decay * expected + (1 - decay) * net.head.weight
    torch.testing.assert_close(average.average["head.weight"], expected)
    counter = "body.1.num_batches_tracked"
    assert average.average[counter] == nets[-1].state_dict()[counter]


def test_holding_lends_other_weights_and_gives_the_own_back():
    own, lent = states(2)
    before = copy.deepcopy(own.state_dict())
    with holding(own, lent.state_dict()):
        assert torch.equal(own.head.weight, lent.head.weight)
    for name, tensor in own.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(
    ("losses", "span"),
    [
        ([5, 4, 3], None),  # still falling
        ([5, 4], None),  # too short
        ([5, 3, 4, 4], (1, 4, False)),
        ([5, 3, 4, 4, 9, 9, 3], (1, 4, True)),  # what comes after the valley does not count
        ([5, 3, 4, 4, 9, 3, 3], (1, 7, False)),  # one bad epoch is borne
        ([5, 3, 4, 4, 9], (1, 4, False)),  # the end of training cuts the look-ahead short
        ([float("inf"), 3, 4, float("inf")], (1, 3, False)),
        ([float("inf")] * 5, None),
    ],
)
def test_valley_of_a_loss_curve(losses, span):
    assert valley(losses, converged=3, patience=2, tolerance=0.3) == span


@pytest.mark.parametrize("seed", range(6))
def test_swad_equals_the_mean_of_all_steps_inside_the_valley(seed):
    rng = torch.Generator().manual_seed(seed)
    losses = (1 + torch.rand(9, generator=rng) * 1.5).tolist()
    converged, patience, tolerance = 2 + seed % 2, 2 + seed // 3, 0.2
    average = ValleyAverage("loss", converged, patience, tolerance)
    steps, nets = [3, 2, 4, 1, 2, 3, 2, 2, 1], []
    most = 0
    for epoch, loss in enumerate(losses):
        nets.append(list(states(steps[epoch], seed=100 * seed + epoch)))
        for net in nets[-1]:
            average.update(net)
        average.close_epoch({"loss": loss})
        most = max(most, len(average.pending))
        other = ValleyAverage("loss", converged, patience, tolerance)
        other.load({n: t.clone() for n, t in average.tensors().items()}, average.facts())
        average = other  # as a resumed run would
    span = valley(losses, converged, patience, tolerance)
    assert span is not None
    inside = [net for epoch in range(span[0], span[1]) for net in nets[epoch]]
    for name in ("head.weight", "body.1.running_var"):
        expected = torch.stack([net.state_dict()[name].double() for net in inside]).mean(0)
        torch.testing.assert_close(average.final()[name], expected)
    assert most <= max(converged, patience)


def test_swad_neither_sums_nor_counts_epochs_that_may_not_be_selected():
    average = ValleyAverage("loss", converged=2, patience=2, tolerance=0.2, passed_over=3)
    nets = list(states(6))
    for epoch, loss in enumerate([0.1, 0.1, 0.1, 2.0, 1.0, 1.1]):
        average.update(nets[epoch])
        average.close_epoch({"loss": loss})
        other = ValleyAverage("loss", converged=2, patience=2, tolerance=0.2, passed_over=3)
        other.load({n: t.clone() for n, t in average.tensors().items()}, average.facts())
        average = other
    expected = (nets[4].head.weight.double() + nets[5].head.weight.double()) / 2
    torch.testing.assert_close(average.final()["head.weight"], expected)


def test_a_fit_with_swad_averages_from_select_after_on_and_names_no_epoch(tmp_path):
    losses = [0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9]
    ends = {}

    def validate(algorithm, epoch):
        ends[epoch] = copy.deepcopy(algorithm.state_dict())
        return {"loss": losses[epoch]}

    given = settings(
        averaging="swad", swad_converged=2, swad_patience=2, epochs=8, select_after=0.6
    )
    data = points(8)  # one step an epoch, so that an epoch's end is its only step
    result = fit(Net(), source(data), given, tmp_path, validate)
    assert (result.reason, result.epoch, result.score) == ("swad", None, None)
    expected = torch.stack([ends[epoch]["head.weight"].double() for epoch in range(4, 8)]).mean(0)
    torch.testing.assert_close(load_file(result.weights)["head.weight"], expected.float())


@pytest.mark.parametrize("losses", [[0.9, 0.7, 0.5, 0.3], [0.9, None, 0.8, None]])
def test_a_fit_that_swad_has_no_mean_of_says_so_and_is_the_plain_one(tmp_path, losses, caplog):
    data, ends = points(8), []
    for averaging in ("swad", "none"):
        given = settings(averaging=averaging, swad_converged=3, epochs=4, select_by="loss")
        net = Net()
        ends.append(
            fit(net, source(data), given, tmp_path / averaging, lambda _, e: {"loss": losses[e]})
        )
    asked, plain = ends
    assert (asked.reason, asked.epoch) == (plain.reason, plain.epoch)
    for name, tensor in load_file(plain.weights).items():
        assert torch.equal(load_file(asked.weights)[name], tensor)
    assert "SWAD found no valley in 4 epochs" in asked.note
    assert asked.note in caplog.text
    assert "SWAD" not in plain.note


def test_the_moving_average_is_what_is_validated_and_kept(tmp_path):
    data = points()
    seen = {}

    def validate(algorithm, epoch):
        seen[epoch] = copy.deepcopy(algorithm.state_dict())
        return validator(data)(algorithm, epoch)

    given = settings(averaging="ema", ema_decay=0.9)
    result = fit(Net(), source(data), given, tmp_path, validate)
    kept = load_file(result.weights)
    for name, tensor in kept.items():
        assert torch.equal(tensor, seen[result.epoch][name])
    net = Net()
    fit(net, source(data), settings(), tmp_path / "raw", validator(data))
    assert not torch.equal(net.head.weight, kept["head.weight"])
