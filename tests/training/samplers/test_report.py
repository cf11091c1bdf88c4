import json

import numpy as np
import pytest
from pydantic import ValidationError

from offsite.training.samplers.pairs import PairBatches
from offsite.training.samplers.plans import RandomBatches
from offsite.training.samplers.report import double_correction, draw_report, write_draws
from offsite.training.samplers.settings import SamplerSettings, make_plan
from offsite.training.samplers.weighted import WeightedBatches

LABELS = np.repeat([0, 1, -1], [90, 10, 5])


def test_report_tells_draws_repeats_effective_size_and_prior():
    report = draw_report(WeightedBatches(LABELS, 10, exponent=0.0), [LABELS], epochs=4)
    rare = report.cells[1]
    assert [cell.cell for cell in report.cells] == ["0", "1"]
    assert (rare.items, rare.draws, rare.most_repeats) == (10, 50.0, 5)
    assert (rare.natural_share, rare.drawn_share) == (0.1, 0.5)
    assert report.prior_shift == pytest.approx(0.4)
    # 50 items once, 10 items five times: (50 + 50)^2 / (50 + 250).
    assert report.effective_sample_size == pytest.approx(100**2 / 300)
    assert 0 <= report.never_drawn <= 40
    assert "1        10         50.0    0.100  0.500             5" in str(report)
    assert report.as_dict()["cells"][1]["draws"] == 50.0


def test_random_batches_change_no_prior():
    sites = np.tile(["x", "y"], 50)
    plan = PairBatches(RandomBatches(100, 10), sites)
    report = draw_report(plan, [sites, LABELS[:100]])
    assert report.prior_shift == 0
    assert report.effective_sample_size == 100
    assert report.never_drawn == 0
    assert [cell.cell for cell in report.cells] == ["x x 0", "x x 1", "y x 0", "y x 1"]


def test_warns_when_sampler_and_loss_both_correct():
    balanced = draw_report(WeightedBatches(LABELS, 10, exponent=0.0), [LABELS])
    natural = draw_report(WeightedBatches(LABELS, 10), [LABELS])
    warning = double_correction(balanced, [0.5, 4.5], adjusts_prior=False)
    assert warning is not None
    assert "corrected for twice" in warning
    assert "shifts the logits" in str(double_correction(balanced, None, adjusts_prior=True))
    assert double_correction(balanced, None, adjusts_prior=False) is None
    assert double_correction(balanced, [1.0, 1.0], adjusts_prior=False) is None
    assert double_correction(natural, [0.5, 4.5], adjusts_prior=True) is None


def test_the_draws_of_a_run_show_what_comes_late_in_it(tmp_path):
    """A progressive sampler, balanced only in the last of 30 epochs."""
    labels = LABELS[:100]
    plan = WeightedBatches(labels, 10, rule="progressive", epochs=30)
    write_draws(tmp_path, plan, labels.tolist(), None, 30)
    found = json.loads((tmp_path / "draws.json").read_text())
    assert found["epochs"] == 20
    assert found["prior_shift"] == pytest.approx(0.2, abs=0.02)  # half of the way, on average
    assert draw_report(plan, [labels], [29]).prior_shift == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({}, 0.1),
        ({"exponent": 0.0}, 0.5),
        ({"kind": "class_aware", "exponent": 0.0}, 0.5),
        ({"by": "site_class", "exponent": 0.0}, 1 / 3),
        ({"rule": "progressive"}, 0.1),
        ({"one_per_patient": True}, 0.1),
    ],
)
def test_plans_from_settings(changes, share):
    settings = SamplerSettings(**changes)
    sites = np.where(np.arange(105) < 40, "x", "y")  # class 1 at site y alone
    plan = make_plan(settings, LABELS, sites, np.arange(105), batch_size=10, epochs=3, seed=1)
    drawn = LABELS[np.concatenate(plan.batches(0))]
    assert (drawn >= 0).all()
    assert drawn.mean() == pytest.approx(share, abs=0.02)


def test_settings_that_contradict_each_other_are_refused():
    for changes in (
        {"kind": "class_aware", "one_per_patient": True},
        {"kind": "class_aware", "by": "site"},
        {"cross_site": True},
        {"exponents": 1},
    ):
        with pytest.raises(ValidationError):
            SamplerSettings(**changes)
