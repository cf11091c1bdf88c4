import numpy as np
import pytest
import torch
import torch.nn.functional as F

from offsite.training.diagnostics import (
    alignment,
    class_alignment,
    class_spread,
    neural_collapse,
    sample_alignment,
    uniformity,
)
from offsite.training.losses.contrastive import simplex_prototypes

LABELS = torch.tensor([0] * 6 + [1] * 4 + [2] * 2)


@pytest.fixture
def z():
    return torch.randn(12, 5, generator=torch.Generator().manual_seed(0))


def test_alignment_and_uniformity_follow_their_formulas(z):
    u = F.normalize(z, dim=1)
    same, every = [], []
    for i in range(12):
        for j in range(i):
            distance = (u[i] - u[j]).square().sum()
            every.append(torch.exp(-2 * distance))
            if LABELS[i] == LABELS[j]:
                same.append(distance)
    assert alignment(z, LABELS) == pytest.approx(torch.stack(same).mean().item(), rel=1e-5)
    assert uniformity(z) == pytest.approx(torch.stack(every).mean().log().item(), rel=1e-5)


def test_collapse_is_zero_alignment_uniformity_and_spread(z):
    one = z[:1].expand(12, 5)
    assert alignment(one, LABELS) == pytest.approx(0, abs=1e-9)
    assert uniformity(one) == pytest.approx(0, abs=1e-9)
    assert class_spread(one, LABELS, 4) == [
        *(pytest.approx(0, abs=1e-9) for _ in range(3)),
        None,
    ]
    opposite = torch.stack([z[0], -z[0]])
    assert class_spread(opposite, torch.zeros(2).long(), 1) == [pytest.approx(1)]


def test_undefined_values_are_none(z):
    assert alignment(z[:3], torch.tensor([0, 1, 2])) is None
    assert uniformity(z[:1]) is None
    assert sample_alignment(z, torch.arange(12)) is None
    assert class_alignment(z[:1], LABELS[:1], 2) == [None, None]
    assert set(neural_collapse(z[:6], LABELS[:6]).values()) == {None}


def test_sample_alignment_falls_as_items_cannot_be_told_apart(z):
    views = torch.cat([z, z + 0.01 * torch.randn(12, 5)])
    items = torch.arange(12).repeat(2)
    assert sample_alignment(views, items) == 1.0
    collapsed = torch.randn(1, 5) + 1e-3 * torch.randn(24, 5)
    assert sample_alignment(collapsed, items) < 0.5


def test_class_alignment_is_the_share_of_nearest_neighbours_of_the_class():
    directions = torch.eye(3)
    z = torch.cat([directions[[0, 0, 0]], directions[[1, 1]], directions[[0]]])
    z = z + 0.001 * torch.tensor([0, 1, 2, 3, 4, 2.2])[:, None]  # the last beside the third
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    assert class_alignment(z, labels, 3)[:2] == [pytest.approx(2 / 3), 1.0]
    assert class_alignment(z, labels, 3)[2] is None


def test_neural_collapse_is_zero_at_a_simplex_and_grows_with_noise():
    vertices = simplex_prototypes(3, 5)
    exact = neural_collapse(vertices[LABELS], LABELS, 7 * vertices)
    for name in ("nc1", "nc2_norm", "nc2_angle", "nc3"):
        assert exact[name] == pytest.approx(0, abs=1e-6), name
    assert exact["row_cosine"] == pytest.approx(-0.5)
    noisy = [
        neural_collapse(vertices[LABELS] + s * torch.randn(12, 5), LABELS, vertices)
        for s in (0.05, 0.5)
    ]
    for name in ("nc1", "nc2_norm", "nc2_angle", "nc3"):
        assert 0 < noisy[0][name] < noisy[1][name], name
    collapsed_rows = torch.stack([vertices[0], vertices[1], 0.1 * vertices[1]])
    assert neural_collapse(vertices[LABELS], LABELS, collapsed_rows)["row_cosine"] == pytest.approx(
        1
    )


def test_classes_in_one_point_have_no_geometry(z):
    assert set(neural_collapse(z[:1].expand(12, 5), LABELS, torch.eye(3, 5)).values()) == {None}
    assert neural_collapse(z, LABELS, torch.zeros(3, 5))["nc3"] is None


def test_nc1_equals_the_trace_with_a_pseudo_inverse(z):
    x, y = z.double().numpy(), LABELS.numpy()
    means = np.stack([x[y == c].mean(0) for c in range(3)])
    within = x - means[y]
    s_w = within.T @ within / len(x)
    centred = means - means.mean(0)
    s_b = centred.T @ centred / 3
    expected = np.trace(s_w @ np.linalg.pinv(s_b)) / 3
    assert neural_collapse(z, LABELS)["nc1"] == pytest.approx(expected, rel=1e-8)


def test_unlabelled_rows_are_left_out(z):
    labels = torch.where(torch.arange(12) % 3 == 0, -1, LABELS)
    known = labels >= 0
    assert neural_collapse(z, labels) == neural_collapse(z[known], labels[known])
    assert alignment(z, labels) == alignment(z[known], labels[known])
