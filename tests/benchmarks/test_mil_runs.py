"""The runs of bags in memory: what is fitted once for several methods changes no number."""

import mil_runs
import numpy as np
import pytest

from offsite.pathology.settings import ScMilSettings


@pytest.fixture(autouse=True)
def nothing_fitted():
    mil_runs._FITTED.clear()


def bags(seed: int, numbers: int = 12) -> mil_runs.BagSet:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [9, 4, 4])
    drawn = [rng.normal(label, 1, (6, numbers)).astype(np.float32) for label in labels]
    return mil_runs.BagSet(drawn, labels)


def logits(method: str, given: mil_runs.BagSet, **model: object) -> np.ndarray:
    recipe = mil_runs.Recipe(model=ScMilSettings.model_validate(model), epochs=1)
    trained = mil_runs.train(method, recipe, given, None, 3, 0)
    return np.stack([bag.logits for bag in mil_runs.predict(trained, given)])


def test_methods_of_one_seed_share_the_fitted_inputs_and_give_what_each_gives_alone(monkeypatch):
    whitened = {"inputs": "whitened", "directions": 4}
    alone = {}
    for method in ("cross_entropy", "logit_adjustment_views"):
        mil_runs._FITTED.clear()
        alone[method] = logits(method, bags(0), **whitened)
    fits = []
    fit_inputs = mil_runs.fit_inputs
    monkeypatch.setattr(
        mil_runs, "fit_inputs", lambda *given: fits.append(given) or fit_inputs(*given)
    )
    mil_runs._FITTED.clear()
    for method, found in alone.items():
        assert np.array_equal(logits(method, bags(0), **whitened), found)
    assert len(fits) == 1


def test_other_bags_and_other_settings_are_fitted_anew():
    given = bags(0)
    first = logits("cross_entropy", given, inputs="whitened", directions=4)
    assert not np.array_equal(first, logits("cross_entropy", given, inputs="none"))
    other = bags(1)
    shared = logits("cross_entropy", other, inputs="whitened", directions=4)
    mil_runs._FITTED.clear()
    assert np.array_equal(shared, logits("cross_entropy", other, inputs="whitened", directions=4))


def test_validation_bags_too_few_to_compare_epochs_by_change_nothing():
    given, recipe = bags(0), mil_runs.Recipe(model=ScMilSettings.model_validate({}), epochs=2)
    found = [
        mil_runs.train("sc_mil", recipe, given, held, 3, 0).state_dict() for held in (None, bags(2))
    ]
    assert all(bool((value == found[1][name]).all()) for name, value in found[0].items())
