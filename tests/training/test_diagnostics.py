import pytest
import torch
import torch.nn.functional as F

from offsite.training.diagnostics import contrast_diagnostics, neural_collapse
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
    measures = contrast_diagnostics(z, LABELS, torch.arange(12), 3)
    assert measures["alignment"].item() == pytest.approx(torch.stack(same).mean().item(), rel=1e-5)
    log_mean = torch.stack(every).mean().log().item()
    assert measures["uniformity"].item() == pytest.approx(log_mean, rel=1e-5)


def test_diagnostics_of_collapsed_classes_take_their_extreme_values():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    bags = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    z = simplex_prototypes(2, 4)[labels]
    measures = contrast_diagnostics(z, labels, bags, 2)
    assert measures["alignment"].item() == pytest.approx(0, abs=1e-6)
    assert measures["collapse_0"].item() == pytest.approx(1)
    assert measures["class_alignment"].item() == 1.0
    assert measures["sample_alignment"].item() == 0.0  # no row is nearer to its other view
    collapse = neural_collapse(z * 3, labels, 2)
    assert collapse["nc1"].item() == pytest.approx(0, abs=1e-6)
    assert collapse["nc2"].item() == pytest.approx(0, abs=1e-6)


def test_diagnostics_are_exact_under_autocast():
    labels, bags = torch.arange(12) % 3, torch.arange(12) // 2
    z = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    plain = contrast_diagnostics(z, labels, bags, 3) | neural_collapse(z, labels, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = contrast_diagnostics(z, labels, bags, 3) | neural_collapse(z, labels, 3)
    assert {name: value.item() for name, value in cast.items()} == {
        name: pytest.approx(value.item(), abs=0, nan_ok=True) for name, value in plain.items()
    }


def test_diagnostics_that_a_batch_cannot_define_are_nan():
    one = torch.tensor([0, 0])
    measures = contrast_diagnostics(torch.randn(2, 4), one, torch.tensor([0, 1]), 2)
    assert torch.isnan(measures["collapse_1"])
    assert torch.isnan(measures["sample_alignment"])
    assert torch.isnan(neural_collapse(torch.randn(2, 4), one, 2)["nc1"])


def test_uniformity_is_lower_for_spread_rows_than_for_gathered_ones():
    labels, bags = torch.zeros(64, dtype=torch.int64), torch.arange(64)
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(64, 8, generator=generator)
    gathered = spread * 0.05 + 1
    values = [contrast_diagnostics(z, labels, bags, 1)["uniformity"] for z in (spread, gathered)]
    assert values[0] < values[1] - 1
