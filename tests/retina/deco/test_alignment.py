import pytest
import torch

from offsite.retina.deco.alignment import class_alignment, pixel_alignment, semantic_directions


@pytest.fixture
def directions():
    torch.manual_seed(1)
    return semantic_directions(torch.randn(4, 8, 3, 3))


def test_directions_have_unit_length_at_each_pixel(directions):
    assert torch.allclose(directions.norm(dim=1), torch.ones(4, 3, 3), atol=1e-5)


def test_directions_ignore_the_style_of_a_map():
    torch.manual_seed(2)
    features = torch.randn(2, 5, 4, 4)
    restyled = features * torch.rand(1, 5, 1, 1).add(0.5) + torch.randn(1, 5, 1, 1)
    assert torch.allclose(semantic_directions(features), semantic_directions(restyled), atol=1e-3)


def test_equal_maps_need_no_pixel_alignment_and_opposite_ones_cost_two_less_the_margin(directions):
    assert pixel_alignment(directions, directions, 0.1) == 0
    assert pixel_alignment(directions, -directions, 0.1) == pytest.approx(1.9, abs=1e-5)


def test_pixels_within_the_margin_get_no_gradient(directions):
    near = (directions + 0.01).requires_grad_()
    pixel_alignment(directions, near, 0.5).backward()
    assert near.grad.abs().max() == 0


def test_class_alignment_does_not_mind_where_in_the_picture_a_pattern_lies(directions):
    labels, sites = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    flipped = directions.clone()
    flipped[1] = directions[1].flip(-1)
    plain = class_alignment(directions, labels, sites, 0.1)
    assert torch.allclose(plain, class_alignment(flipped, labels, sites, 0.1), atol=1e-5)


def test_class_alignment_falls_when_photographs_of_a_grade_agree(directions):
    labels, sites = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    agreeing = directions[[0, 0, 2, 2]]
    assert class_alignment(agreeing, labels, sites, 0.1) < class_alignment(
        directions, labels, sites, 0.1
    )


def test_positives_of_one_site_serve_only_where_there_is_one_site(directions):
    labels = torch.tensor([0, 0, 1, 1])
    one_site = class_alignment(directions, labels, torch.zeros(4, dtype=torch.int64), 0.1)
    assert one_site > 0
    no_pair = class_alignment(directions, labels, torch.tensor([0, 0, 1, 1]), 0.1)
    assert no_pair == 0


def test_a_lone_photograph_costs_nothing_and_has_a_finite_gradient():
    features = torch.randn(1, 4, 2, 2, requires_grad=True)
    loss = class_alignment(semantic_directions(features), torch.tensor([0]), torch.tensor([0]), 0.1)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(features.grad).all()
