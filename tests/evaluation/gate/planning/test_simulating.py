"""Simulated cases are what the scenario says they are."""

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import norm

from offsite.errors import InputError
from offsite.evaluation.gate.planning.scenario import CANDIDATES, Scenario
from offsite.evaluation.gate.planning.simulating import Simulator
from offsite.evaluation.operating_points.choosing import PACKAGED, choose_thresholds
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.delong import placements

MANY = Scenario(
    prevalence=0.3, sites=3, held_out=1, patients=20_000, sensitivity=0.88, specificity=0.8,
    correlation=0.7, spread=0.0,
)  # fmt: skip
TASKS = {"sick": TaskSettings(positive_classes=("positive",), target_sensitivity=0.88)}


@pytest.fixture(scope="module")
def drawn():
    settings = EvaluationSettings(tasks=TASKS).model_copy(update={"resamples": 0})
    return {each.candidate: each for each in Simulator(MANY, settings).draw(seed=1, number=0)}


def test_sites_roles_and_prevalence_are_those_of_the_scenario(drawn):
    sites = drawn["equal"].every
    assert [(site.name, site.role) for site in sites.single] == [
        ("hospital 001", "training"), ("hospital 002", "training"), ("hospital 003", "held_out"),
    ]  # fmt: skip
    assert {site.n_patients for site in sites.single} == {20_000}
    assert int(sites.roles.calibrate.sum()) == 60_000
    assert sites.predictions.labels.mean() == pytest.approx(0.3, abs=0.005)


def test_candidates_find_as_much_more_or_less_as_they_are_said_to(drawn):
    apart = norm.ppf(0.8) + norm.ppf(0.88)
    area = float(norm.cdf(apart / np.sqrt(2)))
    wanted = {"equal": 0.0, "better": 0.03, "worse": -0.05, "worse at sites": -0.05}
    assert set(drawn) == set(CANDIDATES) == set(wanted)
    for name, change in wanted.items():
        tested = drawn[name].tested.predictions
        scores, positive = tested.probabilities[:, 1], tested.labels == 1
        at_specificity = np.quantile(scores[~positive], 0.8)
        found = (scores[positive] > at_specificity).mean()
        assert found == pytest.approx(0.88 + change, abs=0.01), name
        found_area = placements(scores, positive).auroc
        assert (found_area > area) == (change > 0) or change == 0
    champion = drawn["equal"].champion.predictions
    both = (placements(p.probabilities[:, 1], p.labels == 1).auroc for p in (champion, tested))
    assert next(both) == pytest.approx(area, abs=0.004)


def test_only_what_is_worse_at_the_sites_alone_misses_more_at_its_own_threshold(drawn):
    for name, wanted in (("equal", 0.88), ("worse", 0.88), ("worse at sites", 0.83)):
        every = drawn[name].every
        cuts = choose_thresholds(every, [PACKAGED])
        cut = cuts[0].value
        tested = drawn[name].tested.predictions
        caught = tested.probabilities[tested.labels == 1, 1] >= cut
        assert caught.mean() == pytest.approx(wanted, abs=0.01), name


def test_models_are_correlated_within_a_class_and_probabilities_come_true(drawn):
    champion, equal = drawn["equal"].champion.predictions, drawn["equal"].tested.predictions
    for label in (0, 1):
        rows = champion.labels == label
        pair = [logit(each.probabilities[rows, 1]) for each in (champion, equal)]
        assert np.corrcoef(*pair)[0, 1] == pytest.approx(0.7, abs=0.02)
    high = np.abs(equal.probabilities[:, 1] - 0.7) < 0.05
    assert equal.labels[high].mean() == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"held_out": 4}, "4 of 3 hospitals cannot be held out"),
        ({"better": 0.2}, "no room for a candidate"),
        ({"worse": 0.9}, "no room for a candidate"),
        ({"specificity": 0.1}, "would not tell positive from negative cases"),
        ({"patients": 9}, "9 patients at a site"),
        ({"prevalence": 0.001, "patients": 60}, "of whom 0.06 are positive, are too few"),
        ({"prevalence": 0.999, "patients": 60}, "of whom 0.06 are negative, are too few"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_in_a_sentence(changed, said):
    with pytest.raises(InputError, match=said):
        Scenario.model_validate(MANY.model_dump() | changed).check()
