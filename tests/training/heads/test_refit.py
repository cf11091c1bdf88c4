"""A head fitted again with local cases helps where it can, and its check refuses what does not."""

import numpy as np
import pytest
from scipy.special import log_softmax

from offsite.training.heads.refit import gain_bound, logits_of, refit
from offsite.training.heads.sums import RowSums


def hospital(seed, n, shift=0.0, wide=40):
    """Features of which one tells the grade; `shift` moves it and turns another one backwards."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 4, n)
    x = draw.normal(size=(n, wide))
    x[:, 0] += labels - shift
    x[:, 1] += labels * (1 - shift)
    return x, labels


@pytest.fixture(scope="module")
def sums():
    x, labels = hospital(0, 800)
    return RowSums.of(x, labels, np.ones(800), 4)


def loss(logits, labels):
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]


def test_local_cases_mend_what_is_other_here(sums):
    x, labels = hospital(1, 100, shift=2.0)
    found = refit(sums, x, labels, np.arange(100), penalty=0.3)
    new, truth = hospital(2, 500, shift=2.0)
    before = refit(sums, *hospital(3, 100), np.arange(100), penalty=0.3).head
    assert loss(found.head.logits(new), truth).mean() < loss(before.logits(new), truth).mean() - 0.3


def test_each_case_is_answered_by_a_head_that_did_not_see_its_label(sums):
    x, labels = hospital(1, 60, shift=2.0)
    patients = np.arange(60) // 2
    found = refit(sums, x, labels, patients, penalty=0.3, seed=4)
    changed = labels.copy()
    changed[:2] = (changed[:2] + 2) % 4
    again = refit(sums, x, changed, patients, penalty=0.3, seed=4)
    assert np.array_equal(
        np.argsort(found.left_out[0, 1:] - found.left_out[0, :-1]),
        np.argsort(again.left_out[0, 1:] - again.left_out[0, :-1]),
    )
    assert not np.allclose(found.head.slope, again.head.slope)


def test_the_share_decides_how_much_the_local_cases_weigh(sums):
    x, labels = hospital(1, 80, shift=2.0)
    slopes = [
        refit(sums, x, labels, np.arange(80), penalty=0.3, share=share).head.slope[1]
        for share in (0.01, 0.25, 0.6)
    ]
    assert slopes[0] > slopes[1] > slopes[2]


def test_permuted_labels_are_refused_in_nearly_all_draws(sums):
    refused = 0
    before = refit(sums, *hospital(9, 300), np.arange(300), penalty=0.3).head
    for seed in range(40):
        x, labels = hospital(100 + seed, 60, shift=0.5)
        shuffled = np.random.default_rng(seed).permutation(labels)
        found = refit(sums, x, shuffled, np.arange(60), penalty=0.3, seed=seed)
        after = loss(found.left_out, shuffled)
        bounds = [
            gain_bound(other, after, np.arange(60))[1]
            for other in (loss(before.logits(x), shuffled), loss(found.shares, shuffled))
        ]
        refused += min(bounds) <= 0
    assert refused >= 38


def test_logits_are_those_of_the_graded_head():
    import torch

    from offsite.training.heads.cut_points import CutPoints
    from offsite.training.heads.ordinal import GradeHead

    cuts = CutPoints((0.4, 1.1, 2.7), 0.3, 0.0)
    head = GradeHead(3, 4)
    head.set_cut_points(cuts)
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with torch.no_grad():
        grades = head.grade(torch.from_numpy(rows)).numpy()
        expected = head(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(logits_of(grades, cuts), expected, atol=1e-5)


def test_a_bound_needs_two_patients_and_counts_a_patient_once():
    assert gain_bound(np.ones(3), np.zeros(3), np.zeros(3)) == (1.0, -np.inf)
    gain, _ = gain_bound(np.array([4.0, 4, 4, 0]), np.zeros(4), np.array([0, 0, 0, 1]))
    assert gain == pytest.approx(2)
