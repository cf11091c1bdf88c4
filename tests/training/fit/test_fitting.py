import logging
import time

import pytest
import torch
from problem import Net, Points, lines, points, settings, source, validator
from safetensors.torch import load_file

from offsite.errors import InputError
from offsite.training.fit.checkpoint import load_weights
from offsite.training.fit.loop import fit
from offsite.training.losses.classification import cross_entropy
from offsite.training.randomness import seed_of


def test_the_loop_equals_a_bare_loop_to_the_last_bit(tmp_path):
    data, given = points(), settings(epochs=2, gradient_clip=0.5)
    result = fit(Net(), source(data), given, tmp_path)
    net = Net()
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=given.weight_decay)
    for epoch in range(2):
        for step, batch in enumerate(source(data).batches(epoch)):
            progress = (6 * epoch + step) / 11
            torch.manual_seed(seed_of(given.seed, epoch, step, 0))
            optimiser.param_groups[0]["lr"] = given.learning_rate_at(progress)
            optimiser.zero_grad()
            net.step(batch, progress)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimiser.step()
    for name, tensor in load_file(result.weights).items():
        assert torch.equal(tensor, net.state_dict()[name]), name
    assert result.reason == "no validation"
    assert result.epoch == 1


def test_curves_hold_a_line_per_epoch(tmp_path):
    data = points(45)
    fit(Net(), source(data), settings(), tmp_path, validator(data))
    got = lines(tmp_path)
    assert [line["epoch"] for line in got] == [0, 1, 2, 3]
    assert [line["progress"] for line in got] == [0.25, 0.5, 0.75, 1.0]
    assert got[-1]["learning_rate"] == 0.0
    assert got[0]["losses"]["loss"] > got[-1]["losses"]["loss"]
    assert got[0]["scores"]["undefined"] is None
    # Batches of 8 and 7 items: the mean of a loss is over items, not over batches.
    sizes = torch.tensor([len(batch) for batch in source(data).batches(0)], dtype=torch.float64)
    mean = (sizes * torch.arange(6) / 23).sum() / 45
    assert got[0]["losses"]["progress"] == pytest.approx(float(mean), rel=1e-6)


@pytest.mark.parametrize(("optimiser", "schedule"), [("sgd", "step"), ("adamw", "constant")])
def test_every_optimiser_trains_and_resumes(tmp_path, optimiser, schedule):
    data = points()
    given = settings(
        optimiser=optimiser, schedule=schedule, step_at=(0.5, 0.75), checkpoint_every_seconds=0
    )
    whole = fit(Net(), source(data), given, tmp_path / "whole")

    def stop(epoch, step):
        if (epoch, step) == (2, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Net(), source(data, after=stop), given, tmp_path / "cut")
    cut = fit(Net(), source(data), given, tmp_path / "cut")
    assert whole.weights.read_bytes() == cut.weights.read_bytes()
    rates = [line["learning_rate"] for line in lines(tmp_path / "whole")]
    expected = [0.02, 0.02, 0.002, 0.0002] if schedule == "step" else [0.02] * 4
    assert rates == pytest.approx(expected)


def test_weights_are_the_inference_state_of_the_selected_epoch(tmp_path):
    class WithProjection(Net):
        def __init__(self):
            super().__init__()
            self.projection = torch.nn.Linear(16, 2)

        def inference_state(self):
            return {n: t for n, t in self.state_dict().items() if "projection" not in n}

    kept = {}

    def validate(algorithm, epoch):
        kept[epoch] = algorithm.head.weight.detach().clone()
        return {"loss": [3.0, 1.0, 2.0, 2.5][epoch]}

    result = fit(WithProjection(), source(points()), settings(), tmp_path, validate)
    weights = load_file(result.weights)
    assert not any("projection" in name for name in weights)
    assert torch.equal(weights["head.weight"], kept[1])
    fresh = WithProjection()
    load_weights(fresh, result.weights)
    assert torch.equal(fresh.head.weight, kept[1])
    with pytest.raises(InputError) as caught:
        load_weights(Net(norm=False), result.weights)
    assert caught.value.code == "wrong_weights"


def test_a_finished_run_returns_at_once_and_other_settings_train_anew(tmp_path):
    data = points()
    first = fit(Net(), source(data), settings(), tmp_path, validator(data), fingerprint="a")

    def never(epoch, step):
        raise AssertionError("trained again")

    quiet = source(data, after=never)
    assert fit(Net(), quiet, settings(), tmp_path, validator(data), fingerprint="a") == first
    (tmp_path / "checkpoint").mkdir()  # as a kill right after the result would leave it
    (tmp_path / ".weights.safetensors.x.tmp").touch()
    outward = settings(checkpoint_every_steps=3, prefetch=4)
    assert fit(Net(), quiet, outward, tmp_path, validator(data), fingerprint="a") == first
    left = sorted(file.name for file in tmp_path.iterdir())
    assert left == ["curves.jsonl", "fit.json", "weights.safetensors"]
    for given, mark in ((settings(seed=1), "a"), (settings(), "b")):
        with pytest.raises(AssertionError, match="trained again"):
            fit(Net(), quiet, given, tmp_path, validator(data), fingerprint=mark)
    assert not (tmp_path / "weights.safetensors").exists()  # the old ones are stale


