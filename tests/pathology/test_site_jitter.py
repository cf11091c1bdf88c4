import numpy as np
import pytest
import torch

from offsite.pathology.bags import Bags
from offsite.pathology.method_plan import with_method
from offsite.pathology.methods import METHODS
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings
from offsite.pathology.site_jitter import site_jittered
from offsite.training.devices import distributed

OFFSETS = torch.tensor([0, 3, 4, 10])


def test_a_bag_moves_as_a_whole_and_each_bag_elsewhere():
    torch.manual_seed(0)
    rows = torch.randn(10, 5)
    moved = site_jittered(rows, OFFSETS, 0.4)
    for low, high in ((0, 3), (4, 10)):  # gain and offset of each feature are read off two rows
        gain = (moved[low] - moved[high - 1]) / (rows[low] - rows[high - 1])
        shift = moved[low] - gain * rows[low]
        torch.testing.assert_close(moved[low:high], rows[low:high] * gain + shift)
        assert (gain > 0).all()
    differences = moved - rows
    assert not torch.allclose(differences[3], differences[4], atol=0.05)
    assert torch.equal(site_jittered(rows, OFFSETS, 0.0), rows)


def test_its_size_is_the_one_that_is_asked_for():
    torch.manual_seed(1)
    many = torch.arange(4001)
    moved = site_jittered(torch.zeros(4000, 6), many, 0.3)
    assert moved.std().item() == pytest.approx(0.3, rel=0.03)
    scaled = site_jittered(torch.full((4000, 6), 1e6), many, 0.3) / 1e6
    assert scaled.log().std().item() == pytest.approx(0.3, rel=0.03)


def test_ranks_together_draw_what_one_process_draws(monkeypatch):
    sizes = np.array([2, 5, 1, 4])
    rows = [torch.randn(size, 3) for size in sizes]

    def jittered(which):
        offsets = torch.tensor([0, *np.cumsum(sizes[which])])
        return site_jittered(torch.cat([rows[i] for i in which]), offsets, 0.5).split(
            sizes[which].tolist()
        )

    torch.manual_seed(3)
    whole = jittered([0, 1, 2, 3])
    torch.manual_seed(3)
    drawn = torch.randn(4, 6)
    for rank in range(2):
        monkeypatch.setattr(
            "offsite.pathology.site_jitter.draw_together",
            lambda draw, n, views, rank=rank: drawn[rank::2],
        )
        for mine, one in zip(jittered([rank, rank + 2]), whole[rank::2], strict=True):
            torch.testing.assert_close(mine, one)
    assert distributed.rank_and_world() == (0, 1)


def test_training_alone_is_jittered():
    rng = np.random.default_rng(0)
    bags = Bags.pack([rng.normal(size=(4, 6)) for _ in range(8)], [0, 1] * 4)
    settings = ScMilSettings.model_validate(
        {"site_jitter": 0.5, "aggregator": {"width": 16, "dropout": 0.0}}
    )
    torch.manual_seed(0)
    model = ScMil(6, 2, with_method(METHODS["sc_mil"], settings, 40), np.array([4, 4]))
    assert not torch.equal(model.train()(bags).logits, model(bags).logits)
    assert torch.equal(model.eval()(bags).logits, model(bags).logits)
