"""Row scores average to scikit-learn's Brier score and log loss."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from offsite.evaluation.metrics.scoring import brier_rows, log_loss_rows


@pytest.mark.parametrize("classes", [2, 4])
def test_means_equal_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    probabilities = rng.dirichlet(np.ones(classes), 200)
    labels = rng.integers(0, classes, 200)
    named = list(range(classes))
    assert log_loss_rows(probabilities, labels).mean() == pytest.approx(
        log_loss(labels, probabilities, labels=named), abs=1e-12
    )
    wanted = (
        brier_score_loss(labels, probabilities[:, 1])
        if classes == 2
        else brier_score_loss(labels, probabilities, labels=named, scale_by_half=False)
    )
    assert brier_rows(probabilities, labels).mean() == pytest.approx(wanted, abs=1e-12)


def test_a_confident_mistake_costs_much_but_not_infinitely_much() -> None:
    rows = log_loss_rows(np.array([[1.0, 0.0]]), np.array([1]))
    assert 36 < rows[0] < 37