@pytest.mark.parametrize("damage", ["state", "pointer", "curves", "foreign"])
def test_a_checkpoint_that_cannot_be_used_costs_time_and_nothing_else(tmp_path, caplog, damage):
    data, given = points(), settings(checkpoint_every_seconds=0)
    whole = fit(Net(), source(data), given, tmp_path / "whole", validator(data))

    def stop(epoch, step):
        if (epoch, step) == (2, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Net(), source(data, after=stop), given, tmp_path / "cut", validator(data))
    checkpoint = tmp_path / "cut" / "checkpoint"
    if damage == "state":
        state = next(checkpoint.glob("state*"))
        content = bytearray(state.read_bytes())
        content[-5] ^= 1
        state.write_bytes(content)
    elif damage == "pointer":
        (checkpoint / "checkpoint.json").write_text("{")
    elif damage == "curves":
        (tmp_path / "cut" / "curves.jsonl").write_text("{}\n{")
    else:
        given = settings(checkpoint_every_seconds=0, seed=3)
        whole = fit(Net(), source(data), given, tmp_path / "seed", validator(data))
    with caplog.at_level(logging.WARNING, "offsite.training"):
        cut = fit(Net(), source(data), given, tmp_path / "cut", validator(data))
    assert "training starts anew" in caplog.text
    assert whole.weights.read_bytes() == cut.weights.read_bytes()
    assert len(lines(tmp_path / "cut")) == 4


def test_nothing_is_pickled_and_one_checkpoint_is_kept(tmp_path):
    def stop(epoch, step):
        if (epoch, step) == (3, 2):
            raise KeyboardInterrupt

    data, given = points(), settings(checkpoint_every_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        fit(Net(), source(data, after=stop), given, tmp_path, validator(data))
    files = sorted(file.name for file in (tmp_path / "checkpoint").iterdir())
    assert files == ["best-2.safetensors", "checkpoint.json", "state-3-2.safetensors"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    data = points()
    broken = Points(data.pixels * torch.inf, data.labels, data.sites)
    with pytest.raises(InputError) as caught:
        fit(Net(), source(broken), settings(), tmp_path)
    assert caught.value.code == "diverged"


def test_a_logged_value_that_is_undefined_is_left_out_of_its_mean(tmp_path):
    class Logging(Net):
        def step(self, batch, progress):
            odd = torch.tensor(torch.nan if progress < 0.02 else progress)
            return super().step(batch, progress) | {"odd": odd, "never": torch.tensor(torch.nan)}

    fit(Logging(), source(points()), settings(epochs=2), tmp_path)
    first, second = lines(tmp_path)
    assert first["losses"]["odd"] == pytest.approx(sum(range(1, 6)) / 5 / 11)
    assert first["losses"]["never"] is None
    assert second["losses"]["odd"] == pytest.approx(8.5 / 11)


def test_reading_ahead_changes_nothing_and_passes_errors_on(tmp_path):
    data = points()
    plain = fit(Net(), source(data), settings(), tmp_path / "plain")
    ahead = fit(Net(), source(data), settings(prefetch=3), tmp_path / "ahead")
    assert plain.weights.read_bytes() == ahead.weights.read_bytes()

    def fail(epoch, step):
        time.sleep(0.001)
        if (epoch, step) == (1, 2):
            raise InputError("a slide is gone", remedy="Put it back", code="gone")

    with pytest.raises(InputError, match="a slide is gone"):
        fit(Net(), source(data, after=fail), settings(prefetch=2), tmp_path / "failing")


def test_bfloat16_trains_with_float32_weights(tmp_path):
    seen = {}

    class Watching(Net):
        def step(self, batch, progress):
            out = self(batch)
            seen["logits"] = out.logits.dtype
            return {"loss": cross_entropy(out.logits, batch.labels)}

    given = settings(precision="bfloat16")
    result = fit(Watching(), source(points()), given, tmp_path)
    assert seen["logits"] == torch.bfloat16
    weights = load_file(result.weights)
    assert weights["head.weight"].dtype == torch.float32
    assert lines(tmp_path)[-1]["losses"]["loss"] < lines(tmp_path)[0]["losses"]["loss"]


def test_frozen_parameters_stay_and_unused_ones_do_no_harm(tmp_path):
    net = Net()
    net.unused = torch.nn.Linear(2, 2)
    net.body[0].weight.requires_grad_(False)
    before = net.body[0].weight.clone()
    result = fit(net, source(points()), settings(), tmp_path)
    assert torch.equal(load_file(result.weights)["body.0.weight"], before)


def test_a_scheduler_s_variables_do_not_make_one_process_wait_for_others(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_PROCID", "0")
    result = fit(Net(), source(points()), settings(epochs=1), tmp_path)
    assert result.epochs == 1


class Empty:
    def steps(self, epoch):
        return 0


@pytest.mark.parametrize(
    ("changes", "given_source", "code"),
    [
        ({"device": "cuda:7"}, None, "unknown_device"),
        ({"select_by": "kapa", "mode": "max"}, None, "no_score"),
        ({}, Empty(), "no_batches"),
    ],
)
def test_unusable_settings_are_refused_with_a_remedy(tmp_path, changes, given_source, code):
    data = points()
    with pytest.raises(InputError) as caught:
        fit(Net(), given_source or source(data), settings(**changes), tmp_path, validator(data))
    assert caught.value.code == code
