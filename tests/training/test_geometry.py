"""Geometry of embeddings: against plain loops, and what it is to tell apart."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

from offsite.training.diagnostics import neural_collapse
from offsite.training.geometry import (
    WEAK,
    class_strength,
    dimensions,
    geometry_of_splits,
    site_collapse,
    spread_within,
    weak_classes,
)


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(40, 6))


def test_nc1_is_that_of_batches(rows):
    labels = np.arange(40) % 3
    batch = neural_collapse(torch.tensor(rows), torch.tensor(labels), 3)
    assert spread_within(rows, labels) == pytest.approx(batch["nc1"].item(), rel=1e-5)
    assert spread_within(rows, np.zeros(40)) is None


def test_site_collapse_sums_both_scatters_over_the_classes_of_several_sites(rows):
    labels = np.repeat([0, 1, 2], [20, 12, 8])
    sites = np.array(["a", "b"])[np.arange(40) % 2]
    sites[labels == 2] = "a"  # a class of one site says nothing
    within = between = 0.0
    for label in (0, 1):
        here = labels == label
        means = np.stack([rows[here & (sites == s)].mean(0) for s in "ab"])
        within += sum(
            ((rows[here & (sites == s)] - mean) ** 2).sum()
            for s, mean in zip("ab", means, strict=True)
        )
        between += here.sum() * ((means - means.mean(0)) ** 2).sum(1).mean()
    assert site_collapse(rows, labels, sites) == pytest.approx(within / between)
    assert site_collapse(rows, labels, np.full(40, "a")) is None


def test_class_strength_of_a_linear_classifier_is_its_rows_on_the_class_means(rows):
    generator = np.random.default_rng(1)
    weight, bias = generator.normal(size=(3, 6)), generator.normal(size=3)
    labels = np.repeat([0, 1, 2], [25, 10, 5])
    means = np.stack([rows[labels == c].mean(0) for c in range(3)])
    rise = np.array([weight[c] @ (means[c] - means.mean(0)) for c in range(3)])
    found = class_strength(rows @ weight.T + bias, labels)
    np.testing.assert_allclose(found, rise / rise.max())
    assert class_strength(rows @ weight.T, np.zeros(40, int)) == [None] * 3


def test_ranks_are_those_of_the_covariance_whichever_side_is_longer(rows):
    for each in (rows, rows[:4]):
        values = np.linalg.svd(each - each.mean(0), compute_uv=False) ** 2
        shares = values[values > 1e-12] / values.sum()
        expected = np.exp(-(shares * np.log(shares)).sum())
        assert dimensions(each)["effective_rank"] == pytest.approx(expected)
    thin = rows * np.array([1, 1, 1, 1, 1, 1e-3])
    assert dimensions(thin)["active_dimensions"] == 5.0
    assert dimensions(np.ones((5, 3))) == {"effective_rank": None, "active_dimensions": None}


def test_of_a_class_vanishes_exactly_what_the_bound_says():
    """Free features and squared loss: docs/training.md, "Diagnostics"; found by L-BFGS here."""
    counts, decay = np.array([400, 100, 25, 8]), (0.014, 0.0035)
    n, width = counts.sum(), 5
    weight_decay, feature_decay = decay
    labels = np.repeat(np.arange(4), counts)
    truth = np.eye(4)[labels]

    def loss(flat):
        weight, features = flat[: 4 * width].reshape(4, width), flat[4 * width :].reshape(n, width)
        error = features @ weight.T - truth
        value = (error**2).sum() / (2 * n) + weight_decay / 2 * (weight**2).sum()
        value += feature_decay / 2 * (features**2).sum()
        of_weight = error.T @ features / n + weight_decay * weight
        of_features = error @ weight / n + feature_decay * features
        return value, np.concatenate([of_weight.ravel(), of_features.ravel()])

    start = np.random.default_rng(0).normal(size=4 * width + n * width)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 9000, "ftol": 1e-15, "gtol": 1e-10})  # fmt: skip
    weight, features = (
        found.x[: 4 * width].reshape(4, width),
        found.x[4 * width :].reshape(n, width),
    )
    means = np.stack([features[labels == c].mean(0) for c in range(4)])
    product = (weight * means).sum(axis=1)
    bound = n**2 * weight_decay * feature_decay
    assert 8 < bound < 25
    expected = np.maximum(0, 1 - n * np.sqrt(weight_decay * feature_decay / counts))
    np.testing.assert_allclose(product, expected, atol=1e-4)
    kept = counts > bound
    lengths = np.linalg.norm(weight[kept], axis=1) / np.linalg.norm(means[kept], axis=1)
    np.testing.assert_allclose(
        lengths, np.sqrt(counts[kept] * feature_decay / weight_decay), rtol=1e-3
    )
    assert np.linalg.norm(weight[~kept]) < 1e-2


def trained(counts, decay, seed=0):
    """Validation logits (60 a class) of a small network trained on classes of these counts."""
    from offsite.training.losses.configured import ClassificationLoss
    from offsite.training.losses.settings import LossSettings

    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(len(counts), 10))
    centres *= 2 / np.linalg.norm(centres, axis=1, keepdims=True)

    def drawn(counts):
        labels = np.repeat(np.arange(len(counts)), counts)
        points = centres[labels] + generator.normal(size=(len(labels), 10))
        return torch.tensor(points, dtype=torch.float32), torch.tensor(labels)

    (points, labels), (asked, truth) = drawn(counts), drawn([60] * len(counts))
    torch.manual_seed(seed)
    wide = torch.nn.Linear(64, len(counts))
    network = torch.nn.Sequential(
        torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), wide
    )
    loss = ClassificationLoss(LossSettings(kind="logit_adjustment"), np.array(counts))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=decay)
    for _ in range(15):
        for part in torch.randperm(len(points)).split(64):
            optimiser.zero_grad()
            loss(network(points[part]), labels[part], 0.0).backward()
            optimiser.step()
    with torch.no_grad():
        return network(asked).numpy(), truth.numpy()


@pytest.mark.parametrize(
    ("counts", "decay", "warned"),
    [([400] * 4 + [20], 0.04, True), ([400] * 5, 0.04, False), ([400] * 4 + [20], 0.001, False)],
)
def test_a_class_that_fades_is_named_while_it_is_still_called(counts, decay, warned):
    logits, truth = trained(counts, decay)
    called = (logits.argmax(axis=1)[truth == 4] == 4).mean()
    names = tuple("abcde")
    table = pd.DataFrame(
        {"label": np.array(names)[truth], "split": "val", "site_role": "training", "site": "north"}
    )
    weak = weak_classes(geometry_of_splits(table, logits, logits, names))
    assert called > 0
    assert (list(weak) == ["e"]) is warned
    assert all(strength < WEAK for strength in weak.values())


def test_a_cohort_whose_camera_goes_with_the_site_is_told_from_a_clean_one():
    generator = np.random.default_rng(0)
    labels, sites = np.arange(300) % 3, np.arange(300) // 100
    signal = np.eye(8)[labels] * 4 + generator.normal(size=(300, 8))
    camera = np.eye(8)[3 + sites] * 4
    clean, confounded = (site_collapse(x, labels, sites) for x in (signal, signal + camera))
    assert confounded < 2 < 10 < clean
    assert spread_within(signal, labels) == pytest.approx(
        spread_within(signal + camera, labels), rel=0.9
    )
