import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import cohen_kappa_score

from offsite.errors import InputError
from offsite.training.heads.cut_points import CutPoints, fit_cut_points
from offsite.training.heads.ordinal import CornHead, GradeHead
from offsite.training.losses.classification import cross_entropy
from offsite.training.losses.ordinal import corn, grade_error


def test_corn_follows_its_formula_task_by_task():
    torch.manual_seed(0)
    z, y = torch.randn(20, 4), torch.randint(0, 5, (20,))
    total, items = torch.zeros(()), 0
    for k in range(4):
        asked = y > k - 1
        target = (y[asked] > k).float()
        total = total + F.binary_cross_entropy_with_logits(z[asked, k], target, reduction="sum")
        items += int(asked.sum())
    torch.testing.assert_close(corn(z, y), total / items)
    unlabelled = torch.cat([y, torch.tensor([-1])])
    torch.testing.assert_close(corn(torch.cat([z, z[:1]]), unlabelled), total / items)


def test_corn_head_gives_the_products_of_its_conditional_probabilities():
    torch.manual_seed(1)
    head, x, y = CornHead(6, 5), torch.randn(9, 6), torch.randint(0, 5, (9,))
    conditional = head.thresholds(x)
    passed = torch.cumprod(conditional.sigmoid(), 1)
    p = head(x).softmax(1)
    above = torch.stack([p[:, k + 1 :].sum(1) for k in range(4)], dim=1)
    torch.testing.assert_close(above, passed)
    asked = sum(int((y > k - 1).sum()) for k in range(4))
    torch.testing.assert_close(cross_entropy(head(x), y) * 9, corn(conditional, y) * asked)


def test_grade_error_is_quadratic_near_and_linear_far():
    grades, labels = torch.tensor([1.5, 4.0, 9.9]), torch.tensor([1, 0, -1])
    assert grade_error(grades, labels).item() == pytest.approx((0.125 + 3.5) / 2)


def test_grade_head_puts_the_largest_logit_between_the_cut_points():
    torch.manual_seed(2)
    head, x = GradeHead(3, 5), 3 * torch.randn(200, 3)
    grade = head.grade(x)
    assert torch.equal(head(x).argmax(1), grade.round().clamp(0, 4).long())
    cuts = CutPoints((0.2, 0.9, 2.0, 2.1), 0.3, 0.0)
    head.set_cut_points(cuts)
    expected = cuts.classes(grade.detach().numpy())
    assert np.array_equal(head(x).argmax(1).numpy(), expected)
    assert "cuts" in head.state_dict()


def kappa_of(cuts, grades, labels):
    predicted = np.searchsorted(cuts, grades, side="right")
    return cohen_kappa_score(labels, predicted, weights="quadratic")


@pytest.mark.parametrize("seed", range(12))
def test_cut_points_reach_the_highest_kappa_of_all_cuts(seed):
    rng = np.random.default_rng(seed)
    n, n_classes = 14, 3 + seed % 2
    labels = rng.integers(0, n_classes, n)
    grades = np.round(labels + rng.normal(0, 1.5, n), seed % 3)  # with ties
    found = fit_cut_points(grades, labels, n_classes)
    values = np.unique(grades)
    between = [values[0] - 1, *((values[1:] + values[:-1]) / 2), values[-1] + 1]
    best = max(
        kappa_of(cuts, grades, labels)
        for cuts in itertools.combinations_with_replacement(between, n_classes - 1)
    )
    assert found.kappa == pytest.approx(best, abs=1e-9)
    assert kappa_of(found.cuts, grades, labels) == pytest.approx(best, abs=1e-9)
    assert list(found.cuts) == sorted(found.cuts)
    assert np.isfinite(found.cuts).all()


def test_softness_maximises_the_likelihood():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    grades = labels + rng.normal(0, 0.6, 400)
    fitted = fit_cut_points(grades, labels, 5)
    head = GradeHead(1, 5)
    with torch.no_grad():
        head.grade_of.weight.fill_(1.0)
        head.grade_of.bias.fill_(0.0)
    x, y = torch.tensor(grades[:, None], dtype=torch.float32), torch.tensor(labels)
    losses = {}
    for factor in (0.8, 1.0, 1.25):
        head.set_cut_points(CutPoints(fitted.cuts, fitted.scale * factor, fitted.kappa))
        losses[factor] = F.cross_entropy(head(x), y).item()
    assert losses[1.0] < min(losses[0.8], losses[1.25])


def test_items_of_one_grade_are_refused():
    with pytest.raises(InputError) as caught:
        fit_cut_points(np.arange(3.0), np.ones(3, int), 4)
    assert caught.value.code == "one_class"
