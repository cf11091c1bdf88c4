"""Whether an answer rides on what tells sites apart: known truth, and a loop over classes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.shift.coupling import correlations, coupling_table
from offsite.evaluation.statistics.sites import Sites

SETTINGS = EvaluationSettings(
    resamples=200, tasks={"ill": TaskSettings(positive_classes=("c1", "c2"))}
)


def sites_of(make_sites, *, rides):
    """Embeddings of disease and camera, and an answer that reads the former alone or both."""
    rows = make_sites({"north": 240, "south": 240, "far": 60}, held_out=("far",))
    rng = np.random.default_rng(0)
    ill = (rows.labels > 0).astype(float)
    camera = (rows.table["site"] == "north").to_numpy(float)
    embeddings = np.stack([ill, camera], axis=1) * 3 + rng.normal(size=(len(ill), 2))
    # The answer reads what the embedding shows, or of the camera nothing.
    answer = embeddings[:, 0] - 1.5 + rides * (embeddings[:, 1] - 1.5) + rng.normal(size=len(ill))
    of_ill = expit(answer)
    probabilities = np.stack([1 - of_ill, of_ill / 2, of_ill / 2], axis=1)
    return Sites.of(replace(rows, embeddings=embeddings, probabilities=probabilities), SETTINGS)


def test_it_tells_an_answer_that_rides_on_the_camera_from_one_that_does_not(make_sites):
    clean = coupling_table(sites_of(make_sites, rides=0.0))
    confounded = coupling_table(sites_of(make_sites, rides=1.0)).set_index("site")
    assert list(clean["site"]) == ["north", "south"]  # no held-out site takes part
    assert (clean["value"].abs() < 0.2).all()
    assert ((clean["low"] < 0) & (clean["high"] > 0)).all()
    assert confounded.loc["north", "low"] > 0.5
    assert confounded.loc["south", "value"] == pytest.approx(-confounded.loc["north", "value"], abs=0.05)  # fmt: skip


def test_the_correlation_is_that_of_what_is_centred_in_each_class(make_sites):
    sites = sites_of(make_sites, rides=0.5)
    rows = sites.together("training")
    rng = np.random.default_rng(1)
    known = rng.random(len(rows)) < 0.8
    labels = sites.predictions.labels[rows.index][known]
    first, second = rng.normal(size=(2, known.sum())) + 5 * labels
    centred = [
        np.concatenate([x[labels == c] - x[labels == c].mean() for c in np.unique(labels)])
        for x in (first, second)
    ]
    found = correlations(rows, known, labels, first, second)
    assert found[0] == pytest.approx(np.corrcoef(*centred)[0, 1])
    assert len(found) == 201


def test_without_embeddings_or_a_second_site_there_is_nothing_to_say(make_sites):
    rows = make_sites({"north": 60, "far": 60}, held_out=("far",))
    assert coupling_table(Sites.of(rows, SETTINGS)).empty
    two = sites_of(make_sites, rides=0.0)
    assert coupling_table(Sites.of(replace(two.predictions, embeddings=None), SETTINGS)).empty
